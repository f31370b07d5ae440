# The service, and how a new version of it takes over: a share of the requests first, all of them when that went well,
# and back by itself when an alarm goes off meanwhile.

resource "aws_ecs_cluster" "main" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_ecs_task_definition" "main" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  container_definitions    = jsonencode(local.containers)

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "X86_64"
  }
}

resource "aws_ecs_service" "main" {
  name            = var.name
  cluster         = aws_ecs_cluster.main.id
  task_definition = aws_ecs_task_definition.main.arn
  launch_type     = "FARGATE"
  desired_count   = var.min_tasks

  availability_zone_rebalancing     = "ENABLED"
  health_check_grace_period_seconds = 30
  propagate_tags                    = "SERVICE"
  enable_execute_command            = false

  # An apply ends when the deployment has, and rolls it back when it is interrupted.
  wait_for_steady_state = true
  sigint_rollback       = true

  network_configuration {
    subnets         = local.private_subnet_ids
    security_groups = [aws_security_group.tasks.id]
  }

  load_balancer {
    container_name   = local.service_container.name
    container_port   = local.port
    target_group_arn = aws_lb_target_group.service["blue"].arn

    advanced_configuration {
      alternate_target_group_arn = aws_lb_target_group.service["green"].arn
      production_listener_rule   = aws_lb_listener_rule.production.arn
      role_arn                   = aws_iam_role.infrastructure.arn
    }
  }

  deployment_controller {
    type = "ECS"
  }

  deployment_configuration {
    strategy             = "CANARY"
    bake_time_in_minutes = tostring(var.bake_minutes)

    canary_configuration {
      canary_percent              = var.canary_percent
      canary_bake_time_in_minutes = tostring(var.canary_bake_minutes)
    }
  }

  # Either group may be the new version's.
  alarms {
    enable      = true
    rollback    = true
    alarm_names = [for alarm in concat(values(aws_cloudwatch_metric_alarm.errors), values(aws_cloudwatch_metric_alarm.p99)) : alarm.alarm_name]
  }

  # For tasks that never become healthy, which no alarm on requests sees.
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  lifecycle {
    # Autoscaling's to set.
    ignore_changes = [desired_count]
  }

  depends_on = [aws_iam_role_policy_attachment.infrastructure, aws_iam_role_policy.execution]
}
