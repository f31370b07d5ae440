# Permissions to create the service's roles, and the permissions boundary on all of them. Without the boundary, a
# deployment could create a role without limits.

resource "aws_iam_policy" "boundary" {
  #checkov:skip=CKV_AWS_288: A boundary grants nothing
  #checkov:skip=CKV_AWS_290: A boundary grants nothing
  #checkov:skip=CKV_AWS_355: A boundary grants nothing
  name        = "${var.name}-boundary"
  description = "The most that any role of ${var.name} can do, even if its own policy allows more"
  policy      = jsonencode(local.boundary_policy)
}

locals {
  # A boundary grants nothing. The ARNs are in each role's own policy.
  boundary_policy = {
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Ceiling"
      Effect = "Allow"
      Action = [
        "aps:RemoteWrite",
        "elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:Describe*", "elasticloadbalancing:ModifyListener",
        "elasticloadbalancing:ModifyRule", "elasticloadbalancing:RegisterTargets",
        "kms:Decrypt",
        "logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents",
        "logs:PutRetentionPolicy",
        "secretsmanager:GetSecretValue",
      ]
      Resource = "*"
    }]
  }

  service_roles = "${local.arn.iam}:role/${var.name}-*"

  roles_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "RolesUnderTheBoundary"
        Effect = "Allow"
        Action = [
          "iam:AttachRolePolicy", "iam:CreateRole", "iam:DeleteRolePolicy", "iam:DetachRolePolicy",
          "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy",
        ]
        Resource  = local.service_roles
        Condition = { StringEquals = { "iam:PermissionsBoundary" = aws_iam_policy.boundary.arn } }
      },
      {
        Sid      = "Roles"
        Effect   = "Allow"
        Action   = ["iam:DeleteRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole"]
        Resource = local.service_roles
      },
      {
        Sid      = "PassRoles"
        Effect   = "Allow"
        Action   = "iam:PassRole"
        Resource = local.service_roles
        Condition = {
          StringEquals = {
            "iam:PassedToService" = ["ecs-tasks.amazonaws.com", "ecs.amazonaws.com", "monitoring.rds.amazonaws.com", "vpc-flow-logs.amazonaws.com"]
          }
        }
      },
      # If an account has never used these services, the first call creates their service-linked roles.
      {
        Sid      = "ServiceLinkedRoles"
        Effect   = "Allow"
        Action   = "iam:CreateServiceLinkedRole"
        Resource = "${local.arn.iam}:role/aws-service-role/*"
        Condition = {
          StringEquals = {
            "iam:AWSServiceName" = [
              "ecs.amazonaws.com", "ecs.application-autoscaling.amazonaws.com", "elasticloadbalancing.amazonaws.com",
              "rds.amazonaws.com", "wafv2.amazonaws.com",
            ]
          }
        }
      },
      # This module is applied by a person, because the pipeline must not be able to change its own roles.
      {
        Sid      = "NotItself"
        Effect   = "Deny"
        Action   = "iam:*"
        Resource = ["${local.arn.iam}:role/${var.name}-github-*", "${local.arn.iam}:policy/${var.name}-*"]
      },
    ]
  }
}
