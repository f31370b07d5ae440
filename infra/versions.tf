terraform {
  # Version 1.11 adds lock files in S3 and write-only arguments.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Version 6.21 adds canary deployments by ECS itself. The tests use the schema of 6.25.
      version = "~> 6.25"
    }
  }

  # terraform init -backend-config=bucket=… -backend-config=region=…; bootstrap/ creates the bucket. The bucket's
  # default encryption applies, because `encrypt = true` without a key would use S3's own key instead.
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
