# Topics for alarms, tickets and the budget, and the services that can publish to them.

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = data.aws_kms_key.main.arn
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = jsonencode(local.topic_policies.alarms)
}

locals {
  publishers = {
    alarms  = ["aps.amazonaws.com", "cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    tickets = ["aps.amazonaws.com"]
  }
  topic_arns = {
    for topic in keys(local.publishers) : topic => "arn:${local.partition}:sns:${var.region}:${local.account_id}:${var.name}-${topic}"
  }
  topic_policies = {
    for topic, services in local.publishers : topic => {
      Version = "2012-10-17"
      Statement = [{
        Effect    = "Allow"
        Principal = { Service = services }
        Action    = ["sns:Publish", "sns:GetTopicAttributes"]
        Resource  = local.topic_arns[topic]
        Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
      }]
    }
  }
}

resource "aws_sns_topic_subscription" "email" {
  for_each = var.alarm_emails

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_budgets_budget" "monthly" {
  name         = var.name
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"

  # Include only this service's costs. The tag must be activated for billing first; see README.md.
  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:Service$%s", var.name)]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }

    content {
      notification_type         = notification.key
      comparison_operator       = "GREATER_THAN"
      threshold_type            = "PERCENTAGE"
      threshold                 = notification.value
      subscriber_sns_topic_arns = [aws_sns_topic.alarms.arn]
    }
  }

  depends_on = [aws_sns_topic_policy.alarms]
}
