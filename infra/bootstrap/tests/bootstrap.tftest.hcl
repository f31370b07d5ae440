# Who can act as the pipeline, and what each of its roles may do. tests/checks/aws/simulate.mjs evaluates the policies.

mock_provider "aws" {
  source = "../tests/mocks"
}

override_resource {
  target = aws_kms_key.state
  values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/state" }
}

override_resource {
  target = aws_kms_key.service
  values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/service" }
}

override_resource {
  target = aws_s3_bucket.state
  values = { arn = "arn:aws:s3:::urlshort-state-abc" }
}

override_resource {
  target = aws_iam_policy.boundary
  values = { arn = "arn:aws:iam::123456789012:policy/urlshort-boundary" }
}

variables {
  region         = "eu-central-1"
  zone_id        = "Z0123456789"
  github_subject = "repo:urlshort/urlshort"
}

run "a_role_is_bound_to_one_environment_of_one_repository" {
  command = apply

  assert {
    condition = {
      for name, role in aws_iam_role.github : name => one(jsondecode(role.assume_role_policy).Statement).Condition
      } == {
      for name, environment in { plan = "plan", deploy = "production" } : name => {
        StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = "repo:urlshort/urlshort:environment:${environment}"
        }
      }
    }
    error_message = "a role can be assumed from elsewhere"
  }

  assert {
    condition     = alltrue([for role in aws_iam_role.github : one(jsondecode(role.assume_role_policy).Statement).Action == "sts:AssumeRoleWithWebIdentity"])
    error_message = "a role can be assumed without GitHub's token"
  }
}

run "a_repository_id_adds_a_condition" {
  command = apply

  variables {
    github_subject       = "repo:urlshort@1/urlshort@2"
    github_repository_id = "2"
  }

  assert {
    condition = alltrue([
      for role in aws_iam_role.github :
      one(jsondecode(role.assume_role_policy).Statement).Condition.StringEquals["token.actions.githubusercontent.com:repository_id"] == "2"
    ])
    error_message = "the repository's id is not a condition"
  }
}

run "a_subject_with_a_wildcard_is_refused" {
  command = plan

  variables {
    github_subject = "repo:urlshort/*"
  }

  expect_failures = [var.github_subject]
}

run "an_existing_identity_provider_is_used" {
  command = apply

  variables {
    create_oidc_provider = false
  }

  assert {
    condition     = length(aws_iam_openid_connect_provider.github) == 0
    error_message = "an account can't have a second provider with the same name"
  }

  assert {
    condition = alltrue([
      for role in aws_iam_role.github :
      one(jsondecode(role.assume_role_policy).Statement).Principal.Federated == "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
    ])
    error_message = "the roles do not trust the existing provider"
  }
}

run "the_plan_role_only_reads" {
  command = apply

  assert {
    condition     = toset(keys(local.policies.plan)) == toset(["read", "state"])
    error_message = "the plan role has policies other than those that read"
  }

  assert {
    condition = alltrue([
      for action in flatten([for policy in local.policies.plan : [for statement in policy.Statement : statement.Action]]) :
      can(regex("^[a-z0-9-]+:(Describe|Get|List|View)|^kms:Decrypt$", action))
    ])
    error_message = "an action of the plan role changes something"
  }

  assert {
    condition     = !contains(flatten([for statement in local.read_policy.Statement : statement.Action]), "secretsmanager:GetSecretValue")
    error_message = "the plan role reads the values of secrets"
  }
}

run "only_reviewed_statements_have_wildcards" {
  command = apply

  assert {
    condition = toset(flatten([
      for name, policy in local.policies.deploy : [for statement in policy.Statement : statement.Sid if contains(flatten([statement.Resource]), "*")] if name != "read"
    ])) == toset(["NewCertificate", "NewMetrics", "WafLogs", "WafOnLoadBalancer"])
    error_message = "a statement that was not reviewed has \"*\""
  }

  assert {
    condition = alltrue(flatten([
      for policy in local.policies.deploy : [for statement in policy.Statement : [for action in flatten([statement.Action]) : !endswith(action, ":*")] if statement.Effect != "Deny"]
    ]))
    error_message = "the deploy role has all actions of a service"
  }

  assert {
    condition     = alltrue([for attachment in local.attachments : length(attachment.policy) <= 6144])
    error_message = "AWS rejects managed policies longer than 6,144 characters"
  }
}

run "a_deployment_creates_no_role_beyond_the_boundary" {
  command = apply

  assert {
    condition = alltrue(flatten([
      for action in ["iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary"] : [
        for statement in local.roles_policy.Statement :
        try(statement.Condition.StringEquals["iam:PermissionsBoundary"], "") == aws_iam_policy.boundary.arn if contains(flatten([statement.Action]), action)
      ]
    ]))
    error_message = "a role can be created or widened without the boundary"
  }
}

run "the_state_is_versioned_encrypted_and_private" {
  command = apply

  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled"
    error_message = "a lost state can't be restored"
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.state.rule).apply_server_side_encryption_by_default).kms_master_key_id == aws_kms_key.state.arn
    error_message = "the state is not encrypted with its key"
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.state.block_public_acls, aws_s3_bucket_public_access_block.state.block_public_policy,
      aws_s3_bucket_public_access_block.state.ignore_public_acls, aws_s3_bucket_public_access_block.state.restrict_public_buckets,
    ])
    error_message = "the state can be made public"
  }
}

run "a_higher_version_writes_a_new_token" {
  command = apply

  variables {
    api_token_version = 2
  }

  assert {
    condition     = aws_secretsmanager_secret_version.api_tokens.secret_string_wo_version == 2 && aws_secretsmanager_secret_version.api_tokens.secret_string == null
    error_message = "the token can't be replaced, or Terraform stores it"
  }
}
