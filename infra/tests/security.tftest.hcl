# The permissions of each part, and where secrets are stored.

mock_provider "aws" {
  source = "./tests/mocks"
}

# Each target group needs its own ARN.
override_resource {
  target = aws_lb_target_group.service["blue"]
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/urlshort-blue/abc"
    arn_suffix = "targetgroup/urlshort-blue/abc"
  }
}

override_resource {
  target = aws_lb_target_group.service["green"]
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/urlshort-green/abc"
    arn_suffix = "targetgroup/urlshort-green/abc"
  }
}

variables {
  region                   = "eu-central-1"
  domain_name              = "sho.rt"
  zone_id                  = "Z0123456789"
  permissions_boundary_arn = "arn:aws:iam::123456789012:policy/urlshort-boundary"
  image                    = "ghcr.io/urlshort/urlshort@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
}

run "containers_have_no_more_rights_than_they_need" {
  command = apply

  assert {
    condition = alltrue([for container in jsondecode(aws_ecs_task_definition.main.container_definitions) : (
      # On Fargate, volumes are owned by root. The container that writes the password to a volume does nothing else.
      (container.user == "65532:65532" || container.name == "password") && container.readonlyRootFilesystem
      && container.linuxParameters.capabilities.drop == ["ALL"]
    )])
    error_message = "a container is root, can write to its root file system or has capabilities"
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.main.container_definitions)[0].image == var.image
    error_message = "not the image that was verified"
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.main.container_definitions)[0].healthCheck.command == ["CMD", "/usr/local/bin/urlshort", "healthcheck"]
    error_message = "ECS does not check the container's health"
  }

  assert {
    condition     = aws_ecs_service.main.enable_execute_command == false
    error_message = "anyone with the API could open a shell"
  }
}

run "secrets_are_passed_by_reference" {
  command = apply

  assert {
    condition     = aws_rds_cluster.main[0].manage_master_user_password && aws_rds_cluster.main[0].master_password == null
    error_message = "the database password is in Terraform's state"
  }

  assert {
    condition = { for secret in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].secrets : secret.name => secret.valueFrom } == {
      API_TOKENS = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:urlshort/api-tokens-AbCdEf"
      PGPASSWORD = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!cluster-abc:password::"
    }
    error_message = "the task's secrets are not references"
  }

  # Variables whose names end in _FILE contain only file names.
  assert {
    condition = !anytrue([
      for variable in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment :
      can(regex("PASSWORD|TOKEN|SECRET", variable.name)) && !endswith(variable.name, "_FILE")
    ])
    error_message = "a secret is in the plain environment"
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Resource if statement.Action == "secretsmanager:GetSecretValue"
      ])) == toset([
      "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!cluster-abc",
      "arn:aws:secretsmanager:eu-central-1:123456789012:secret:urlshort/api-tokens-AbCdEf",
    ])
    error_message = "the execution role can read secrets other than the task's"
  }
}

run "links_are_created_and_taken_down_with_a_token" {
  command = apply

  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment, { name = "PUBLIC_SHORTEN", value = "false" })
    error_message = "everyone on the internet can create links by default"
  }

  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.main.container_definitions)[0].secrets[*].name, "API_TOKENS")
    error_message = "nobody can take a link down"
  }
}

run "a_changed_password_reaches_running_tasks" {
  command = apply

  assert {
    condition = alltrue([
      for container in slice(jsondecode(aws_ecs_task_definition.main.container_definitions), 0, 2) :
      container.mountPoints[0].sourceVolume == one(aws_ecs_task_definition.main.volume).name
    ])
    error_message = "the containers do not share the password's volume"
  }

  assert {
    condition = contains(
      jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment,
      { name = "PGPASSWORD_FILE", value = "${jsondecode(aws_ecs_task_definition.main.container_definitions)[1].mountPoints[0].containerPath}/password" },
    )
    error_message = "the service does not read the password file"
  }
}

run "secrets_in_plain_settings_are_refused" {
  command = plan

  variables {
    settings = { API_TOKENS = "x" }
  }

  expect_failures = [var.settings]
}

run "the_database_is_encrypted_backed_up_and_verified" {
  command = apply

  assert {
    condition     = aws_rds_cluster.main[0].storage_encrypted && aws_rds_cluster.main[0].kms_key_id == data.aws_kms_key.main.arn
    error_message = "the database is not encrypted"
  }

  assert {
    condition     = aws_rds_cluster.main[0].backup_retention_period == 14 && aws_rds_cluster.main[0].deletion_protection && aws_rds_cluster.main[0].skip_final_snapshot != true
    error_message = "the database is not protected against loss"
  }

  assert {
    condition     = contains([for parameter in aws_rds_cluster_parameter_group.main[0].parameter : "${parameter.name}=${parameter.value}"], "rds.force_ssl=1")
    error_message = "the database accepts connections without TLS"
  }

  assert {
    condition     = aws_rds_cluster.main[0].engine_version == "17" && aws_rds_cluster_parameter_group.main[0].family == "aurora-postgresql17"
    error_message = "a minor version is pinned, which RDS would upgrade"
  }

  assert {
    condition = alltrue([
      for name, value in {
        STORE_URL = "postgres://", PGSSLMODE = "verify-full", PGSSLROOTCERT = "/etc/ssl/certs/rds-ca-bundle.pem",
        PGHOST    = aws_rds_cluster.main[0].endpoint, TRUSTED_PROXIES = "1", BASE_URL = "https://sho.rt"
      } : contains(jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment, { name = name, value = value })
    ])
    error_message = "the service does not verify the database's certificate, or has the wrong base URL"
  }
}

run "a_pinned_minor_version_is_refused" {
  command = plan

  variables {
    database_engine_version = "17.5"
  }

  expect_failures = [var.database_engine_version]
}

run "no_role_has_a_wildcard_resource" {
  command = apply

  assert {
    condition = alltrue([
      for resource in flatten([
        for policy in [local.execution_policy, local.task_policy, local.flow_log_policy, local.access_logs_policy, local.topic_policies.alarms, local.topic_policies.tickets] :
        [for statement in policy.Statement : statement.Resource if try(statement.Sid, "") != "Find"]
      ]) : startswith(resource, "arn:aws:") && !startswith(resource, "arn:aws:*")
    ])
    error_message = "a policy is not limited to exact ARNs"
  }

  assert {
    condition = alltrue([
      for action in flatten([
        for policy in [local.execution_policy, local.task_policy, local.flow_log_policy, local.topic_policies.alarms, local.topic_policies.tickets] :
        [for statement in policy.Statement : statement.Action]
      ]) : !strcontains(action, "*")
    ])
    error_message = "a policy grants more than named actions"
  }

  assert {
    condition = alltrue([
      for role in concat(
        [aws_iam_role.execution, aws_iam_role.task, aws_iam_role.infrastructure], aws_iam_role.database_monitoring, aws_iam_role.flow_log,
      ) : role.permissions_boundary == var.permissions_boundary_arn
    ])
    error_message = "a role has no permissions boundary"
  }
}

run "logs_expire_and_alarms_are_delivered" {
  command = apply

  variables {
    alarm_emails = ["on-call@example.com"]
  }

  assert {
    condition = alltrue([
      for group in concat([aws_cloudwatch_log_group.service, aws_cloudwatch_log_group.database], aws_cloudwatch_log_group.waf, aws_cloudwatch_log_group.flow) :
      group.retention_in_days == 30 && group.kms_key_id == data.aws_kms_key.main.arn
    ])
    error_message = "a log group is not kept for 30 days or not encrypted"
  }

  assert {
    condition = alltrue([
      for alarm in concat(
        values(aws_cloudwatch_metric_alarm.deployment), values(aws_cloudwatch_metric_alarm.resource),
        [aws_cloudwatch_metric_alarm.healthy_tasks],
      ) : contains(alarm.alarm_actions, aws_sns_topic.alarms.arn)
    ])
    error_message = "an alarm notifies nobody"
  }

  assert {
    condition     = aws_sns_topic_subscription.email["on-call@example.com"].protocol == "email"
    error_message = "nobody is subscribed to the alarms"
  }

  assert {
    condition     = aws_budgets_budget.monthly.limit_amount == "250" && length(aws_budgets_budget.monthly.notification) == 2
    error_message = "no budget"
  }

  assert {
    condition     = one(aws_budgets_budget.monthly.cost_filter).values == tolist(["user:Service$urlshort"])
    error_message = "the budget counts other costs of the account"
  }
}
