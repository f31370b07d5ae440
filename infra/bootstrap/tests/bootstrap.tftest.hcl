# Who may act for the pipeline, and how far each of its roles goes.

mock_provider "aws" {
  source = "../tests/mocks"
}

variables {
  region  = "eu-central-1"
  zone_id = "Z0123456789"
}

run "a_role_is_bound_to_one_environment_of_one_repository" {
  command = apply

  assert {
    condition = {
      for role, document in data.aws_iam_policy_document.assume : role => one([
        for condition in document.statement[0].condition : one(condition.values) if condition.variable == "token.actions.githubusercontent.com:sub"
      ])
      } == {
      plan   = "repo:urlshort/urlshort:environment:plan"
      deploy = "repo:urlshort/urlshort:environment:production"
    }
    error_message = "a role can be taken from elsewhere"
  }

  assert {
    condition = alltrue(flatten([
      for document in data.aws_iam_policy_document.assume : [
        for condition in document.statement[0].condition : condition.test == "StringEquals" && alltrue([for value in condition.values : !strcontains(value, "*")])
      ]
    ]))
    error_message = "a role's condition has a wildcard"
  }

  assert {
    condition = alltrue([
      for document in data.aws_iam_policy_document.assume :
      document.statement[0].actions == toset(["sts:AssumeRoleWithWebIdentity"]) && contains(
        [for condition in document.statement[0].condition : "${condition.variable}=${one(condition.values)}"],
        "token.actions.githubusercontent.com:aud=sts.amazonaws.com",
      )
    ])
    error_message = "tokens for another audience are taken"
  }
}

run "a_repository_number_is_one_more_condition" {
  command = apply

  variables {
    github_subject       = "repo:urlshort@1/urlshort@2"
    github_repository_id = "2"
  }

  assert {
    condition = alltrue([
      for document in data.aws_iam_policy_document.assume : contains(
        [for condition in document.statement[0].condition : "${condition.variable}=${one(condition.values)}"],
        "token.actions.githubusercontent.com:repository_id=2",
      )
    ])
    error_message = "the repository's number does not count"
  }
}

run "a_subject_with_a_wildcard_is_refused" {
  command = plan

  variables {
    github_subject = "repo:urlshort/*"
  }

  expect_failures = [var.github_subject]
}

run "the_plan_role_only_reads" {
  command = apply

  assert {
    condition     = toset(keys(local.policies.plan)) == toset(["read", "state"])
    error_message = "the plan role has another policy than those that read"
  }

  assert {
    condition = alltrue([
      for action in flatten([
        for document in [data.aws_iam_policy_document.read, data.aws_iam_policy_document.state_read] : [for statement in document.statement : statement.actions]
      ]) : can(regex("^[a-z0-9-]+:(Describe|Get|List|View)|^kms:Decrypt$", action))
    ])
    error_message = "an action of the plan role changes something"
  }

  # The values of secrets are not among what it reads.
  assert {
    condition     = !contains(flatten([for statement in data.aws_iam_policy_document.read.statement : statement.actions]), "secretsmanager:GetSecretValue")
    error_message = "the plan role reads secrets"
  }
}

run "only_what_takes_no_arn_has_a_wildcard_resource" {
  command = apply

  assert {
    condition = toset(flatten([
      for document in [
        data.aws_iam_policy_document.state_write, data.aws_iam_policy_document.deploy_compute, data.aws_iam_policy_document.deploy_network,
        data.aws_iam_policy_document.deploy_data, data.aws_iam_policy_document.deploy_roles,
      ] : [for statement in document.statement : statement.sid if contains(statement.resources, "*")]
    ])) == toset(["TaskDefinitions", "Network", "NetworkRemoval", "NewKey", "WafLogs"])
    error_message = "a statement has \"*\" that was not looked at"
  }

  # Each of these but the log deliveries is bound by a condition.
  assert {
    condition = alltrue(flatten([
      for document in [data.aws_iam_policy_document.deploy_compute, data.aws_iam_policy_document.deploy_network, data.aws_iam_policy_document.deploy_data] : [
        for statement in document.statement : length(statement.condition) > 0 || statement.sid == "WafLogs" if contains(statement.resources, "*")
      ]
    ]))
    error_message = "a wildcard without a condition"
  }

  assert {
    condition = alltrue(flatten([
      for document in [
        data.aws_iam_policy_document.state_write, data.aws_iam_policy_document.deploy_compute, data.aws_iam_policy_document.deploy_network,
        data.aws_iam_policy_document.deploy_data, data.aws_iam_policy_document.deploy_roles,
      ] : [for statement in document.statement : [for action in statement.actions : !endswith(action, ":*")] if statement.effect != "Deny"]
    ]))
    error_message = "the deploy role has a whole service"
  }
}

run "a_deployment_makes_no_role_beyond_the_boundary" {
  command = apply

  assert {
    condition = alltrue([
      for action in ["iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary"] : alltrue([
        for statement in data.aws_iam_policy_document.deploy_roles.statement : anytrue([
          for condition in statement.condition : condition.variable == "iam:PermissionsBoundary" && toset(condition.values) == toset([aws_iam_policy.boundary.arn])
        ]) if contains(statement.actions, action)
      ])
    ])
    error_message = "a role can be made or widened without the boundary"
  }

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.deploy_roles.statement : length(statement.condition) == 1 if contains(statement.actions, "iam:PassRole")
    ])
    error_message = "a role can be passed to any service"
  }

  assert {
    condition = anytrue([
      for statement in data.aws_iam_policy_document.deploy_roles.statement :
      statement.effect == "Deny" && contains(statement.resources, "arn:aws:iam::123456789012:role/urlshort-github-*")
    ])
    error_message = "the pipeline can change its own roles"
  }
}

run "the_state_is_kept_encrypted_and_locked" {
  command = apply

  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled"
    error_message = "a lost state can't be put back"
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.state.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"
    error_message = "the state is not encrypted"
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.state.block_public_acls, aws_s3_bucket_public_access_block.state.block_public_policy,
      aws_s3_bucket_public_access_block.state.ignore_public_acls, aws_s3_bucket_public_access_block.state.restrict_public_buckets,
    ])
    error_message = "the state can be made public"
  }

  assert {
    condition = anytrue([
      for statement in data.aws_iam_policy_document.state_write.statement :
      statement.actions == toset(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]) && statement.resources == toset(["${aws_s3_bucket.state.arn}/urlshort/terraform.tfstate.tflock"])
    ])
    error_message = "a deployment can't lock the state"
  }
}
