# Roles that a deployment makes for the service, and the ceiling over all of them: without it, whoever may make a role
# may make one that may do anything.

resource "aws_iam_policy" "boundary" {
  name        = "${var.name}-boundary"
  description = "What no role of ${var.name} goes beyond, whatever its own policy says"
  policy      = data.aws_iam_policy_document.boundary.json
}

# A ceiling grants nothing: each role's own policy names its ARNs.
data "aws_iam_policy_document" "boundary" {
  #checkov:skip=CKV_AWS_108: A boundary grants nothing
  #checkov:skip=CKV_AWS_111: A boundary grants nothing
  #checkov:skip=CKV_AWS_356: A boundary grants nothing
  statement {
    sid = "Ceiling"
    actions = [
      "aps:RemoteWrite",
      "ec2:DescribeSecurityGroups",
      "ecs:UpdateService",
      "elasticloadbalancing:DeregisterTargets",
      "elasticloadbalancing:Describe*",
      "elasticloadbalancing:ModifyListener",
      "elasticloadbalancing:ModifyRule",
      "elasticloadbalancing:RegisterTargets",
      "kms:Decrypt",
      "logs:CreateLogGroup",
      "logs:CreateLogStream",
      "logs:DescribeLogStreams",
      "logs:PutLogEvents",
      "logs:PutRetentionPolicy",
      "secretsmanager:GetSecretValue",
    ]
    resources = ["*"]
  }
}

data "aws_iam_policy_document" "deploy_roles" {
  statement {
    sid = "RolesUnderTheBoundary"
    actions = [
      "iam:AttachRolePolicy", "iam:CreateRole", "iam:DetachRolePolicy", "iam:DeleteRolePolicy",
      "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy",
    ]
    resources = ["${local.arn.iam}:role/${var.name}-*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PermissionsBoundary"
      values   = [aws_iam_policy.boundary.arn]
    }
  }

  statement {
    sid       = "Roles"
    actions   = ["iam:DeleteRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole"]
    resources = ["${local.arn.iam}:role/${var.name}-*"]
  }

  statement {
    sid       = "PassRoles"
    actions   = ["iam:PassRole"]
    resources = ["${local.arn.iam}:role/${var.name}-*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values = [
        "ecs-tasks.amazonaws.com", "ecs.amazonaws.com", "monitoring.rds.amazonaws.com", "scheduler.amazonaws.com",
        "vpc-flow-logs.amazonaws.com",
      ]
    }
  }

  statement {
    sid       = "ServiceLinkedRoles"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["${local.arn.iam}:role/aws-service-role/*"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values = [
        "ecs.amazonaws.com", "ecs.application-autoscaling.amazonaws.com", "elasticloadbalancing.amazonaws.com",
        "rds.amazonaws.com", "wafv2.amazonaws.com",
      ]
    }
  }

  # The pipeline's own roles are this module's, which a person applies.
  statement {
    sid       = "NotItself"
    effect    = "Deny"
    actions   = ["iam:*"]
    resources = ["${local.arn.iam}:role/${var.name}-github-*", "${local.arn.iam}:policy/${var.name}-*"]
  }
}
