# Permissions to change the database, logs, alarms, metrics and budget.

locals {
  database_arns = [
    for pair in setproduct(["cluster", "cluster-pg", "cluster-snapshot", "db", "pg", "snapshot", "subgrp"], [var.name, "${var.name}-*"]) :
    "${local.arn.rds}:${pair[0]}:${pair[1]}"
  ]

  data_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Database"
        Effect = "Allow"
        Action = [
          "rds:AddTagsToResource", "rds:CreateDBCluster", "rds:CreateDBClusterParameterGroup", "rds:CreateDBInstance",
          "rds:CreateDBParameterGroup", "rds:CreateDBSubnetGroup", "rds:DeleteDBCluster", "rds:DeleteDBClusterParameterGroup",
          "rds:DeleteDBInstance", "rds:DeleteDBParameterGroup", "rds:DeleteDBSubnetGroup", "rds:ModifyDBCluster",
          "rds:ModifyDBClusterParameterGroup", "rds:ModifyDBInstance", "rds:ModifyDBParameterGroup", "rds:ModifyDBSubnetGroup",
          "rds:RemoveTagsFromResource", "rds:ResetDBClusterParameterGroup", "rds:ResetDBParameterGroup",
          # Deleting a database creates a final snapshot.
          "rds:CreateDBClusterSnapshot", "rds:CreateDBSnapshot",
        ]
        Resource = local.database_arns
      },
      # A database also uses the engine's default option and parameter groups.
      {
        Sid      = "DatabaseDefaults"
        Effect   = "Allow"
        Action   = ["rds:CreateDBCluster", "rds:CreateDBInstance", "rds:ModifyDBCluster", "rds:ModifyDBInstance"]
        Resource = ["${local.arn.rds}:og:default*", "${local.arn.rds}:pg:default*"]
      },
      # RDS creates the password's secret with the caller's permissions, but rotates it with permissions of its own. No
      # permission here allows reading the value.
      {
        Sid      = "Password"
        Effect   = "Allow"
        Action   = ["secretsmanager:CreateSecret", "secretsmanager:TagResource"]
        Resource = "${local.arn.secretsmanager}:secret:rds!*"
      },
      # AWS services use the key with the caller's permissions. Only this module manages the key itself.
      {
        Sid      = "Key"
        Effect   = "Allow"
        Action   = ["kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKey"]
        Resource = aws_kms_key.service.arn
      },
      {
        Sid    = "Logs"
        Effect = "Allow"
        Action = [
          "logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:DeleteMetricFilter", "logs:PutMetricFilter",
          "logs:PutRetentionPolicy", "logs:TagResource", "logs:UntagResource",
        ]
        Resource = [
          for group in ["/${var.name}/", "/aws/rds/cluster/${var.name}/", "/aws/rds/instance/${var.name}/", "aws-waf-logs-${var.name}"] :
          "${local.arn.logs}:log-group:${group}*"
        ]
      },
      # WAF sets up its log delivery with the caller's permissions. AWS doesn't support ARNs for these actions.
      {
        Sid      = "WafLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DescribeResourcePolicies", "logs:PutResourcePolicy"]
        Resource = "*"
      },
      {
        Sid    = "AccessLogBucket"
        Effect = "Allow"
        Action = [
          "s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:PutBucket*", "s3:PutEncryptionConfiguration",
          "s3:PutLifecycleConfiguration", "s3:TagResource", "s3:UntagResource",
        ]
        Resource = "arn:${local.partition}:s3:::${var.name}-access-logs-*"
      },
      {
        Sid      = "Alarms"
        Effect   = "Allow"
        Action   = ["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource", "cloudwatch:UntagResource"]
        Resource = "${local.arn.cloudwatch}:alarm:${var.name}-*"
      },
      # AWS chooses the id in a workspace's ARN, so the service's workspaces are identified by tag. CreateWorkspace
      # doesn't support ARNs.
      {
        Sid       = "NewMetrics"
        Effect    = "Allow"
        Action    = "aps:CreateWorkspace"
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestTag/Service" = var.name } }
      },
      {
        Sid      = "TagNewMetrics"
        Effect   = "Allow"
        Action   = ["aps:CreateRuleGroupsNamespace", "aps:TagResource"]
        Resource = ["${local.arn.aps}:rulegroupsnamespace/*", "${local.arn.aps}:workspace/*"]
        Condition = {
          StringEquals = { "aws:RequestTag/Service" = var.name }
          Null         = { "aws:ResourceTag/Service" = "true" }
        }
      },
      {
        Sid    = "Metrics"
        Effect = "Allow"
        Action = [
          "aps:CreateAlertManagerDefinition", "aps:DeleteAlertManagerDefinition", "aps:DeleteRuleGroupsNamespace",
          "aps:DeleteWorkspace", "aps:PutAlertManagerDefinition", "aps:PutRuleGroupsNamespace", "aps:TagResource",
          "aps:UntagResource", "aps:UpdateWorkspaceAlias",
        ]
        Resource  = ["${local.arn.aps}:rulegroupsnamespace/*", "${local.arn.aps}:workspace/*"]
        Condition = { StringEquals = { "aws:ResourceTag/Service" = var.name } }
      },
      {
        Sid    = "Notifications"
        Effect = "Allow"
        Action = [
          "sns:CreateTopic", "sns:DeleteTopic", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource", "sns:Unsubscribe",
          "sns:UntagResource",
        ]
        Resource = "${local.arn.sns}:${var.name}-*"
      },
      {
        Sid      = "Budget"
        Effect   = "Allow"
        Action   = ["budgets:ModifyBudget", "budgets:TagResource", "budgets:UntagResource"]
        Resource = "${local.arn.budgets}:budget/${var.name}"
      },
    ]
  }
}
