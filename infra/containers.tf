# The containers of a task. To add one, add it to local.containers.

locals {
  port         = 8080
  metrics_port = 9090

  # Options of the service: see the table in the README.
  settings = merge(
    {
      HOST            = "0.0.0.0"
      PORT            = tostring(local.port)
      METRICS_ADDR    = "0.0.0.0:${local.metrics_port}"
      BASE_URL        = "https://${var.domain_name}"
      TRUSTED_PROXIES = "1"
      STORE_URL       = "postgres://"
      PGHOST          = local.database.host
      PGPORT          = tostring(local.database.port)
      PGDATABASE      = local.database.name
      PGUSER          = local.database.user
      PGSSLMODE       = "verify-full"
      # A file that local.password_container keeps up to date.
      PGPASSWORD_FILE = "${local.password_directory}/password"
      # In the image, because no public CA signs RDS certificates.
      PGSSLROOTCERT = "/etc/ssl/certs/rds-ca-bundle.pem"
      # Creating links requires a token: an open shortener on the internet is used for phishing within days.
      PUBLIC_SHORTEN = "false"
      # After ECS sends SIGTERM, some load balancer nodes still send requests.
      DRAIN_DELAY   = "10s"
      DRAIN_TIMEOUT = "30s"
    },
    var.settings,
  )

  # By reference: ECS reads them with the execution role when a task starts.
  secrets = {
    PGPASSWORD = "${local.database.secret}:password::"
    API_TOKENS = data.aws_secretsmanager_secret.api_tokens.id
  }

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
      mountPoints            = [{ sourceVolume = "password", containerPath = local.password_directory, readOnly = true }]
      linuxParameters        = { capabilities = { drop = ["ALL"] } }
      ulimits                = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]
      # Longer than DRAIN_DELAY plus DRAIN_TIMEOUT.
      stopTimeout = 60

      # ECS ignores the image's health check.
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
          # The service must not block if logs can't be delivered.
          mode            = "non-blocking"
          max-buffer-size = "4m"
        }
      }
    },
    var.registry_credentials_secret_arn == null ? {} : {
      repositoryCredentials = { credentialsParameter = var.registry_credentials_secret_arn }
    },
  )

  # RDS rotates the password every week. ECS reads secrets only when a task starts, so this container polls the secret
  # and writes it to a file, which the service reads whenever it connects.
  password_directory = "/run/database"
  password_container = {
    name  = "password"
    image = var.aws_cli_image
    # The service starts with PGPASSWORD, and keeps its connections while this container is restarted.
    essential     = false
    restartPolicy = { enabled = true, restartAttemptPeriod = 60 }
    # Volumes on Fargate are owned by root.
    user                   = "0:0"
    readonlyRootFilesystem = true
    cpu                    = 16
    memoryReservation      = 32
    memory                 = 160
    entryPoint             = ["/bin/sh", "-c"]
    command = [join("; ", [
      "cd ${local.password_directory}",
      "while sleep 30",
      "do aws secretsmanager get-secret-value --secret-id \"$SECRET\" --query SecretString --output text > new && mv new password",
      "done",
    ])]
    environment      = [{ name = "SECRET", value = local.database.secret }, { name = "AWS_REGION", value = var.region }]
    mountPoints      = [{ sourceVolume = "password", containerPath = local.password_directory, readOnly = false }]
    linuxParameters  = { capabilities = { drop = ["ALL"] } }
    logConfiguration = local.service_container.logConfiguration
  }

  containers = concat([local.service_container, local.password_container], var.managed_prometheus ? [local.collector_container] : [])
}
