# Alarms that roll back a deployment, and alarms that only notify. A deployment alarm fires if the percentage of bad
# requests exceeds its limit in 2 of 3 minutes. tests/checks/aws/alarms.py evaluates the expressions for simulated
# minutes.

locals {
  # With fewer requests per minute, a percentage means little.
  min_requests = 20

  # A separate metric counts the load balancer's failed attempts to connect to a task.
  group_alarms = {
    for color, group in aws_lb_target_group.service : "errors-${color}" => {
      description = "More than ${var.max_error_percent} % of the requests to the ${color} tasks get a 5xx or reach no task"
      limit       = var.max_error_percent
      expression  = "IF(FILL(requests, 0) + FILL(refused, 0) >= ${local.min_requests}, 100 * (FILL(failed, 0) + FILL(refused, 0)) / (FILL(requests, 0) + FILL(refused, 0)), 0)"
      namespace   = "AWS/ApplicationELB"
      metrics     = { requests = "RequestCount", failed = "HTTPCode_Target_5XX_Count", refused = "TargetConnectionErrorCount" }
      dimensions  = { LoadBalancer = aws_lb.main.arn_suffix, TargetGroup = group.arn_suffix }
    }
  }

  deployment_alarms = merge(local.group_alarms, {
    # A task that resets connections causes a 502, and a task that hangs causes a 504. The target group's metrics
    # include neither response.
    balancer-errors = {
      description = "The load balancer returns a 5xx for more than ${var.max_error_percent} % of the requests: tasks reset connections, hang or can't be reached"
      limit       = var.max_error_percent
      expression  = "IF(FILL(requests, 0) + FILL(failed, 0) >= ${local.min_requests}, 100 * FILL(failed, 0) / (FILL(requests, 0) + FILL(failed, 0)), 0)"
      namespace   = "AWS/ApplicationELB"
      metrics     = { requests = "RequestCount", failed = "HTTPCode_ELB_5XX_Count" }
      dimensions  = { LoadBalancer = aws_lb.main.arn_suffix }
    }
    # The SLO requires redirects in under 200 ms. Redirects are counted from the access log, because the load balancer
    # has no metrics per route.
    redirects = {
      description = "More than ${var.max_bad_redirects_percent} % of the redirects fail or take more than 200 ms"
      limit       = var.max_bad_redirects_percent
      expression  = "IF(FILL(redirects, 0) >= ${local.min_requests}, 100 * FILL(bad, 0) / FILL(redirects, 0), 0)"
      namespace   = local.metric_namespace
      metrics     = { redirects = "Redirects", bad = "BadRedirects" }
      dimensions  = {}
    }
  })

  # Alarms on a single metric. Each fires if its metric is beyond the threshold for the given number of minutes.
  resource_alarms = merge(
    {
      for cluster in aws_rds_cluster.main : "database-capacity" => {
        description = "The database is at its maximum capacity: raise database_max_acu"
        metric      = "ACUUtilization"
        comparison  = "GreaterThanThreshold"
        threshold   = 90
        minutes     = 10
        dimensions  = { DBClusterIdentifier = cluster.cluster_identifier }
      }
    },
    {
      for instance in aws_db_instance.main : "database-cpu" => {
        description = "The database uses more than 90 % of its CPU: choose a larger database_instance_class"
        metric      = "CPUUtilization"
        comparison  = "GreaterThanThreshold"
        threshold   = 90
        minutes     = 10
        dimensions  = { DBInstanceIdentifier = instance.identifier }
      }
    },
    {
      for instance in aws_db_instance.main : "database-storage" => {
        description = "The database has less than 2 GiB of free storage, and RDS has not added any"
        metric      = "FreeStorageSpace"
        comparison  = "LessThanThreshold"
        threshold   = 2 * 1024 * 1024 * 1024
        minutes     = 10
        dimensions  = { DBInstanceIdentifier = instance.identifier }
      }
    },
  )
}

resource "aws_cloudwatch_metric_alarm" "deployment" {
  for_each = local.deployment_alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.limit
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "share"
    label       = "Percent of the requests"
    expression  = each.value.expression
    return_data = true
  }

  dynamic "metric_query" {
    for_each = each.value.metrics

    content {
      id = metric_query.key

      metric {
        namespace   = each.value.namespace
        metric_name = metric_query.value
        period      = 60
        stat        = "Sum"
        dimensions  = each.value.dimensions
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "resource" {
  for_each = local.resource_alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = "AWS/RDS"
  metric_name         = each.value.metric
  statistic           = "Average"
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  dimensions          = each.value.dimensions
  period              = 60
  evaluation_periods  = each.value.minutes
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "healthy_tasks" {
  alarm_name          = "${var.name}-healthy-tasks"
  alarm_description   = "Fewer than two healthy tasks: the next failure is an outage"
  comparison_operator = "LessThanThreshold"
  threshold           = 2
  evaluation_periods  = 5
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "healthy"
    label       = "Healthy tasks in both target groups"
    expression  = "FILL(blue, 0) + FILL(green, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = aws_lb_target_group.service

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = "HealthyHostCount"
        period      = 60
        stat        = "Minimum"
        dimensions  = { LoadBalancer = aws_lb.main.arn_suffix, TargetGroup = metric_query.value.arn_suffix }
      }
    }
  }
}

# Access log lines for link requests, excluding client errors (4xx), and the subset of lines that miss the SLO.
resource "aws_cloudwatch_log_metric_filter" "redirects" {
  for_each = {
    Redirects    = "{ $.msg = \"request\" && $.route = \"/{key}\" && ($.status < 400 || $.status >= 500) }"
    BadRedirects = "{ $.msg = \"request\" && $.route = \"/{key}\" && ($.status >= 500 || ($.status < 400 && $.duration_ms > 200)) }"
  }

  name           = "${var.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.service.name
  pattern        = each.value

  metric_transformation {
    namespace = local.metric_namespace
    name      = each.key
    value     = "1"
  }
}

locals {
  metric_namespace = var.name
}
