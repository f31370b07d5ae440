# Scraping, metrics delivery and notifications.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region                   = "eu-central-1"
  domain_name              = "sho.rt"
  zone_id                  = "Z0123456789"
  permissions_boundary_arn = "arn:aws:iam::123456789012:policy/urlshort-boundary"
  image                    = "ghcr.io/urlshort/urlshort@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  dashboards_url           = "https://grafana.example"
}

run "each_task_scrapes_its_own_service_and_labels_its_metrics" {
  command = apply

  assert {
    condition = one([
      for container in jsondecode(aws_ecs_task_definition.main.container_definitions) : container.essential
      if container.name == "collector"
    ]) == false
    error_message = "a failed collector would stop its task"
  }

  assert {
    condition     = local.collector_config.receivers.prometheus.config.scrape_configs[0].job_name == "urlshort"
    error_message = "rules and dashboards select another job name"
  }

  assert {
    condition = contains([
      for variable in local.service_container.environment : variable.value if variable.name == "METRICS_ADDR"
    ], "0.0.0.0:${split(":", local.collector_config.receivers.prometheus.config.scrape_configs[0].static_configs[0].targets[0])[1]}")
    error_message = "the collector scrapes an address where the service does not listen"
  }

  assert {
    condition     = local.collector_config.processors.resource.attributes[0].from_attribute == "aws.ecs.task.arn"
    error_message = "counters of different tasks would be merged into one series"
  }

  assert {
    condition     = local.collector_config.exporters.prometheusremotewrite.endpoint == "https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-abc/api/v1/remote_write"
    error_message = "metrics don't go to the workspace"
  }

  assert {
    condition = (
      { for statement in local.task_policy.Statement : statement.Action => statement.Resource }
      == {
        "aps:RemoteWrite"               = aws_prometheus_workspace.main[0].arn
        "kms:Decrypt"                   = data.aws_kms_key.main.arn
        "secretsmanager:GetSecretValue" = local.database.secret
      }
    )
    error_message = "a task can do more than write its metrics and read its password"
  }
}

run "the_rules_are_those_that_promtool_tests" {
  command = apply

  assert {
    condition     = toset(keys(aws_prometheus_rule_group_namespace.main)) == fileset("./monitoring/rules", "*.yml") && length(aws_prometheus_rule_group_namespace.main) >= 2
    error_message = "a rule file is not loaded"
  }

  assert {
    condition = alltrue([
      for rules in aws_prometheus_rule_group_namespace.main : !strcontains(rules.data, "localhost") && strcontains(rules.data, "https://grafana.example/d/urlshort-")
    ])
    error_message = "an alert links to a dashboard on localhost"
  }
}

run "pages_and_tickets_go_to_different_topics" {
  command = apply

  variables {
    ticket_emails = ["team@example.com"]
  }

  assert {
    condition = {
      for receiver in yamldecode(yamldecode(aws_prometheus_alert_manager_definition.main[0].definition).alertmanager_config).receivers :
      receiver.name => receiver.sns_configs[0].topic_arn
      } == {
      page   = "arn:aws:sns:eu-central-1:123456789012:${aws_sns_topic.alarms.name}"
      ticket = "arn:aws:sns:eu-central-1:123456789012:${aws_sns_topic.tickets[0].name}"
    }
    error_message = "a receiver has no topic, or the other receiver's"
  }

  assert {
    condition     = aws_sns_topic.alarms.name != aws_sns_topic.tickets[0].name && aws_sns_topic_subscription.tickets["team@example.com"].topic_arn == aws_sns_topic.tickets[0].arn
    error_message = "tickets go to the pager or are not delivered"
  }

  assert {
    condition     = length(yamldecode(yamldecode(aws_prometheus_alert_manager_definition.main[0].definition).alertmanager_config).inhibit_rules) == 2
    error_message = "tickets would repeat what a page already says"
  }

  assert {
    condition = alltrue([
      for topic in [aws_sns_topic_policy.alarms, aws_sns_topic_policy.tickets[0]] :
      contains(jsondecode(topic.policy).Statement[0].Principal.Service, "aps.amazonaws.com")
    ])
    error_message = "Alertmanager is not allowed to publish"
  }
}

run "sidecars_are_limited_in_cpu_and_memory" {
  command = apply

  assert {
    condition = alltrue([
      for container in slice(local.containers, 1, length(local.containers)) :
      container.cpu > 0 && container.memoryReservation < container.memory && container.restartPolicy.enabled && !container.essential
    ])
    error_message = "a sidecar can take the service's CPU or memory, or stop its task"
  }

  assert {
    condition     = sum([for container in slice(local.containers, 1, length(local.containers)) : container.memory]) + 128 <= var.memory
    error_message = "the sidecars leave the service less than 128 MiB"
  }

  assert {
    condition     = local.collector_config.processors.memory_limiter.limit_mib < local.collector_container.memory && local.collector_config.service.pipelines.metrics.processors[0] == "memory_limiter"
    error_message = "the collector would run out of memory before it drops metrics"
  }
}
