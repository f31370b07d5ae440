terraform {
  # Version 1.11 supports lock files in S3, and write-only arguments.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Version 6.21 added support for ECS's built-in canary deployments. The tests use the schema of version 6.25.
      version = "~> 6.25"
    }
  }

  # Run `terraform init -backend-config=bucket=… -backend-config=region=…` with the bucket that bootstrap/ created.
  # Don't set `encrypt = true`: without a key, it would replace the bucket's default encryption with S3's own key.
  backend "s3" {
    key          = "urlshort/terraform.tfstate"
    use_lockfile = true
  }
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
}
