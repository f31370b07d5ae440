# The token for managing links. It is created here, because Terraform would read the token for every plan of the
# deployment. The plan role, which any branch can assume, would then need permission to read the token.

resource "aws_secretsmanager_secret" "api_tokens" {
  #checkov:skip=CKV2_AWS_57: Only a person knows who uses the token; see "Change the token" in ../README.md
  name        = "${var.name}/api-tokens"
  description = "API_TOKENS of ${var.name}: name:token[:read|write], separated by commas"
  kms_key_id  = aws_kms_key.service.arn
}

resource "aws_secretsmanager_secret_version" "api_tokens" {
  secret_id = aws_secretsmanager_secret.api_tokens.id
  # Write-only: the value is stored neither in the state nor in plans. uuid() uses the system's random number generator,
  # and two UUIDs have 244 random bits. A new value is written only when the version below changes.
  secret_string_wo         = "admin:${sha256("${uuid()}${uuid()}")}:write"
  secret_string_wo_version = var.api_token_version
}
