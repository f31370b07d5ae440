# Permissions to read what a plan needs. AWS doesn't support ARNs for most describe and list calls.

locals {
  read_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Describe"
        Effect = "Allow"
        Action = [
          "acm:DescribeCertificate", "acm:ListTagsForCertificate",
          "application-autoscaling:Describe*", "application-autoscaling:ListTagsForResource",
          "aps:DescribeAlertManagerDefinition", "aps:DescribeLoggingConfiguration", "aps:DescribeRuleGroupsNamespace",
          "aps:DescribeWorkspace", "aps:ListTagsForResource",
          "budgets:ListTagsForResource", "budgets:ViewBudget",
          "cloudwatch:DescribeAlarms", "cloudwatch:ListTagsForResource",
          "ec2:Describe*", "ec2:GetSecurityGroupsForVpc",
          "ecs:Describe*", "ecs:List*",
          "elasticloadbalancing:Describe*",
          "iam:GetPolicy", "iam:GetPolicyVersion", "iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies",
          "iam:ListInstanceProfilesForRole", "iam:ListPolicyVersions", "iam:ListRolePolicies",
          "kms:DescribeKey",
          "logs:DescribeLogGroups", "logs:DescribeMetricFilters", "logs:ListTagsForResource",
          "rds:Describe*", "rds:ListTagsForResource",
          "route53:GetChange", "route53:GetHostedZone", "route53:ListResourceRecordSets", "route53:ListTagsForResource",
          # The metadata of a secret, not its value.
          "secretsmanager:DescribeSecret", "secretsmanager:GetResourcePolicy",
          "sns:GetSubscriptionAttributes", "sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic", "sns:ListTagsForResource",
          "wafv2:GetLoggingConfiguration", "wafv2:GetWebACL", "wafv2:GetWebACLForResource", "wafv2:ListTagsForResource",
        ]
        Resource = "*"
      },
      {
        Sid    = "AccessLogBucket"
        Effect = "Allow"
        Action = [
          "s3:GetAccelerateConfiguration", "s3:GetBucket*", "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration",
          "s3:GetReplicationConfiguration", "s3:ListBucket", "s3:ListTagsForResource",
        ]
        Resource = "arn:${local.partition}:s3:::${var.name}-access-logs-*"
      },
    ]
  }

  state_read_policy = {
    Version = "2012-10-17"
    Statement = [
      { Sid = "Find", Effect = "Allow", Action = "s3:ListBucket", Resource = aws_s3_bucket.state.arn },
      { Sid = "Read", Effect = "Allow", Action = "s3:GetObject", Resource = local.state_object },
      { Sid = "Key", Effect = "Allow", Action = "kms:Decrypt", Resource = aws_kms_key.state.arn },
    ]
  }

  state_write_policy = {
    Version = "2012-10-17"
    Statement = concat(local.state_read_policy.Statement, [
      { Sid = "Write", Effect = "Allow", Action = "s3:PutObject", Resource = local.state_object },
      {
        Sid      = "Lock"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        Resource = "${local.state_object}.tflock"
      },
      { Sid = "WriteKey", Effect = "Allow", Action = "kms:GenerateDataKey", Resource = aws_kms_key.state.arn },
    ])
  }

  state_object = "${aws_s3_bucket.state.arn}/${var.name}/terraform.tfstate"
}
