variable "name" {
  description = "Name of the service and prefix of every resource's name"
  type        = string
  default     = "urlshort"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "A name is 2 to 20 lower-case letters, digits and hyphens: names of target groups are that short."
  }
}

variable "region" {
  description = "AWS region of all resources"
  type        = string
}

variable "domain_name" {
  description = "Host of the short links, such as sho.rt"
  type        = string
}

variable "zone_id" {
  description = "Route 53 hosted zone that holds domain_name"
  type        = string
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of every role made here: output permissions_boundary_arn of bootstrap/"
  type        = string
}

# The program

variable "image" {
  description = "Image to run, by digest: a tag can be moved to an image that nobody has checked"
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9./_-]+@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image must be given by digest: REPOSITORY@sha256:…"
  }
}

variable "registry_credentials_secret_arn" {
  description = "Secret with user name and password for the image's registry; null for a public image"
  type        = string
  default     = null
}

variable "settings" {
  description = "More options of the service, as environment variables; nothing secret"
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.settings) : !can(regex("PASSWORD|TOKEN|SECRET", name))])
    error_message = "Secrets come from Secrets Manager, never from plain settings."
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
  description = "Minimum number of tasks: two, so that one is left when a zone fails"
  type        = number
  default     = 2

  validation {
    condition     = var.min_tasks >= 2
    error_message = "At least 2: one task runs in one zone only."
  }
}

variable "max_tasks" {
  description = "Maximum number of tasks"
  type        = number
}

variable "cpu_architecture" {
  description = "ARM64 (Graviton, a fifth cheaper) or X86_64; the image has both"
  type        = string
  default     = "ARM64"

  validation {
    condition     = contains(["ARM64", "X86_64"], var.cpu_architecture)
    error_message = "ARM64 or X86_64."
  }
}

variable "target_cpu_percent" {
  description = "CPU utilisation that autoscaling aims for, in percent"
  type        = number
  default     = 60
}

variable "target_requests_per_task" {
  description = "Requests per task and minute that autoscaling aims for"
  type        = number
  default     = 30000
}

# Deployment

variable "canary_percent" {
  description = "Share of requests that a new version gets first"
  type        = number
  default     = 10
}

variable "canary_bake_minutes" {
  description = "Minutes for which a new version gets only that share"
  type        = number
  default     = 10
}

variable "bake_minutes" {
  description = "Minutes after the shift for which the old version keeps running"
  type        = number
  default     = 10

  validation {
    condition     = var.canary_bake_minutes + var.bake_minutes <= 40
    error_message = "Both bakes together take at most 40 minutes: the pipeline's role ends after two hours."
  }
}

variable "max_error_percent" {
  description = "Percentage of failed requests that raises an alarm and rolls a deployment back: ten times what the objective permits"
  type        = number
  default     = 1
}

variable "max_bad_redirects_percent" {
  description = "Percentage of failed or slow redirects that raises an alarm and rolls a deployment back: ten times what the objective permits"
  type        = number
  default     = 1
}

# Network

variable "vpc" {
  description = "An existing VPC; null makes a small one"
  type = object({
    id                 = string
    public_subnet_ids  = list(string)
    private_subnet_ids = list(string)
  })
  default = null

  validation {
    condition     = var.vpc == null ? true : min(length(var.vpc.public_subnet_ids), length(var.vpc.private_subnet_ids)) >= 2
    error_message = "Load balancer, tasks and database need subnets in at least two zones."
  }
}

variable "vpc_cidr" {
  description = "Address range of the new VPC"
  type        = string
  default     = "10.64.0.0/16"
}

variable "zones" {
  description = "Letters of the new VPC's two zones, named so that a new zone of the region changes nothing"
  type        = list(string)
  default     = ["a", "b"]

  validation {
    condition     = length(toset(var.zones)) == 2
    error_message = "Exactly two zones."
  }
}

variable "nat_gateway_per_zone" {
  description = "A NAT gateway in each zone. With only one, no task can start while its zone is down; running tasks go on"
  type        = bool
  default     = false
}

variable "public_tasks" {
  description = "Run tasks in public subnets, with public addresses that nothing can connect to, and without NAT gateways"
  type        = bool
}

variable "waf" {
  description = "A firewall in front of the load balancer"
  type        = bool
}

variable "rate_limit_per_5_minutes" {
  description = "Requests from one address in 5 minutes before the firewall blocks it"
  type        = number
  default     = 6000
}

# Database

variable "database" {
  description = "aurora (two instances in two zones) or instance (one server in one zone)"
  type        = string

  validation {
    condition     = contains(["aurora", "instance"], var.database)
    error_message = "aurora or instance."
  }
}

variable "database_engine_version" {
  description = "Major version of PostgreSQL: RDS upgrades the minor one by itself, and a pinned one would be a downgrade then"
  type        = string
  default     = "17"

  validation {
    condition     = can(regex("^[0-9]+$", var.database_engine_version))
    error_message = "A major version, such as 17: minor versions are upgraded by RDS."
  }
}

variable "database_min_acu" {
  description = "Minimum of Aurora capacity units, 2 GiB of memory each"
  type        = number
  default     = 0.5
}

variable "database_max_acu" {
  description = "Maximum of Aurora capacity units"
  type        = number
  default     = 4
}

variable "database_instance_class" {
  description = "Instance class for database = \"instance\""
  type        = string
  default     = "db.t4g.micro"
}

variable "backup_days" {
  description = "Days within which the database can be restored to any second"
  type        = number
  default     = 14
}

variable "deletion_protection" {
  description = "Protect the database and the load balancer against deletion"
  type        = bool
  default     = true
}

# Operation

variable "log_days" {
  description = "Days for which logs are kept"
  type        = number
  default     = 30
}

variable "managed_prometheus" {
  description = "Managed Prometheus with a collector in each task; without it only CloudWatch's alarms remain"
  type        = bool
}

variable "container_insights" {
  description = "CloudWatch's metrics of cluster, service and tasks"
  type        = bool
}

variable "alarm_emails" {
  description = "E-mail addresses for alarms and budget notices"
  type        = set(string)
  default     = []
}

variable "monthly_budget_usd" {
  description = "Budget in US dollars a month; a notice is sent at 80 % spent and at 100 % forecast"
  type        = number
}

variable "ticket_emails" {
  description = "E-mail addresses for alerts that can wait for a working day"
  type        = set(string)
  default     = []
}

variable "dashboards_url" {
  description = "Address of the Grafana with monitoring/grafana/dashboards, for the links in alerts"
  type        = string
  default     = "http://localhost:3000"
}

variable "collector_image" {
  # Append the digest that `docker buildx imagetools inspect` prints, because a tag can be moved.
  description = "Image of the AWS Distro for OpenTelemetry, which scrapes each task's own service"
  type        = string
  default     = "public.ecr.aws/aws-observability/aws-otel-collector:v0.43.1"
}

variable "aws_cli_image" {
  # As with collector_image, append the digest.
  description = "Image of the AWS CLI, which keeps the database's password up to date in each task"
  type        = string
  default     = "public.ecr.aws/aws-cli/aws-cli:2.27.50"
}
