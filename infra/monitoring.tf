# Metrics, rules and notifications. Through a load balancer a scrape reaches now one task, now another, and mixes their
# counters; so each task has a collector that scrapes its own service and hands over what it finds. Rules and routes are
# the files that Prometheus and Alertmanager run on elsewhere.

resource "aws_prometheus_workspace" "main" {
  alias = var.name
}

resource "aws_prometheus_rule_group_namespace" "main" {
  for_each = fileset("${path.module}/monitoring/rules", "*.yml")

  workspace_id = aws_prometheus_workspace.main.id
  name         = trimsuffix(each.key, ".yml")
  data         = replace(file("${path.module}/monitoring/rules/${each.key}"), local.local_dashboards, var.dashboards_url)
}

locals {
  # Where the rules have the dashboards of the local stack.
  local_dashboards = "http://localhost:3000"

  # Whom each receiver of the routes stands for here.
  receivers = {
    page   = aws_sns_topic.alarms.arn
    ticket = aws_sns_topic.tickets.arn
  }
}

resource "aws_prometheus_alert_manager_definition" "main" {
  workspace_id = aws_prometheus_workspace.main.id

  # The outer document is Amazon's, the inner one Alertmanager's, as a text.
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
  name              = "${var.name}-tickets"
  kms_master_key_id = aws_kms_key.main.id
}

resource "aws_sns_topic_policy" "tickets" {
  arn    = aws_sns_topic.tickets.arn
  policy = data.aws_iam_policy_document.tickets.json
}

data "aws_iam_policy_document" "tickets" {
  statement {
    actions   = ["sns:Publish", "sns:GetTopicAttributes"]
    resources = [aws_sns_topic.tickets.arn]

    principals {
      type        = "Service"
      identifiers = ["aps.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
  }
}

resource "aws_sns_topic_subscription" "tickets" {
  for_each = var.ticket_emails

  topic_arn = aws_sns_topic.tickets.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_iam_role_policy" "task" {
  name   = "write-metrics"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.task.json
}

data "aws_iam_policy_document" "task" {
  statement {
    sid       = "Metrics"
    actions   = ["aps:RemoteWrite"]
    resources = [aws_prometheus_workspace.main.arn]
  }
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
      resourcedetection = { detectors = ["ecs"] }
      # To its collector every service is localhost; the label `instance` has to tell the tasks apart.
      resource = {
        attributes = [{ key = "service.instance.id", from_attribute = "aws.ecs.task.arn", action = "upsert" }]
      }
    }
    exporters = {
      prometheusremotewrite = {
        endpoint = "${aws_prometheus_workspace.main.prometheus_endpoint}api/v1/remote_write"
        auth     = { authenticator = "sigv4auth" }
      }
    }
    service = {
      extensions = ["sigv4auth"]
      pipelines = {
        metrics = {
          receivers  = ["prometheus"]
          processors = ["resourcedetection", "resource"]
          exporters  = ["prometheusremotewrite"]
        }
      }
    }
  }

  collector_container = {
    name  = "collector"
    image = var.collector_image
    # Links go on redirecting without it, and ServiceDown tells that it is missing everywhere.
    essential              = false
    user                   = "65532:65532"
    readonlyRootFilesystem = true
    memory                 = 128
    environment            = [{ name = "AOT_CONFIG_CONTENT", value = yamlencode(local.collector_config) }]
    linuxParameters        = { capabilities = { drop = ["ALL"] } }
    logConfiguration       = local.service_container.logConfiguration
  }
}
