# What each part may do, and where secrets are.

mock_provider "aws" {
  source = "./tests/mocks"
}

# So that each group has an ARN of its own.
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

run "the_container_may_do_nothing_that_it_need_not" {
  command = apply

  assert {
    condition = alltrue([for container in jsondecode(aws_ecs_task_definition.main.container_definitions) : (
      container.user == "65532:65532" && container.readonlyRootFilesystem
      && container.linuxParameters.capabilities.drop == ["ALL"]
    )])
    error_message = "a container is root, can write to its root file system or has capabilities"
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.main.container_definitions)[0].image == var.image
    error_message = "another image than the one that was verified"
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.main.container_definitions)[0].healthCheck.command == ["CMD", "/usr/local/bin/urlshort", "healthcheck"]
    error_message = "ECS would not check the container's health"
  }

  assert {
    condition     = aws_ecs_service.main.enable_execute_command == false
    error_message = "anyone with the API could open a shell"
  }
}

run "secrets_go_by_reference" {
  command = apply

  variables {
    api_tokens_secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:tokens"
  }

  assert {
    condition     = aws_rds_cluster.main.manage_master_user_password && aws_rds_cluster.main.master_password == null
    error_message = "the database's password is Terraform's, and so in its state"
  }

  assert {
    condition = { for secret in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].secrets : secret.name => secret.valueFrom } == {
      PGPASSWORD = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!cluster-abc:password::"
      API_TOKENS = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:tokens"
    }
    error_message = "a secret is missing or not given by its ARN"
  }

  assert {
    condition = !anytrue([
      for variable in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment : can(regex("PASSWORD|TOKEN|SECRET", variable.name))
    ])
    error_message = "a secret stands in the plain environment"
  }

  assert {
    condition = toset(flatten([for statement in data.aws_iam_policy_document.execution.statement : statement.resources if contains(statement.actions, "secretsmanager:GetSecretValue")])) == toset([
      "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!cluster-abc",
      "arn:aws:secretsmanager:eu-central-1:123456789012:secret:tokens",
    ])
    error_message = "the execution role reads other secrets than the task's"
  }
}

run "secrets_in_plain_settings_are_refused" {
  command = plan

  variables {
    settings = { API_TOKENS = "x" }
  }

  expect_failures = [var.settings]
}

run "the_database_is_encrypted_kept_and_known" {
  command = apply

  assert {
    condition     = aws_rds_cluster.main.storage_encrypted && aws_rds_cluster.main.kms_key_id == aws_kms_key.main.arn
    error_message = "the database is not encrypted"
  }

  assert {
    condition     = aws_rds_cluster.main.backup_retention_period == 14 && aws_rds_cluster.main.deletion_protection && aws_rds_cluster.main.skip_final_snapshot != true
    error_message = "the database can be lost"
  }

  assert {
    condition     = contains([for parameter in aws_rds_cluster_parameter_group.main.parameter : "${parameter.name}=${parameter.value}"], "rds.force_ssl=1")
    error_message = "the database takes connections without TLS"
  }

  assert {
    condition = alltrue([
      for name, value in {
        STORE_URL = "postgres://", PGSSLMODE = "verify-full", PGSSLROOTCERT = "/etc/ssl/certs/rds-ca-bundle.pem",
        PGHOST    = aws_rds_cluster.main.endpoint, TRUSTED_PROXIES = "1", BASE_URL = "https://sho.rt"
      } : contains(jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment, { name = name, value = value })
    ])
    error_message = "the service does not verify the database, or does not know where it stands"
  }
}

# Only a key's own policy says "*", which there means that key.
run "no_role_has_a_wildcard_resource" {
  command = apply

  assert {
    condition = alltrue([
      for resource in flatten([
        for document in concat(
          [data.aws_iam_policy_document.execution, data.aws_iam_policy_document.restart, data.aws_iam_policy_document.access_logs, data.aws_iam_policy_document.alarms],
          [data.aws_iam_policy_document.task, data.aws_iam_policy_document.tickets],
          data.aws_iam_policy_document.flow_log,
        ) : [for statement in document.statement : statement.resources]
      ]) : startswith(resource, "arn:aws:") && !startswith(resource, "arn:aws:*")
    ])
    error_message = "a policy is not bound to exact ARNs"
  }

  assert {
    condition = alltrue([
      for action in flatten([
        for document in concat(
          [data.aws_iam_policy_document.execution, data.aws_iam_policy_document.restart, data.aws_iam_policy_document.alarms],
          [data.aws_iam_policy_document.task, data.aws_iam_policy_document.tickets],
          data.aws_iam_policy_document.flow_log,
        ) : [for statement in document.statement : statement.actions]
      ]) : !strcontains(action, "*")
    ])
    error_message = "a policy grants more than named actions"
  }

  assert {
    condition = alltrue([
      for role in concat(
        [aws_iam_role.execution, aws_iam_role.task, aws_iam_role.infrastructure, aws_iam_role.database_monitoring, aws_iam_role.restart],
        aws_iam_role.flow_log,
      ) : role.permissions_boundary == var.permissions_boundary_arn
    ])
    error_message = "a role has no boundary"
  }
}

run "logs_end_and_alarms_arrive" {
  command = apply

  variables {
    alarm_emails = ["on-call@example.com"]
  }

  assert {
    condition = alltrue([
      for group in concat([aws_cloudwatch_log_group.service, aws_cloudwatch_log_group.database, aws_cloudwatch_log_group.waf], aws_cloudwatch_log_group.flow) :
      group.retention_in_days == 365 && group.kms_key_id == aws_kms_key.main.arn
    ])
    error_message = "a log is kept for ever or in the clear"
  }

  assert {
    condition = alltrue([
      for alarm in concat(
        values(aws_cloudwatch_metric_alarm.errors), values(aws_cloudwatch_metric_alarm.p99),
        values(aws_cloudwatch_metric_alarm.service), [aws_cloudwatch_metric_alarm.healthy_tasks],
      ) : contains(alarm.alarm_actions, aws_sns_topic.alarms.arn)
    ])
    error_message = "an alarm tells nobody"
  }

  assert {
    condition     = aws_sns_topic_subscription.email["on-call@example.com"].protocol == "email"
    error_message = "the alarms do not arrive"
  }

  assert {
    condition     = aws_budgets_budget.monthly.limit_amount == "250" && length(aws_budgets_budget.monthly.notification) == 2
    error_message = "no budget"
  }
}
