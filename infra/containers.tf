# The containers of a task. To add a container, add it to local.containers.

locals {
  port         = 8080
  metrics_port = 9090

  # Options for the service. The README's table lists all of them.
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
      # local.password_container keeps this file up to date.
      PGPASSWORD_FILE = "${local.password_directory}/password"
      # The image includes this bundle, because no public CA signs RDS certificates.
      PGSSLROOTCERT = "/etc/ssl/certs/rds-ca-bundle.pem"
      # Require a token to create links, because phishers find an open shortener on the internet within days.
      PUBLIC_SHORTEN = "false"
      # Some load balancer nodes still send requests after ECS has sent SIGTERM.
      DRAIN_DELAY   = "10s"
      DRAIN_TIMEOUT = "30s"
    },
    var.settings,
  )

  # These are only references. ECS reads the secrets with the execution role when a task starts.
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
      # This must be longer than DRAIN_DELAY plus DRAIN_TIMEOUT.
      stopTimeout = 60

      # ECS ignores the health check in the image.
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
          # The service must not block when logs can't be delivered.
          mode            = "non-blocking"
          max-buffer-size = "4m"
        }
      }
    },
    var.registry_credentials_secret_arn == null ? {} : {
      repositoryCredentials = { credentialsParameter = var.registry_credentials_secret_arn }
    },
  )

  # RDS rotates the password every week, but ECS reads secrets only when a task starts. So this container polls the
  # secret and writes the password to a file, which the service reads for each new connection.
  password_directory = "/run/database"
  password_container = {
    name  = "password"
    image = var.aws_cli_image
    # The service can start with PGPASSWORD, and it keeps its connections while this container restarts.
    essential     = false
    restartPolicy = { enabled = true, restartAttemptPeriod = 60 }
    # On Fargate, volumes are owned by root.
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
