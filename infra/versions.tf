terraform {
  # 1.11: a lock file in the state's bucket, instead of a table beside it.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # 6.21 brought canary deployments by ECS itself; 6.25 is the schema that the tests were written against.
      version = "~> 6.25"
    }
  }

  # The bucket comes from bootstrap/: terraform init -backend-config="bucket=…".
  backend "s3" {
    key          = "urlshort/terraform.tfstate"
    encrypt      = true
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
