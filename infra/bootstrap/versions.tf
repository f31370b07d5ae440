terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }
  # The state is a local file until the bucket exists. See ../README.md.
}

provider "aws" {
  region = var.region

  # This tag must differ from the service's own tag, because a deployment can change and delete resources that have the
  # service's tag.
  default_tags {
    tags = {
      Service   = "${var.name}-bootstrap"
      ManagedBy = "terraform"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  # ARN prefixes for the service's resources. IAM and Budgets ARNs contain no region.
  arn = {
    for service in ["acm", "application-autoscaling", "aps", "budgets", "cloudwatch", "ec2", "ecs", "elasticloadbalancing", "iam", "kms", "logs", "rds", "secretsmanager", "sns", "wafv2"] :
    service => "arn:${local.partition}:${service}:${contains(["iam", "budgets"], service) ? "" : var.region}:${local.account_id}"
  }
}
