variable "name" {
  description = "Name of the service, the same as in ../"
  type        = string
  default     = "urlshort"
}

variable "region" {
  description = "AWS region of the state and of the service"
  type        = string
}

variable "zone_id" {
  description = "Route 53 hosted zone in which deployments may write"
  type        = string
}

variable "vpc_id" {
  description = "An existing VPC in which deployments may make security groups; null if they make their own"
  type        = string
  default     = null
}

variable "github_subject" {
  description = <<-TEXT
    First part of the subject in GitHub's tokens for the repository: repo:OWNER/NAME. Repositories made since 2026 have
    numbers in it: repo:OWNER@ID/NAME@ID. A token itself shows it.
  TEXT
  type        = string

  validation {
    condition     = can(regex("^repo:[A-Za-z0-9_.@-]+/[A-Za-z0-9_.@-]+$", var.github_subject))
    error_message = "The subject names one repository, without a wildcard: repo:OWNER/NAME"
  }
}

variable "github_repository_id" {
  description = "The repository's number, which a later repository of the same name does not have; null to leave it out"
  type        = string
  default     = null
}

variable "create_oidc_provider" {
  description = "Make GitHub's identity provider. An account has at most one: false if it exists already"
  type        = bool
  default     = true
}

variable "api_token_version" {
  description = "Raise this number to replace the token that manages links"
  type        = number
  default     = 1
}
