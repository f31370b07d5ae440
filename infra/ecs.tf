# The service and its canary deployments: a new version first gets a share of the requests, then all of them. If an
# alarm fires in the meantime, ECS rolls back to the old version.

resource "aws_ecs_cluster" "main" {
  #checkov:skip=CKV_AWS_65: The "small" preset turns Container Insights off
  name = var.name

  setting {
    name  = "containerInsights"
    value = var.container_insights ? "enabled" : "disabled"
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
  # Keep old revisions, so that ECS can roll back to them and operators can inspect them.
  skip_destroy = true

  volume {
    name = "password"
  }

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
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

  # Wait until the deployment ends. An interrupted apply rolls the deployment back.
  wait_for_steady_state = true
  sigint_rollback       = true

  network_configuration {
    subnets          = var.public_tasks ? local.public_subnet_ids : local.private_subnet_ids
    security_groups  = [aws_security_group.tasks.id]
    assign_public_ip = var.public_tasks
  }

  load_balancer {
    container_name   = local.service_container.name
    container_port   = local.port
    target_group_arn = aws_lb_target_group.service["blue"].arn

    advanced_configuration {
      alternate_target_group_arn = aws_lb_target_group.service["green"].arn
      production_listener_rule   = aws_lb_listener_rule.service["production"].arn
      test_listener_rule         = aws_lb_listener_rule.service["test"].arn
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

  alarms {
    enable      = true
    rollback    = true
    alarm_names = [for alarm in aws_cloudwatch_metric_alarm.deployment : alarm.alarm_name]
  }

  # The circuit breaker detects tasks that never become healthy. They get no requests, so the alarms can't detect them.
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # The timeouts cover both bakes, plus 20 minutes for tasks to start, become healthy and drain.
  timeouts {
    create = "${var.canary_bake_minutes + var.bake_minutes + 20}m"
    update = "${var.canary_bake_minutes + var.bake_minutes + 20}m"
  }

  lifecycle {
    # Autoscaling sets the count.
    ignore_changes = [desired_count]
  }

  # The resources that a task needs at startup, but that the service doesn't reference. Without these resources, tasks
  # exit, and the first deployment has no previous version to roll back to. tests/checks/aws/graph.py lists the
  # resources that must come first.
  depends_on = [
    aws_db_instance.main,
    aws_iam_role_policy.execution,
    aws_iam_role_policy.task,
    aws_iam_role_policy_attachment.infrastructure,
    aws_lb_listener.http,
    aws_nat_gateway.main,
    aws_rds_cluster_instance.main,
    aws_route_table_association.private,
    aws_route_table_association.public,
    aws_vpc_security_group_egress_rule.alb_to_tasks,
    aws_vpc_security_group_egress_rule.tasks_to_apis,
    aws_vpc_security_group_egress_rule.tasks_to_database,
    aws_vpc_security_group_ingress_rule.alb,
    aws_vpc_security_group_ingress_rule.database_from_tasks,
    aws_vpc_security_group_ingress_rule.tasks_from_alb,
  ]
}
