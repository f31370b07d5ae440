# Resources created by bootstrap/, looked up by name.

data "aws_kms_key" "main" {
  key_id = "alias/${var.name}"
}

# The id is the secret's ARN. Deployments never read the secret's value.
data "aws_secretsmanager_secret" "api_tokens" {
  name = "${var.name}/api-tokens"
}
