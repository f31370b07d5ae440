# What a deployment changes: resources of the service's name, where AWS lets a name be given; of its tags or in its
# region, where it does not.

locals {
  deploy_policies = {
    state   = data.aws_iam_policy_document.state_write.json
    compute = data.aws_iam_policy_document.deploy_compute.json
    network = data.aws_iam_policy_document.deploy_network.json
    data    = data.aws_iam_policy_document.deploy_data.json
    roles   = data.aws_iam_policy_document.deploy_roles.json
  }
}

data "aws_iam_policy_document" "deploy_compute" {
  statement {
    sid = "Ecs"
    actions = [
      "ecs:CreateCluster", "ecs:CreateService", "ecs:DeleteCluster", "ecs:DeleteService", "ecs:StopServiceDeployment",
      "ecs:TagResource", "ecs:UntagResource", "ecs:UpdateCluster", "ecs:UpdateClusterSettings", "ecs:UpdateService",
    ]
    resources = [
      "${local.arn.ecs}:cluster/${var.name}",
      "${local.arn.ecs}:service/${var.name}/*",
      "${local.arn.ecs}:service-deployment/${var.name}/*",
      "${local.arn.ecs}:task-definition/${var.name}:*",
    ]
  }

  # Deregistering takes no ARN.
  statement {
    sid       = "TaskDefinitions"
    actions   = ["ecs:DeregisterTaskDefinition", "ecs:RegisterTaskDefinition"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }

  statement {
    sid = "LoadBalancer"
    actions = [
      "elasticloadbalancing:AddTags", "elasticloadbalancing:Create*", "elasticloadbalancing:Delete*",
      "elasticloadbalancing:Modify*", "elasticloadbalancing:RemoveTags", "elasticloadbalancing:Set*",
    ]
    resources = [
      for kind in ["loadbalancer/app", "listener/app", "listener-rule/app", "targetgroup"] :
      "${local.arn.elasticloadbalancing}:${kind}/${var.name}${kind == "targetgroup" ? "-*" : "/*"}"
    ]
  }

  statement {
    sid = "Scaling"
    actions = [
      "application-autoscaling:DeleteScalingPolicy", "application-autoscaling:DeregisterScalableTarget",
      "application-autoscaling:PutScalingPolicy", "application-autoscaling:RegisterScalableTarget",
      "application-autoscaling:TagResource", "application-autoscaling:UntagResource",
    ]
    resources = ["${local.arn.application-autoscaling}:scalable-target/*"]

    condition {
      test     = "StringEqualsIfExists"
      variable = "application-autoscaling:service-namespace"
      values   = ["ecs"]
    }
  }

  statement {
    sid       = "Schedule"
    actions   = ["scheduler:CreateSchedule", "scheduler:DeleteSchedule", "scheduler:UpdateSchedule"]
    resources = ["${local.arn.scheduler}:schedule/default/${var.name}-*"]
  }
}

data "aws_iam_policy_document" "deploy_network" {
  # Most of what makes and changes a network takes no name: bound to the region.
  statement {
    sid = "Network"
    actions = [
      "ec2:AllocateAddress", "ec2:AssociateRouteTable", "ec2:AttachInternetGateway", "ec2:AuthorizeSecurityGroup*",
      "ec2:CreateFlowLogs", "ec2:CreateInternetGateway", "ec2:CreateNatGateway", "ec2:CreateRoute", "ec2:CreateRouteTable",
      "ec2:CreateSecurityGroup", "ec2:CreateSubnet", "ec2:CreateTags", "ec2:CreateVpc", "ec2:ModifySecurityGroupRules",
      "ec2:ModifySubnetAttribute", "ec2:ModifyVpcAttribute",
    ]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }

  # What takes away is bound to the tag that everything of the service bears.
  statement {
    sid = "NetworkRemoval"
    actions = [
      "ec2:DeleteFlowLogs", "ec2:DeleteInternetGateway", "ec2:DeleteNatGateway", "ec2:DeleteRoute", "ec2:DeleteRouteTable",
      "ec2:DeleteSecurityGroup", "ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpc", "ec2:DetachInternetGateway",
      "ec2:DisassociateAddress", "ec2:DisassociateRouteTable", "ec2:ReleaseAddress", "ec2:ReplaceRoute",
      "ec2:ReplaceRouteTableAssociation", "ec2:RevokeSecurityGroup*", "ec2:UpdateSecurityGroupRuleDescriptions*",
    ]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Service"
      values   = [var.name]
    }
  }

  statement {
    sid = "Waf"
    actions = [
      "wafv2:AssociateWebACL", "wafv2:CreateWebACL", "wafv2:DeleteLoggingConfiguration", "wafv2:DeleteWebACL",
      "wafv2:DisassociateWebACL", "wafv2:PutLoggingConfiguration", "wafv2:TagResource", "wafv2:UntagResource", "wafv2:UpdateWebACL",
    ]
    resources = [
      "${local.arn.wafv2}:regional/webacl/${var.name}/*",
      "${local.arn.wafv2}:regional/managedruleset/*",
      "${local.arn.elasticloadbalancing}:loadbalancer/app/${var.name}/*",
    ]
  }

  statement {
    sid       = "Names"
    actions   = ["route53:ChangeResourceRecordSets"]
    resources = ["arn:${local.partition}:route53:::hostedzone/${var.zone_id}"]
  }

  # A certificate's name is a number that AWS chooses.
  statement {
    sid       = "Certificate"
    actions   = ["acm:AddTagsToCertificate", "acm:DeleteCertificate", "acm:RemoveTagsFromCertificate", "acm:RequestCertificate"]
    resources = ["${local.arn.acm}:certificate/*"]
  }
}

data "aws_iam_policy_document" "deploy_data" {
  statement {
    sid = "Database"
    actions = [
      "rds:AddTagsToResource", "rds:CreateDBCluster*", "rds:CreateDBInstance", "rds:CreateDBSubnetGroup", "rds:DeleteDBCluster*",
      "rds:DeleteDBInstance", "rds:DeleteDBSubnetGroup", "rds:ModifyDBCluster*", "rds:ModifyDBInstance",
      "rds:ModifyDBSubnetGroup", "rds:RemoveTagsFromResource", "rds:ResetDBClusterParameterGroup",
    ]
    resources = [
      for kind in ["cluster", "cluster-pg", "cluster-snapshot", "db", "subgrp"] : "${local.arn.rds}:${kind}:${var.name}*"
    ]
  }

  # RDS names the secret of a cluster's password rds!…, and has it made in the caller's name. The value is not read.
  statement {
    sid       = "Password"
    actions   = ["secretsmanager:CancelRotateSecret", "secretsmanager:CreateSecret", "secretsmanager:RotateSecret", "secretsmanager:TagResource"]
    resources = ["${local.arn.secretsmanager}:secret:rds!cluster-*"]
  }

  statement {
    sid = "Keys"
    actions = [
      "kms:CreateGrant", "kms:Decrypt", "kms:EnableKeyRotation", "kms:GenerateDataKey", "kms:PutKeyPolicy",
      "kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource", "kms:UpdateKeyDescription",
    ]
    resources = ["${local.arn.kms}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Service"
      values   = [var.name]
    }
  }

  # A key has no ARN before it is made.
  statement {
    sid       = "NewKey"
    actions   = ["kms:CreateKey"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Service"
      values   = [var.name]
    }
  }

  statement {
    sid       = "KeyAlias"
    actions   = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
    resources = ["${local.arn.kms}:alias/${var.name}", "${local.arn.kms}:key/*"]
  }

  statement {
    sid = "Logs"
    actions = [
      "logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:TagResource",
      "logs:UntagResource",
    ]
    resources = [
      for group in ["/${var.name}/", "/aws/rds/cluster/${var.name}/", "aws-waf-logs-${var.name}"] :
      "${local.arn.logs}:log-group:${group}*"
    ]
  }

  # WAF has its log deliveries set up in the caller's name, which takes no ARN.
  statement {
    sid       = "WafLogs"
    actions   = ["logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DescribeResourcePolicies", "logs:PutResourcePolicy"]
    resources = ["*"]
  }

  statement {
    sid       = "AccessLogBucket"
    actions   = ["s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:PutBucket*", "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration"]
    resources = ["arn:${local.partition}:s3:::${var.name}-access-logs-*"]
  }

  statement {
    sid       = "Alarms"
    actions   = ["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource", "cloudwatch:UntagResource"]
    resources = ["${local.arn.cloudwatch}:alarm:${var.name}-*"]
  }

  # A workspace's ARN has an id that AWS draws, so that its tag tells whose it is.
  statement {
    sid       = "NewMetrics"
    actions   = ["aps:CreateWorkspace", "aps:TagResource"]
    resources = ["${local.arn.aps}:*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Service"
      values   = [var.name]
    }
  }

  statement {
    sid = "Metrics"
    actions = [
      "aps:CreateAlertManagerDefinition", "aps:CreateRuleGroupsNamespace", "aps:DeleteAlertManagerDefinition",
      "aps:DeleteRuleGroupsNamespace", "aps:DeleteWorkspace", "aps:PutAlertManagerDefinition", "aps:PutRuleGroupsNamespace",
      "aps:TagResource", "aps:UntagResource", "aps:UpdateWorkspaceAlias",
    ]
    resources = ["${local.arn.aps}:*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Service"
      values   = [var.name]
    }
  }

  statement {
    sid = "Notifications"
    actions = [
      "sns:CreateTopic", "sns:DeleteTopic", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource", "sns:Unsubscribe",
      "sns:UntagResource",
    ]
    resources = ["${local.arn.sns}:${var.name}-*"]
  }

  statement {
    sid       = "Budget"
    actions   = ["budgets:ModifyBudget", "budgets:TagResource", "budgets:UntagResource"]
    resources = ["${local.arn.budgets}:budget/${var.name}"]
  }
}
