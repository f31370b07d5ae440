# What a task runs. A further container is one more entry of local.containers.

locals {
  port         = 8080
  metrics_port = 9090

  # In the service's own words: see the README's table.
  settings = merge(
    {
      HOST            = "0.0.0.0"
      PORT            = tostring(local.port)
      METRICS_ADDR    = "0.0.0.0:${local.metrics_port}"
      BASE_URL        = "https://${var.domain_name}"
      TRUSTED_PROXIES = "1"
      STORE_URL       = "postgres://"
      PGHOST          = aws_rds_cluster.main.endpoint
      PGPORT          = tostring(aws_rds_cluster.main.port)
      PGDATABASE      = aws_rds_cluster.main.database_name
      PGUSER          = aws_rds_cluster.main.master_username
      PGSSLMODE       = "verify-full"
      # Shipped in the image: the public authorities do not vouch for RDS.
      PGSSLROOTCERT = "/etc/ssl/certs/rds-ca-bundle.pem"
      # ECS sends SIGTERM while the load balancer still sends requests.
      DRAIN_DELAY   = "10s"
      DRAIN_TIMEOUT = "30s"
    },
    var.settings,
  )

  # By reference: ECS reads them when a task starts, by the execution role.
  secrets = merge(
    { PGPASSWORD = "${aws_rds_cluster.main.master_user_secret[0].secret_arn}:password::" },
    var.api_tokens_secret_arn == null ? {} : { API_TOKENS = var.api_tokens_secret_arn },
  )

  service_container = merge(
    {
      name                   = "urlshort"
      image                  = var.image
      essential              = true
      user                   = "65532:65532"
      readonlyRootFilesystem = true
      environment            = [for name, value in local.settings : { name = name, value = value }]
      secrets                = [for name, value in local.secrets : { name = name, valueFrom = value }]
      portMappings           = [{ containerPort = local.port, protocol = "tcp" }]
      linuxParameters        = { capabilities = { drop = ["ALL"] } }
      ulimits                = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]
      # More than DRAIN_DELAY and DRAIN_TIMEOUT together.
      stopTimeout = 60

      # ECS does not read the image's own.
      healthCheck = {
        command     = ["CMD", "/usr/local/bin/urlshort", "healthcheck"]
        interval    = 10
        timeout     = 5
        retries     = 3
        startPeriod = 10
      }

      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = aws_cloudwatch_log_group.service.name
          awslogs-region        = var.region
          awslogs-stream-prefix = "task"
          # A log that can't be sent must not stop the service.
          mode            = "non-blocking"
          max-buffer-size = "4m"
        }
      }
    },
    var.registry_credentials_secret_arn == null ? {} : {
      repositoryCredentials = { credentialsParameter = var.registry_credentials_secret_arn }
    },
  )

  containers = [local.service_container, local.collector_container]
}
