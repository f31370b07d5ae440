output "github_variables" {
  description = "Variables for the GitHub repository"
  value = {
    AWS_REGION      = var.region
    AWS_PLAN_ROLE   = aws_iam_role.github["plan"].arn
    AWS_DEPLOY_ROLE = aws_iam_role.github["deploy"].arn
    STATE_BUCKET    = aws_s3_bucket.state.id
  }
}

output "permissions_boundary_arn" {
  description = "Value for the permissions_boundary_arn variable in ../"
  value       = aws_iam_policy.boundary.arn
}

output "api_tokens_secret" {
  description = "Secret with the token for managing links"
  value       = aws_secretsmanager_secret.api_tokens.name
}
