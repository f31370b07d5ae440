terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }
  # The state is a file, until the bucket is there: see ../README.md.
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      Service   = var.name
      ManagedBy = "terraform"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  # Of whatever the service's resources are named by.
  arn = {
    for service in ["application-autoscaling", "aps", "budgets", "cloudwatch", "ecs", "iam", "kms", "logs", "rds", "scheduler", "secretsmanager", "sns", "wafv2", "elasticloadbalancing", "acm"] :
    service => "arn:${local.partition}:${service}:${contains(["iam", "budgets"], service) ? "" : var.region}:${local.account_id}"
  }
}
