variable "name" {
  description = "Name of the service and prefix of every resource's name"
  type        = string
  default     = "urlshort"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "The name must start with a letter and have 2 to 20 lower-case letters, digits and hyphens: AWS limits the length of target group names."
  }
}

variable "region" {
  description = "AWS region of all resources"
  type        = string
}

variable "domain_name" {
  description = "Host name for short links, such as sho.rt"
  type        = string
}

variable "zone_id" {
  description = "Route 53 hosted zone that holds domain_name"
  type        = string
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary for every role created here: the permissions_boundary_arn output of bootstrap/"
  type        = string
}

# Service

variable "image" {
  description = "Image to run, by digest: a tag can be moved to an unverified image"
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9./_-]+@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image must have a digest: REPOSITORY@sha256:…"
  }
}

variable "registry_credentials_secret_arn" {
  description = "Secret with the user name and password for the image's registry; null for a public image"
  type        = string
  default     = null
}

variable "settings" {
  description = "Additional options for the service, as environment variables; no secrets"
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.settings) : !can(regex("PASSWORD|TOKEN|SECRET", name))])
    error_message = "Secrets must come from Secrets Manager, not from plain settings."
  }
}

variable "cpu" {
  description = "CPU units of one task; 1024 is one core"
  type        = number
  default     = 256
}

variable "memory" {
  description = "Memory of one task in MiB"
  type        = number
  default     = 512
}

variable "min_tasks" {
  description = "Minimum number of tasks; at least two, so that one is left if a zone fails"
  type        = number
  default     = 2

  validation {
    condition     = var.min_tasks >= 2
    error_message = "Must be at least 2: a single task runs in one zone only."
  }
}

variable "max_tasks" {
  description = "Maximum number of tasks"
  type        = number
}

variable "cpu_architecture" {
  description = "ARM64 (Graviton, 20 % cheaper) or X86_64; the image supports both"
  type        = string
  default     = "ARM64"

  validation {
    condition     = contains(["ARM64", "X86_64"], var.cpu_architecture)
    error_message = "Must be ARM64 or X86_64."
  }
}

variable "target_cpu_percent" {
  description = "Target CPU utilisation for autoscaling, in percent"
  type        = number
  default     = 60
}

variable "target_requests_per_task" {
  description = "Target number of requests per task per minute, for autoscaling"
  type        = number
  default     = 30000
}

# Deployment

variable "canary_percent" {
  description = "Percentage of requests that a new version gets first"
  type        = number
  default     = 10
}

variable "canary_bake_minutes" {
  description = "Minutes for which a new version gets only canary_percent of requests"
  type        = number
  default     = 10
}

variable "bake_minutes" {
  description = "Minutes for which the old version keeps running after the shift"
  type        = number
  default     = 10

  validation {
    condition     = var.canary_bake_minutes + var.bake_minutes <= 40
    error_message = "Both bakes together must take at most 40 minutes: the pipeline's role session ends after two hours."
  }
}

variable "max_error_percent" {
  description = "Percentage of failed requests that raises an alarm and rolls back a deployment; the default is ten times what the SLO allows"
  type        = number
  default     = 1
}

variable "max_bad_redirects_percent" {
  description = "Percentage of failed or slow redirects that raises an alarm and rolls back a deployment; the default is ten times what the SLO allows"
  type        = number
  default     = 1
}

# Network

variable "vpc" {
  description = "An existing VPC; null creates a small one"
  type = object({
    id                 = string
    public_subnet_ids  = list(string)
    private_subnet_ids = list(string)
  })
  default = null

  validation {
    condition     = var.vpc == null ? true : min(length(var.vpc.public_subnet_ids), length(var.vpc.private_subnet_ids)) >= 2
    error_message = "The load balancer, the tasks and the database need subnets in at least two zones."
  }
}

variable "vpc_cidr" {
  description = "Address range of the new VPC"
  type        = string
  default     = "10.64.0.0/16"
}

variable "zones" {
  description = "Letters of the new VPC's two zones, explicit so that a new zone in the region changes nothing"
  type        = list(string)
  default     = ["a", "b"]

  validation {
    condition     = length(toset(var.zones)) == 2
    error_message = "Must be exactly two zones."
  }
}

variable "nat_gateway_per_zone" {
  description = "Create a NAT gateway in each zone. With only one gateway, no task can start while its zone is down; running tasks continue"
  type        = bool
  default     = false
}

variable "public_tasks" {
  description = "Run tasks in public subnets without NAT gateways; nothing can connect to their public addresses"
  type        = bool
}

variable "waf" {
  description = "Put AWS WAF in front of the load balancer"
  type        = bool
}

variable "rate_limit_per_5_minutes" {
  description = "Maximum number of requests from one address within 5 minutes; WAF blocks addresses that exceed it"
  type        = number
  default     = 6000
}

# Database

variable "database" {
  description = "aurora (two instances in two zones) or instance (one server in one zone)"
  type        = string

  validation {
    condition     = contains(["aurora", "instance"], var.database)
    error_message = "Must be aurora or instance."
  }
}

variable "database_engine_version" {
  description = "Major version of PostgreSQL. RDS upgrades minor versions automatically, so pinning a minor version would later cause a downgrade"
  type        = string
  default     = "17"

  validation {
    condition     = can(regex("^[0-9]+$", var.database_engine_version))
    error_message = "Must be a major version, such as 17: RDS upgrades minor versions."
  }
}

variable "database_min_acu" {
  description = "Minimum capacity of Aurora, in ACUs (2 GiB of memory each)"
  type        = number
  default     = 0.5
}

variable "database_max_acu" {
  description = "Maximum capacity of Aurora, in ACUs"
  type        = number
  default     = 4
}

variable "database_instance_class" {
  description = "Instance class for database = \"instance\""
  type        = string
  default     = "db.t4g.micro"
}

variable "backup_days" {
  description = "Days for which the database can be restored to any second"
  type        = number
  default     = 14
}

variable "deletion_protection" {
  description = "Protect the database and the load balancer from deletion"
  type        = bool
  default     = true
}

# Operation

variable "log_days" {
  description = "Log retention, in days"
  type        = number
  default     = 30
}

variable "managed_prometheus" {
  description = "Use Managed Prometheus, with a collector in each task; otherwise there are only CloudWatch alarms"
  type        = bool
}

variable "container_insights" {
  description = "Collect CloudWatch Container Insights metrics for the cluster, the service and the tasks"
  type        = bool
}

variable "alarm_emails" {
  description = "E-mail addresses for alarms and budget notices"
  type        = set(string)
  default     = []
}

variable "monthly_budget_usd" {
  description = "Monthly budget in US dollars; a notice is sent when 80 % is spent and when 100 % is forecast"
  type        = number
}

variable "ticket_emails" {
  description = "E-mail addresses for alerts that can wait for a working day"
  type        = set(string)
  default     = []
}

variable "dashboards_url" {
  description = "URL of the Grafana instance with the dashboards in monitoring/grafana, for the links in alerts"
  type        = string
  default     = "http://localhost:3000"
}

variable "collector_image" {
  # Append the digest printed by `docker buildx imagetools inspect`, because tags can be moved.
  description = "Image of the AWS Distro for OpenTelemetry, which scrapes each task's own service"
  type        = string
  default     = "public.ecr.aws/aws-observability/aws-otel-collector:v0.43.1"
}

variable "aws_cli_image" {
  # Append the digest, as for collector_image.
  description = "Image of the AWS CLI, which keeps the database password up to date in each task"
  type        = string
  default     = "public.ecr.aws/aws-cli/aws-cli:2.27.50"
}
