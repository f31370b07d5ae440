# Log groups and the access log bucket: retention, encryption and write access.

resource "aws_cloudwatch_log_group" "service" {
  #checkov:skip=CKV_AWS_338: 30 days is enough to investigate an incident
  name              = "/${var.name}/service"
  retention_in_days = var.log_days
  kms_key_id        = data.aws_kms_key.main.arn
}

# RDS dictates this name. If the group didn't exist, RDS would create one that keeps logs forever.
resource "aws_cloudwatch_log_group" "database" {
  #checkov:skip=CKV_AWS_338: 30 days is enough to investigate an incident
  name              = "/aws/rds/${local.is_aurora ? "cluster" : "instance"}/${var.name}/postgresql"
  retention_in_days = var.log_days
  kms_key_id        = data.aws_kms_key.main.arn
}

# WAF writes only to groups whose name starts with aws-waf-logs-.
resource "aws_cloudwatch_log_group" "waf" {
  #checkov:skip=CKV_AWS_338: 30 days is enough to investigate an incident
  count = var.waf ? 1 : 0

  name              = "aws-waf-logs-${var.name}"
  retention_in_days = var.log_days
  kms_key_id        = data.aws_kms_key.main.arn
}

resource "aws_cloudwatch_log_group" "flow" {
  #checkov:skip=CKV_AWS_338: 30 days is enough to investigate an incident
  count = local.own_vpc ? 1 : 0

  name              = "/${var.name}/flow"
  retention_in_days = var.log_days
  kms_key_id        = data.aws_kms_key.main.arn
}

resource "aws_s3_bucket" "access_logs" {
  #checkov:skip=CKV_AWS_18: Only the load balancer writes to it
  #checkov:skip=CKV_AWS_144: Access logs are not worth replicating to a second region
  #checkov:skip=CKV_AWS_145: Load balancers can only write to buckets that use S3's own keys
  #checkov:skip=CKV2_AWS_62: Nothing needs a notification of new log files
  bucket_prefix = "${var.name}-access-logs-"
}

resource "aws_s3_bucket_public_access_block" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    apply_server_side_encryption_by_default {
      # Load balancers can't write to a bucket that uses any other algorithm.
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    id     = "expire"
    status = "Enabled"

    filter {}

    expiration {
      days = var.log_days
    }

    noncurrent_version_expiration {
      noncurrent_days = 1
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_policy" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id
  policy = jsonencode(local.access_logs_policy)
}

locals {
  access_logs_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "LoadBalancerWrites"
        Effect    = "Allow"
        Principal = { Service = "logdelivery.elasticloadbalancing.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.access_logs.arn}/AWSLogs/${local.account_id}/*"
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.access_logs.arn, "${aws_s3_bucket.access_logs.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  }
}
