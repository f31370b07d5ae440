# The small.tfvars preset: what it leaves out, and what it keeps.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region                   = "eu-central-1"
  domain_name              = "sho.rt"
  zone_id                  = "Z0123456789"
  permissions_boundary_arn = "arn:aws:iam::123456789012:policy/urlshort-boundary"
  image                    = "ghcr.io/urlshort/urlshort@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
}

run "the_expensive_parts_are_left_out" {
  command = apply

  assert {
    condition     = length(aws_nat_gateway.main) + length(aws_eip.nat) == 0
    error_message = "there is a NAT gateway"
  }

  assert {
    condition     = length(aws_wafv2_web_acl.main) + length(aws_wafv2_web_acl_association.alb) + length(aws_cloudwatch_log_group.waf) == 0
    error_message = "there is a firewall"
  }

  assert {
    condition     = length(aws_prometheus_workspace.main) + length(aws_prometheus_rule_group_namespace.main) == 0 && length(local.containers) == 2
    error_message = "there is Managed Prometheus or its collector"
  }

  assert {
    condition     = length(aws_rds_cluster.main) + length(aws_rds_cluster_instance.main) == 0 && length(aws_db_instance.main) == 1 && aws_db_instance.main[0].instance_class == "db.t4g.micro"
    error_message = "the database is not one small instance"
  }

  assert {
    condition     = [for setting in aws_ecs_cluster.main.setting : setting.value] == ["disabled"]
    error_message = "Container Insights is on"
  }
}

run "only_the_load_balancer_can_connect_to_a_task" {
  command = apply

  assert {
    condition = (
      one(aws_ecs_service.main.network_configuration).assign_public_ip
      && toset(one(aws_ecs_service.main.network_configuration).subnets) == toset([for subnet in aws_subnet.public : subnet.id])
    )
    error_message = "without NAT a task needs a public subnet and a public address"
  }

  assert {
    condition = (
      one(aws_ecs_service.main.network_configuration).security_groups == toset([aws_security_group.tasks.id])
      && aws_vpc_security_group_ingress_rule.tasks_from_alb.security_group_id == aws_security_group.tasks.id
      && aws_vpc_security_group_ingress_rule.tasks_from_alb.cidr_ipv4 == null
      && aws_vpc_security_group_ingress_rule.tasks_from_alb.referenced_security_group_id == aws_security_group.alb.id
    )
    error_message = "a task's security group is open"
  }

  assert {
    condition     = aws_db_instance.main[0].publicly_accessible == false && toset(aws_db_subnet_group.main.subnet_ids) == toset([for subnet in aws_subnet.private : subnet.id])
    error_message = "the database is not private"
  }

  assert {
    condition     = alltrue([for table in aws_route_table.private : length(table.route) == 0])
    error_message = "the private subnets have a route to the internet"
  }
}

run "the_essential_parts_are_kept" {
  command = apply

  assert {
    condition     = aws_ecs_service.main.desired_count == 2 && aws_appautoscaling_target.service.min_capacity == 2
    error_message = "fewer than two tasks"
  }

  assert {
    condition     = alltrue([for group in aws_lb_target_group.service : group.health_check[0].path == "/healthz" && group.health_check[0].interval == 15])
    error_message = "the load balancer does not poll /healthz every 15 seconds"
  }

  assert {
    condition     = aws_cloudwatch_log_group.service.retention_in_days == 30
    error_message = "logs are not kept for 30 days"
  }

  assert {
    condition     = aws_ecs_task_definition.main.runtime_platform[0].cpu_architecture == "ARM64"
    error_message = "not on Graviton"
  }

  assert {
    condition     = aws_ecs_service.main.deployment_configuration[0].strategy == "CANARY" && length(aws_ecs_service.main.alarms[0].alarm_names) == 4
    error_message = "no canary with alarms"
  }

  assert {
    condition = (
      aws_db_instance.main[0].storage_encrypted && aws_db_instance.main[0].deletion_protection && aws_db_instance.main[0].backup_retention_period == 14
      && aws_db_instance.main[0].manage_master_user_password && aws_db_instance.main[0].engine_version == "17"
      && contains([for parameter in aws_db_parameter_group.main[0].parameter : "${parameter.name}=${parameter.value}"], "rds.force_ssl=1")
    )
    error_message = "the database is not encrypted, not protected against loss, or accepts connections without TLS"
  }

  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.resource)) == toset(["database-cpu", "database-storage"])
    error_message = "there is no alarm for a full database"
  }
}
