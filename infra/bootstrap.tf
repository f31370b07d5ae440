# What bootstrap/ made, found by name.

data "aws_kms_key" "main" {
  key_id = "alias/${var.name}"
}

# Its id is its ARN. A deployment never reads its value.
data "aws_secretsmanager_secret" "api_tokens" {
  name = "${var.name}/api-tokens"
}
