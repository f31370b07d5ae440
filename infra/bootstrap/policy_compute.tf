# Permissions to change the tasks, the load balancer, its DNS records and its firewall. Where AWS supports it, the ARNs
# contain the service's name.

locals {
  load_balancer_arns = concat(
    [for kind in ["loadbalancer", "listener", "listener-rule"] : "${local.arn.elasticloadbalancing}:${kind}/app/${var.name}/*"],
    ["${local.arn.elasticloadbalancing}:targetgroup/${var.name}-*"],
  )

  compute_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Ecs"
        Effect = "Allow"
        Action = [
          "ecs:CreateCluster", "ecs:CreateService", "ecs:DeleteCluster", "ecs:DeleteService", "ecs:RegisterTaskDefinition",
          "ecs:StopServiceDeployment", "ecs:TagResource", "ecs:UntagResource", "ecs:UpdateCluster", "ecs:UpdateClusterSettings",
          "ecs:UpdateService",
        ]
        Resource = [
          "${local.arn.ecs}:cluster/${var.name}",
          "${local.arn.ecs}:service/${var.name}/*",
          "${local.arn.ecs}:service-deployment/${var.name}/*",
          "${local.arn.ecs}:task-definition/${var.name}:*",
        ]
      },
      {
        Sid    = "LoadBalancer"
        Effect = "Allow"
        Action = [
          "elasticloadbalancing:AddTags", "elasticloadbalancing:Create*", "elasticloadbalancing:Delete*",
          "elasticloadbalancing:Modify*", "elasticloadbalancing:RemoveTags", "elasticloadbalancing:SetRulePriorities",
          "elasticloadbalancing:SetSecurityGroups", "elasticloadbalancing:SetSubnets",
        ]
        Resource = local.load_balancer_arns
      },
      {
        Sid    = "Scaling"
        Effect = "Allow"
        Action = [
          "application-autoscaling:DeleteScalingPolicy", "application-autoscaling:DeregisterScalableTarget",
          "application-autoscaling:PutScalingPolicy", "application-autoscaling:RegisterScalableTarget",
          "application-autoscaling:TagResource", "application-autoscaling:UntagResource",
        ]
        Resource  = "${local.arn.application-autoscaling}:scalable-target/*"
        Condition = { StringEqualsIfExists = { "application-autoscaling:service-namespace" = "ecs" } }
      },
      {
        Sid    = "Waf"
        Effect = "Allow"
        Action = [
          "wafv2:AssociateWebACL", "wafv2:CreateWebACL", "wafv2:DeleteLoggingConfiguration", "wafv2:DeleteWebACL",
          "wafv2:DisassociateWebACL", "wafv2:PutLoggingConfiguration", "wafv2:TagResource", "wafv2:UntagResource", "wafv2:UpdateWebACL",
        ]
        Resource = [
          "${local.arn.wafv2}:regional/webacl/${var.name}/*",
          "${local.arn.wafv2}:regional/managedruleset/*",
          "${local.arn.elasticloadbalancing}:loadbalancer/app/${var.name}/*",
        ]
      },
      # AWS doesn't support ARNs for SetWebAcl. But the action also requires AssociateWebACL on the same load balancer,
      # which is limited to the service's load balancer above.
      { Sid = "WafOnLoadBalancer", Effect = "Allow", Action = "elasticloadbalancing:SetWebAcl", Resource = "*" },
      {
        Sid      = "Names"
        Effect   = "Allow"
        Action   = "route53:ChangeResourceRecordSets"
        Resource = "arn:${local.partition}:route53:::hostedzone/${var.zone_id}"
      },
      # AWS chooses the id in a certificate's ARN, so the service's certificates are identified by tag.
      {
        Sid       = "NewCertificate"
        Effect    = "Allow"
        Action    = "acm:RequestCertificate"
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestTag/Service" = var.name } }
      },
      {
        Sid      = "TagNewCertificate"
        Effect   = "Allow"
        Action   = "acm:AddTagsToCertificate"
        Resource = "${local.arn.acm}:certificate/*"
        Condition = {
          StringEquals = { "aws:RequestTag/Service" = var.name }
          Null         = { "aws:ResourceTag/Service" = "true" }
        }
      },
      {
        Sid       = "Certificate"
        Effect    = "Allow"
        Action    = ["acm:AddTagsToCertificate", "acm:DeleteCertificate", "acm:RemoveTagsFromCertificate"]
        Resource  = "${local.arn.acm}:certificate/*"
        Condition = { StringEquals = { "aws:ResourceTag/Service" = var.name } }
      },
    ]
  }
}
