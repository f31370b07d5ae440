output "state_bucket" {
  description = "Variable STATE_BUCKET of the environments plan and production"
  value       = aws_s3_bucket.state.id
}

output "plan_role_arn" {
  description = "Variable AWS_PLAN_ROLE of the environment plan"
  value       = aws_iam_role.plan.arn
}

output "deploy_role_arn" {
  description = "Variable AWS_DEPLOY_ROLE of the environment production"
  value       = aws_iam_role.deploy.arn
}

output "permissions_boundary_arn" {
  description = "Variable permissions_boundary_arn of ../"
  value       = aws_iam_policy.boundary.arn
}
