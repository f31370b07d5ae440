# GitHub's workflows get a role for an hour instead of a key for ever: one role that reads, for plans, one that deploys.
# Each is bound to one environment of one repository; GitHub's rules for the environment say who gets that far.

locals {
  issuer = "token.actions.githubusercontent.com"
}

resource "aws_iam_openid_connect_provider" "github" {
  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

data "aws_iam_policy_document" "assume" {
  for_each = { plan = "plan", deploy = "production" }

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.github.arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = ["${var.github_subject}:environment:${each.value}"]
    }

    dynamic "condition" {
      for_each = var.github_repository_id == null ? [] : [var.github_repository_id]

      content {
        test     = "StringEquals"
        variable = "${local.issuer}:repository_id"
        values   = [condition.value]
      }
    }
  }
}

resource "aws_iam_role" "plan" {
  name               = "${var.name}-github-plan"
  description        = "Reads what is there, to plan a change"
  assume_role_policy = data.aws_iam_policy_document.assume["plan"].json
}

resource "aws_iam_role" "deploy" {
  name               = "${var.name}-github-deploy"
  description        = "Changes what ${var.name} consists of, and nothing else"
  assume_role_policy = data.aws_iam_policy_document.assume["deploy"].json
}

locals {
  # Each role's policies; a policy holds 6,144 characters.
  policies = {
    plan   = { read = data.aws_iam_policy_document.read.json, state = data.aws_iam_policy_document.state_read.json }
    deploy = merge({ read = data.aws_iam_policy_document.read.json }, local.deploy_policies)
  }
  attachments = merge([for role, policies in local.policies : { for name, _ in policies : "${role}-${name}" => { role = role, policy = policies[name] } }]...)
}

resource "aws_iam_policy" "github" {
  for_each = local.attachments

  name   = "${var.name}-github-${each.key}"
  policy = each.value.policy
}

resource "aws_iam_role_policy_attachment" "github" {
  for_each = local.attachments

  role       = each.value.role == "plan" ? aws_iam_role.plan.name : aws_iam_role.deploy.name
  policy_arn = aws_iam_policy.github[each.key].arn
}
