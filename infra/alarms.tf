# The alarms that end a deployment, each for both target groups, and those that call a person for what else may fail.

locals {
  # Fewer requests in a minute say nothing of a share or a percentile.
  min_requests = 20

  # Alarms on one metric: whatever it is that goes over the threshold for the minutes.
  service_alarms = {
    balancer-errors = {
      description = "The load balancer itself answers 5xx: no task could be reached"
      namespace   = "AWS/ApplicationELB"
      metric      = "HTTPCode_ELB_5XX_Count"
      statistic   = "Sum"
      threshold   = 20
      minutes     = 3
      dimensions  = { LoadBalancer = aws_lb.main.arn_suffix }
    }
    database-capacity = {
      description = "The database has been at its largest size: raise database_max_acu"
      namespace   = "AWS/RDS"
      metric      = "ACUUtilization"
      statistic   = "Average"
      threshold   = 90
      minutes     = 10
      dimensions  = { DBClusterIdentifier = aws_rds_cluster.main.cluster_identifier }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = aws_lb_target_group.service

  alarm_name          = "${var.name}-errors-${each.key}"
  alarm_description   = "More than ${var.max_error_percent} % of the answers of the tasks in ${each.key} are 5xx"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.max_error_percent
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "share"
    label       = "5xx answers in percent"
    expression  = "IF(requests >= ${local.min_requests}, 100 * FILL(errors, 0) / requests, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { errors = "HTTPCode_Target_5XX_Count", requests = "RequestCount" }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = metric_query.value
        period      = 60
        stat        = "Sum"
        dimensions  = { LoadBalancer = aws_lb.main.arn_suffix, TargetGroup = each.value.arn_suffix }
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "p99" {
  for_each = aws_lb_target_group.service

  alarm_name          = "${var.name}-p99-${each.key}"
  alarm_description   = "The slowest 1 % of the answers of the tasks in ${each.key} take more than ${var.max_p99_seconds} s"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.max_p99_seconds
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "seconds"
    label       = "99th percentile of the answer time"
    expression  = "IF(requests >= ${local.min_requests}, p99, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { p99 = ["TargetResponseTime", "p99"], requests = ["RequestCount", "Sum"] }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = metric_query.value[0]
        period      = 60
        stat        = metric_query.value[1]
        dimensions  = { LoadBalancer = aws_lb.main.arn_suffix, TargetGroup = each.value.arn_suffix }
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "service" {
  for_each = local.service_alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  statistic           = each.value.statistic
  comparison_operator = "GreaterThanThreshold"
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
