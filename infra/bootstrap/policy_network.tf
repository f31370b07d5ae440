# Permissions to change the network. AWS chooses the ids of EC2 resources, so the `Service` tag identifies the service's
# resources. A new resource must get the tag, and an existing resource can be changed only if it already has the tag.

locals {
  # Actions grouped by the types of resources they create. Don't list a type that an action only uses, because such a
  # resource must already have the tag.
  new_network = {
    NewRoots   = { actions = ["AllocateAddress", "CreateInternetGateway", "CreateVpc"], types = ["elastic-ip", "internet-gateway", "vpc"] }
    NewSubnets = { actions = ["CreateSubnet"], types = ["subnet"] }
    NewParts = {
      actions = ["CreateFlowLogs", "CreateNatGateway", "CreateRouteTable", "CreateSecurityGroup"]
      types   = ["natgateway", "route-table", "security-group", "vpc-flow-log"]
    }
    NewRules = { actions = ["AuthorizeSecurityGroupEgress", "AuthorizeSecurityGroupIngress"], types = ["security-group-rule"] }
  }

  network_policy = {
    Version = "2012-10-17"
    Statement = concat(
      [
        for sid, new in local.new_network : {
          Sid       = sid
          Effect    = "Allow"
          Action    = [for action in new.actions : "ec2:${action}"]
          Resource  = [for type in new.types : "${local.arn.ec2}:${type}/*"]
          Condition = { StringEquals = { "aws:RequestTag/Service" = var.name } }
        }
      ],
      [
        {
          Sid       = "TagNew"
          Effect    = "Allow"
          Action    = "ec2:CreateTags"
          Resource  = "${local.arn.ec2}:*"
          Condition = { StringEquals = { "ec2:CreateAction" = flatten(values(local.new_network)[*].actions) } }
        },
        {
          Sid    = "Own"
          Effect = "Allow"
          Action = concat(
            # These actions create a resource inside an existing one.
            [for action in concat(local.new_network.NewSubnets.actions, local.new_network.NewParts.actions, local.new_network.NewRules.actions) : "ec2:${action}"],
            [
              "ec2:AssociateRouteTable", "ec2:AttachInternetGateway", "ec2:CreateRoute", "ec2:CreateTags", "ec2:DeleteFlowLogs",
              "ec2:DeleteInternetGateway", "ec2:DeleteNatGateway", "ec2:DeleteRoute", "ec2:DeleteRouteTable",
              "ec2:DeleteSecurityGroup", "ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpc", "ec2:DetachInternetGateway",
              "ec2:DisassociateAddress", "ec2:DisassociateRouteTable", "ec2:ModifySecurityGroupRules",
              "ec2:ModifySubnetAttribute", "ec2:ModifyVpcAttribute", "ec2:ReleaseAddress", "ec2:ReplaceRoute",
              "ec2:ReplaceRouteTableAssociation", "ec2:RevokeSecurityGroup*", "ec2:UpdateSecurityGroupRuleDescriptions*",
            ],
          )
          Resource  = "${local.arn.ec2}:*"
          Condition = { StringEquals = { "aws:ResourceTag/Service" = var.name } }
        },
      ],
      var.vpc_id == null ? [] : [
        { Sid = "GivenVpc", Effect = "Allow", Action = "ec2:CreateSecurityGroup", Resource = "${local.arn.ec2}:vpc/${var.vpc_id}" },
      ],
    )
  }
}
