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

variable "github_subject" {
  description = <<-TEXT
    What GitHub's tokens for the repository begin their subject with. Repositories made since 2026 carry numbers in it:
    repo:OWNER@ID/NAME@ID. A token itself shows it.
  TEXT
  type        = string
  default     = "repo:urlshort/urlshort"

  validation {
    condition     = can(regex("^repo:[A-Za-z0-9_.@-]+/[A-Za-z0-9_.@-]+$", var.github_subject))
    error_message = "The subject names one repository, without a wildcard: repo:OWNER/NAME"
  }
}

variable "github_repository_id" {
  description = "The repository's number, which a repository of the same name made later does not have; null to leave it out"
  type        = string
  default     = null
}
