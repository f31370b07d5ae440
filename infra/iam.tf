# Roles, each for one principal and with exact ARNs. The boundary keeps what a deployment may hand out to that.

locals {
  # Each role's principal.
  principals = merge(
    {
      execution           = "ecs-tasks.amazonaws.com"
      task                = "ecs-tasks.amazonaws.com"
      infrastructure      = "ecs.amazonaws.com"
      database_monitoring = "monitoring.rds.amazonaws.com"
      restart             = "scheduler.amazonaws.com"
    },
    local.own_vpc ? { flow_log = "vpc-flow-logs.amazonaws.com" } : {},
  )
}

data "aws_iam_policy_document" "assume" {
  for_each = local.principals

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = [each.value]
    }

    # No other account can have the service use the role on its behalf. ECS does not say for whom it shifts requests.
    dynamic "condition" {
      for_each = each.key == "infrastructure" ? [] : [local.account_id]

      content {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [condition.value]
      }
    }
  }
}

# Starts tasks: reads their secrets, writes their logs.
resource "aws_iam_role" "execution" {
  name                 = "${var.name}-execution"
  assume_role_policy   = data.aws_iam_policy_document.assume["execution"].json
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "execution" {
  name   = "start-tasks"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.execution.json
}

data "aws_iam_policy_document" "execution" {
  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.service.arn}:log-stream:task/*"]
  }

  statement {
    sid     = "Secrets"
    actions = ["secretsmanager:GetSecretValue"]
    resources = compact([
      aws_rds_cluster.main.master_user_secret[0].secret_arn,
      var.api_tokens_secret_arn,
      var.registry_credentials_secret_arn,
    ])
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.main.arn]
  }
}

# Of the running task: the service calls no AWS API, and the collector beside it only hands over metrics (monitoring.tf).
resource "aws_iam_role" "task" {
  name                 = "${var.name}-task"
  assume_role_policy   = data.aws_iam_policy_document.assume["task"].json
  permissions_boundary = var.permissions_boundary_arn
}

# Shifts requests between the target groups.
resource "aws_iam_role" "infrastructure" {
  name                 = "${var.name}-infrastructure"
  assume_role_policy   = data.aws_iam_policy_document.assume["infrastructure"].json
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy_attachment" "infrastructure" {
  role       = aws_iam_role.infrastructure.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers"
}

resource "aws_iam_role" "database_monitoring" {
  name                 = "${var.name}-database-monitoring"
  assume_role_policy   = data.aws_iam_policy_document.assume["database_monitoring"].json
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy_attachment" "database_monitoring" {
  role       = aws_iam_role.database_monitoring.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

# Starts new tasks after the password has changed.
resource "aws_iam_role" "restart" {
  name                 = "${var.name}-restart"
  assume_role_policy   = data.aws_iam_policy_document.assume["restart"].json
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "restart" {
  name   = "restart"
  role   = aws_iam_role.restart.id
  policy = data.aws_iam_policy_document.restart.json
}

data "aws_iam_policy_document" "restart" {
  statement {
    sid       = "Restart"
    actions   = ["ecs:UpdateService"]
    resources = [aws_ecs_service.main.arn]
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.main.arn]
  }
}

resource "aws_iam_role" "flow_log" {
  count = local.own_vpc ? 1 : 0

  name                 = "${var.name}-flow-log"
  assume_role_policy   = data.aws_iam_policy_document.assume["flow_log"].json
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "flow_log" {
  count = local.own_vpc ? 1 : 0

  name   = "write"
  role   = aws_iam_role.flow_log[0].id
  policy = data.aws_iam_policy_document.flow_log[0].json
}

data "aws_iam_policy_document" "flow_log" {
  count = local.own_vpc ? 1 : 0

  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
    resources = ["${aws_cloudwatch_log_group.flow[0].arn}:*"]
  }
}
