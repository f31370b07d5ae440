terraform {
  # 1.11 has the state's lock file in S3 and write-only arguments.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # 6.21 has canary deployments by ECS itself; the tests use the schema of 6.25.
      version = "~> 6.25"
    }
  }

  # terraform init -backend-config=bucket=… -backend-config=region=…; the bucket is bootstrap/'s. Its default encryption
  # applies: `encrypt = true` without a key would replace the bucket's key by S3's own.
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
