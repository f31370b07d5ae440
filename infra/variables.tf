variable "name" {
  description = "Name of the service, and the beginning of every resource's name"
  type        = string
  default     = "urlshort"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "A name is 2 to 20 lower-case letters, digits and hyphens: target groups take no more."
  }
}

variable "region" {
  description = "AWS region of everything"
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
  description = "Image to run, by digest: a tag can be moved to what nobody has checked"
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9./_-]+@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image is given by digest: REPOSITORY@sha256:…"
  }
}

variable "registry_credentials_secret_arn" {
  description = "Secret with user name and password for the image's registry, where the image is private"
  type        = string
  default     = null
}

variable "api_tokens_secret_arn" {
  description = "Secret whose value is API_TOKENS; without it nobody may manage links"
  type        = string
  default     = null
}

variable "settings" {
  description = "Further options of the service, as environment variables; nothing secret"
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.settings) : !can(regex("PASSWORD|TOKEN|SECRET", name))])
    error_message = "Secrets come from Secrets Manager, never from plain settings."
  }
}

variable "cpu" {
  description = "CPU units of one task; 1024 are one core"
  type        = number
  default     = 256
}

variable "memory" {
  description = "MiB of one task"
  type        = number
  default     = 512
}

variable "min_tasks" {
  description = "Tasks at least: two, so that the loss of a zone leaves one"
  type        = number
  default     = 2

  validation {
    condition     = var.min_tasks >= 2
    error_message = "One task is one zone: at least 2."
  }
}

variable "max_tasks" {
  description = "Tasks at most"
  type        = number
  default     = 10
}

variable "target_cpu_percent" {
  description = "CPU use that autoscaling keeps to"
  type        = number
  default     = 60
}

variable "target_requests_per_task" {
  description = "Requests per task and minute that autoscaling keeps to"
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
  description = "Minutes for which a new version keeps to that share"
  type        = number
  default     = 10
}

variable "bake_minutes" {
  description = "Minutes after the shift for which the old version stands by"
  type        = number
  default     = 10
}

variable "max_error_percent" {
  description = "Share of 5xx answers that rolls a deployment back and alarms: ten times what the objective permits"
  type        = number
  default     = 1
}

variable "max_p99_seconds" {
  description = "99th percentile of the answer time that rolls a deployment back and alarms: the objective's threshold"
  type        = number
  default     = 0.2
}

# Network

variable "vpc" {
  description = "A VPC that is there already; without it a small one is made"
  type = object({
    id                 = string
    public_subnet_ids  = list(string)
    private_subnet_ids = list(string)
  })
  default = null

  validation {
    condition     = var.vpc == null ? true : min(length(var.vpc.public_subnet_ids), length(var.vpc.private_subnet_ids)) >= 2
    error_message = "Load balancer, tasks and database take subnets in two zones at least."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC that is made"
  type        = string
  default     = "10.64.0.0/16"
}

variable "zones" {
  description = "Letters of the two zones of the VPC that is made: named here, so that a new zone of AWS's moves nothing"
  type        = list(string)
  default     = ["a", "b"]

  validation {
    condition     = length(toset(var.zones)) == 2
    error_message = "Two zones, neither more nor fewer."
  }
}

variable "nat_gateway_per_zone" {
  description = "A NAT gateway in each zone. With one, the loss of its zone stops new tasks from starting, not running ones"
  type        = bool
  default     = false
}

variable "rate_limit_per_5_minutes" {
  description = "Requests from one address in 5 minutes, after which it is blocked"
  type        = number
  default     = 6000
}

# Database

variable "database_engine_version" {
  description = "Version of Aurora PostgreSQL"
  type        = string
  default     = "17.5"
}

variable "database_min_acu" {
  description = "Aurora capacity units at least, 2 GiB of memory each"
  type        = number
  default     = 0.5
}

variable "database_max_acu" {
  description = "Aurora capacity units at most"
  type        = number
  default     = 4
}

variable "backup_days" {
  description = "Days for which the database can be put back to any second"
  type        = number
  default     = 14
}

variable "deletion_protection" {
  description = "Whether database and load balancer refuse to be deleted"
  type        = bool
  default     = true
}

# Operation

variable "log_days" {
  description = "Days for which logs are kept"
  type        = number
  default     = 365
}

variable "alarm_emails" {
  description = "Addresses that alarms and budget notices go to"
  type        = set(string)
  default     = []
}

variable "monthly_budget_usd" {
  description = "US dollars a month, of which 80 % spent or 100 % forecast are notified"
  type        = number
  default     = 250
}

variable "ticket_emails" {
  description = "Addresses that alerts go to which can wait for a working day"
  type        = set(string)
  default     = []
}

variable "dashboards_url" {
  description = "Where Grafana serves monitoring/grafana/dashboards: what alerts link to"
  type        = string
  default     = "http://localhost:3000"
}

variable "collector_image" {
  # Append the digest that `docker buildx imagetools inspect` prints: a tag can be moved.
  description = "AWS Distro for OpenTelemetry, which scrapes each task's own service"
  type        = string
  default     = "public.ecr.aws/aws-observability/aws-otel-collector:v0.43.1"
}
