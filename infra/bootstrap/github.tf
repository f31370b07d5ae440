# Roles that GitHub's workflows assume without long-lived keys: a read-only role for plans, and a role for deployments.
# Each role is bound to one environment of one repository. The environment's protection rules in GitHub decide who can
# use the role.

locals {
  issuer       = "token.actions.githubusercontent.com"
  oidc_arn     = "arn:${local.partition}:iam::${local.account_id}:oidc-provider/${local.issuer}"
  environments = { plan = "plan", deploy = "production" }

  descriptions = {
    plan   = "Reads the infrastructure to plan a change"
    deploy = "Changes the resources of ${var.name} and nothing else"
  }

  trust = {
    for role, environment in local.environments : role => {
      Version = "2012-10-17"
      Statement = [{
        Effect    = "Allow"
        Principal = { Federated = local.oidc_arn }
        Action    = "sts:AssumeRoleWithWebIdentity"
        Condition = {
          StringEquals = merge(
            {
              "${local.issuer}:aud" = "sts.amazonaws.com"
              "${local.issuer}:sub" = "${var.github_subject}:environment:${environment}"
            },
            var.github_repository_id == null ? {} : { "${local.issuer}:repository_id" = var.github_repository_id },
          )
        }
      }]
    }
  }

  # The policies of each role, split because a policy can't exceed 6,144 characters.
  policies = {
    plan = { read = local.read_policy, state = local.state_read_policy }
    deploy = {
      read    = local.read_policy
      state   = local.state_write_policy
      compute = local.compute_policy
      network = local.network_policy
      data    = local.data_policy
      roles   = local.roles_policy
    }
  }
  attachments = merge([
    for role, policies in local.policies : { for name, policy in policies : "${role}-${name}" => { role = role, policy = jsonencode(policy) } }
  ]...)
}

resource "aws_iam_openid_connect_provider" "github" {
  count = var.create_oidc_provider ? 1 : 0

  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "github" {
  for_each = local.environments

  name               = "${var.name}-github-${each.key}"
  description        = local.descriptions[each.key]
  assume_role_policy = jsonencode(local.trust[each.key])
  # The first apply creates a database and then bakes a deployment, which can take longer than the default of one hour.
  max_session_duration = 7200

  depends_on = [aws_iam_openid_connect_provider.github]
}

resource "aws_iam_policy" "github" {
  for_each = local.attachments

  name   = "${var.name}-github-${each.key}"
  policy = each.value.policy
}

resource "aws_iam_role_policy_attachment" "github" {
  for_each = local.attachments

  role       = aws_iam_role.github[each.value.role].name
  policy_arn = aws_iam_policy.github[each.key].arn
}
