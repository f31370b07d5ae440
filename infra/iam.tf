# The service's roles. Each role is for one principal, and its policy lists exact ARNs where AWS supports them. The
# permissions boundary limits what a deployment can grant to the roles.

locals {
  principals = merge(
    {
      execution      = "ecs-tasks.amazonaws.com"
      task           = "ecs-tasks.amazonaws.com"
      infrastructure = "ecs.amazonaws.com"
    },
    local.is_aurora ? { database_monitoring = "monitoring.rds.amazonaws.com" } : {},
    local.own_vpc ? { flow_log = "vpc-flow-logs.amazonaws.com" } : {},
  )

  trust = {
    for role, service in local.principals : role => {
      Version = "2012-10-17"
      Statement = [merge(
        { Effect = "Allow", Principal = { Service = service }, Action = "sts:AssumeRole" },
        # Prevent other accounts from making the AWS service use the role. ECS sends no source account when it shifts
        # requests.
        role == "infrastructure" ? {} : { Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } } },
      )]
    }
  }

  execution_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.service.arn}:log-stream:task/*"
      },
      {
        Sid    = "Secrets"
        Effect = "Allow"
        Action = "secretsmanager:GetSecretValue"
        Resource = compact([
          local.database.secret,
          data.aws_secretsmanager_secret.api_tokens.id,
          var.registry_credentials_secret_arn,
        ])
      },
      { Sid = "Key", Effect = "Allow", Action = "kms:Decrypt", Resource = data.aws_kms_key.main.arn },
    ]
  }

  task_policy = {
    Version = "2012-10-17"
    Statement = concat(
      [
        { Sid = "Password", Effect = "Allow", Action = "secretsmanager:GetSecretValue", Resource = local.database.secret },
        { Sid = "Key", Effect = "Allow", Action = "kms:Decrypt", Resource = data.aws_kms_key.main.arn },
      ],
      [for workspace in aws_prometheus_workspace.main : { Sid = "Metrics", Effect = "Allow", Action = "aps:RemoteWrite", Resource = workspace.arn }],
    )
  }

  flow_log_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Write"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = [for group in aws_cloudwatch_log_group.flow : "${group.arn}:*"]
      },
      # Log delivery first looks up its log group. AWS doesn't support ARNs for that action.
      { Sid = "Find", Effect = "Allow", Action = "logs:DescribeLogGroups", Resource = "*" },
    ]
  }
}

# ECS uses this role to start tasks, read their secrets and write their logs.
resource "aws_iam_role" "execution" {
  name                 = "${var.name}-execution"
  assume_role_policy   = jsonencode(local.trust.execution)
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "execution" {
  name   = "start-tasks"
  role   = aws_iam_role.execution.id
  policy = jsonencode(local.execution_policy)
}

# The role of a running task. Its sidecars use the role to read the database password and to forward metrics.
resource "aws_iam_role" "task" {
  name                 = "${var.name}-task"
  assume_role_policy   = jsonencode(local.trust.task)
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "task" {
  name   = "run"
  role   = aws_iam_role.task.id
  policy = jsonencode(local.task_policy)
}

# ECS uses this role to shift requests between the target groups.
resource "aws_iam_role" "infrastructure" {
  name                 = "${var.name}-infrastructure"
  assume_role_policy   = jsonencode(local.trust.infrastructure)
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy_attachment" "infrastructure" {
  role       = aws_iam_role.infrastructure.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers"
}

resource "aws_iam_role" "database_monitoring" {
  count = local.is_aurora ? 1 : 0

  name                 = "${var.name}-database-monitoring"
  assume_role_policy   = jsonencode(local.trust.database_monitoring)
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy_attachment" "database_monitoring" {
  count = local.is_aurora ? 1 : 0

  role       = aws_iam_role.database_monitoring[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

resource "aws_iam_role" "flow_log" {
  count = local.own_vpc ? 1 : 0

  name                 = "${var.name}-flow-log"
  assume_role_policy   = jsonencode(local.trust.flow_log)
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "flow_log" {
  #checkov:skip=CKV_AWS_355: One statement describes log groups, for which AWS supports no ARN
  count = local.own_vpc ? 1 : 0

  name   = "write"
  role   = aws_iam_role.flow_log[0].id
  policy = jsonencode(local.flow_log_policy)
}
