# The key for the service's database, password, logs and alarms. The key is created here so that a deployment can
# neither delete it nor change its policy, and so that the database's final snapshot stays readable after the service is
# destroyed.

resource "aws_kms_key" "service" {
  description         = var.name
  enable_key_rotation = true
  policy              = jsonencode(local.service_key_policy)
}

resource "aws_kms_alias" "service" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.service.id
}

locals {
  service_key_policy = {
    Version = "2012-10-17"
    Statement = [
      local.key_by_iam,
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "${local.arn.logs}:log-group:*${var.name}*" } }
      },
      {
        Sid       = "AlarmsAndBudgets"
        Effect    = "Allow"
        Principal = { Service = ["aps.amazonaws.com", "cloudwatch.amazonaws.com", "budgets.amazonaws.com"] }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
      },
    ]
  }
}
