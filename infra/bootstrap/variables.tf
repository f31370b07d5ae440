variable "name" {
  description = "Name of the service, the same as in ../"
  type        = string
  default     = "urlshort"
}

variable "region" {
  description = "AWS region for the state and the service"
  type        = string
}

variable "zone_id" {
  description = "Route 53 hosted zone that deployments can change"
  type        = string
}

variable "vpc_id" {
  description = "An existing VPC in which deployments can create security groups; null if they create their own VPC"
  type        = string
  default     = null
}

variable "github_subject" {
  description = <<-TEXT
    First part of the subject in GitHub's OIDC tokens for the repository: repo:OWNER/NAME. For repositories created
    since 2026 it contains ids: repo:OWNER@ID/NAME@ID. A decoded token shows it.
  TEXT
  type        = string

  validation {
    condition     = can(regex("^repo:[A-Za-z0-9_.@-]+/[A-Za-z0-9_.@-]+$", var.github_subject))
    error_message = "The subject must name one repository, without a wildcard: repo:OWNER/NAME"
  }
}

variable "github_repository_id" {
  description = "The repository's id, which a later repository with the same name would not have; null omits this check"
  type        = string
  default     = null
}

variable "create_oidc_provider" {
  description = "Create GitHub's identity provider. Set to false if it already exists, because an account can have only one"
  type        = bool
  default     = true
}

variable "api_token_version" {
  description = "Increase this number to replace the token for managing links"
  type        = number
  default     = 1
}
