# The bucket for Terraform's state, encrypted and versioned. The lock file is in the same bucket.

resource "aws_s3_bucket" "state" {
  #checkov:skip=CKV_AWS_18: CloudTrail shows who read the state; a log bucket would need the same protection
  #checkov:skip=CKV_AWS_144: The state describes one region and is of no use without it
  #checkov:skip=CKV2_AWS_62: Nothing needs a notification of changes to the state
  bucket_prefix = "${var.name}-state-"
  # A bucket can't be destroyed while it holds any object version.
  force_destroy = false
}

resource "aws_s3_bucket_versioning" "state" {
  bucket = aws_s3_bucket.state.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.state.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "state" {
  bucket = aws_s3_bucket.state.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    id     = "old-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days           = 90
      newer_noncurrent_versions = 20
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_policy" "state" {
  bucket = aws_s3_bucket.state.id
  policy = jsonencode(local.state_bucket_policy)
}

locals {
  state_bucket_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.state.arn, "${aws_s3_bucket.state.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      # A backend with `encrypt = true` and no key requests S3's own key, which overrides the bucket's key.
      {
        Sid       = "BucketKeyOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.state.arn}/*"
        Condition = {
          # Without the Null condition, a request without encryption headers would also be denied, although the bucket's
          # default encryption applies to it.
          Null            = { "s3:x-amz-server-side-encryption" = "false" }
          StringNotEquals = { "s3:x-amz-server-side-encryption" = "aws:kms" }
        }
      },
    ]
  }
}

resource "aws_kms_key" "state" {
  description         = "State of ${var.name}"
  enable_key_rotation = true
  policy              = jsonencode(local.state_key_policy)
}

locals {
  # In a key policy, "*" means the key that the policy belongs to.
  key_by_iam = {
    Sid       = "GrantsByIam"
    Effect    = "Allow"
    Principal = { AWS = "arn:${local.partition}:iam::${local.account_id}:root" }
    Action    = "kms:*"
    Resource  = "*"
  }
  state_key_policy = { Version = "2012-10-17", Statement = [local.key_by_iam] }
}
