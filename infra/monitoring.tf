# Managed Prometheus, for `managed_prometheus = true`. Scrapes through the load balancer would reach a different task
# each time, and mix up the counters of all tasks. So each task has a collector that scrapes its own service and
# forwards the metrics. The rules and routes come from the files that the local Prometheus and Alertmanager use.

resource "aws_prometheus_workspace" "main" {
  count = var.managed_prometheus ? 1 : 0

  alias = var.name
}

resource "aws_prometheus_rule_group_namespace" "main" {
  for_each = var.managed_prometheus ? fileset("${path.module}/monitoring/rules", "*.yml") : []

  workspace_id = aws_prometheus_workspace.main[0].id
  name         = trimsuffix(each.key, ".yml")
  data         = replace(file("${path.module}/monitoring/rules/${each.key}"), local.local_dashboards, var.dashboards_url)
}

locals {
  # The rule files link to the dashboards of the local stack. This URL is replaced with var.dashboards_url.
  local_dashboards = "http://localhost:3000"

  # The SNS topic of each Alertmanager receiver.
  receivers = {
    page   = local.topic_arns.alarms
    ticket = local.topic_arns.tickets
  }
}

resource "aws_prometheus_alert_manager_definition" "main" {
  count = var.managed_prometheus ? 1 : 0

  workspace_id = aws_prometheus_workspace.main[0].id

  # Amazon's format contains the Alertmanager configuration as a string.
  definition = yamlencode({
    alertmanager_config = yamlencode(merge(yamldecode(file("${path.module}/monitoring/alertmanager.yml")), {
      receivers = [for name, topic in local.receivers : {
        name        = name
        sns_configs = [{ topic_arn = topic, sigv4 = { region = var.region } }]
      }]
    }))
  })

  depends_on = [aws_sns_topic_policy.alarms, aws_sns_topic_policy.tickets]
}

resource "aws_sns_topic" "tickets" {
  count = var.managed_prometheus ? 1 : 0

  name              = "${var.name}-tickets"
  kms_master_key_id = data.aws_kms_key.main.arn
}

resource "aws_sns_topic_policy" "tickets" {
  count = var.managed_prometheus ? 1 : 0

  arn    = aws_sns_topic.tickets[0].arn
  policy = jsonencode(local.topic_policies.tickets)
}

resource "aws_sns_topic_subscription" "tickets" {
  for_each = var.managed_prometheus ? var.ticket_emails : []

  topic_arn = aws_sns_topic.tickets[0].arn
  protocol  = "email"
  endpoint  = each.key
}

locals {
  collector_config = {
    extensions = {
      sigv4auth = { region = var.region, service = "aps" }
    }
    receivers = {
      prometheus = {
        config = {
          scrape_configs = [{
            job_name        = "urlshort"
            scrape_interval = "15s"
            scrape_timeout  = "5s"
            static_configs  = [{ targets = ["localhost:${local.metrics_port}"] }]
          }]
        }
      }
    }
    processors = {
      # Make the collector drop metrics, so that it is not killed for using too much memory.
      memory_limiter    = { check_interval = "5s", limit_mib = 150, spike_limit_mib = 30 }
      resourcedetection = { detectors = ["ecs"] }
      # Every collector scrapes localhost, so the `instance` label must come from the task.
      resource = {
        attributes = [{ key = "service.instance.id", from_attribute = "aws.ecs.task.arn", action = "upsert" }]
      }
    }
    exporters = {
      prometheusremotewrite = {
        endpoint = var.managed_prometheus ? "${aws_prometheus_workspace.main[0].prometheus_endpoint}api/v1/remote_write" : ""
        auth     = { authenticator = "sigv4auth" }
      }
    }
    service = {
      extensions = ["sigv4auth"]
      pipelines = {
        metrics = {
          receivers  = ["prometheus"]
          processors = ["memory_limiter", "resourcedetection", "resource"]
          exporters  = ["prometheusremotewrite"]
        }
      }
    }
  }

  collector_container = {
    name  = "collector"
    image = var.collector_image
    # Links still redirect without the collector. If all collectors are down, the ServiceDown alert fires.
    essential              = false
    restartPolicy          = { enabled = true, restartAttemptPeriod = 60 }
    user                   = "65532:65532"
    readonlyRootFilesystem = true
    # The collector gets a small share of the CPU. It can use spare memory, up to a limit that leaves enough for the
    # service.
    cpu               = 32
    memoryReservation = 64
    memory            = 192
    environment       = [{ name = "AOT_CONFIG_CONTENT", value = yamlencode(local.collector_config) }]
    linuxParameters   = { capabilities = { drop = ["ALL"] } }
    logConfiguration  = local.service_container.logConfiguration
  }
}
