# How a new version is rolled out, and when it's rolled back.

mock_provider "aws" {
  source = "./tests/mocks"
}

# Each target group needs its own ARN.
override_resource {
  target = aws_lb_target_group.service["blue"]
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/urlshort-blue/abc"
    arn_suffix = "targetgroup/urlshort-blue/abc"
  }
}

override_resource {
  target = aws_lb_target_group.service["green"]
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/urlshort-green/abc"
    arn_suffix = "targetgroup/urlshort-green/abc"
  }
}

variables {
  region                   = "eu-central-1"
  domain_name              = "sho.rt"
  zone_id                  = "Z0123456789"
  permissions_boundary_arn = "arn:aws:iam::123456789012:policy/urlshort-boundary"
  image                    = "ghcr.io/urlshort/urlshort@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
}

run "a_new_version_gets_a_share_of_the_requests_first" {
  command = apply

  assert {
    condition     = aws_ecs_service.main.deployment_configuration[0].strategy == "CANARY"
    error_message = "not a canary deployment"
  }

  assert {
    condition     = aws_ecs_service.main.deployment_configuration[0].canary_configuration[0].canary_percent == 10
    error_message = "the canary's share is not the variable's default"
  }

  assert {
    condition = (
      tonumber(aws_ecs_service.main.deployment_configuration[0].bake_time_in_minutes) > 0
      && tonumber(aws_ecs_service.main.deployment_configuration[0].canary_configuration[0].canary_bake_time_in_minutes) >= 3
    )
    error_message = "the alarms take 3 minutes to fire: a shorter stage would end before that"
  }

  assert {
    condition = one([for balancer in aws_ecs_service.main.load_balancer : (
      balancer.target_group_arn == aws_lb_target_group.service["blue"].arn
      && balancer.advanced_configuration[0].alternate_target_group_arn == aws_lb_target_group.service["green"].arn
      && balancer.advanced_configuration[0].production_listener_rule == aws_lb_listener_rule.service["production"].arn
      && balancer.advanced_configuration[0].test_listener_rule == aws_lb_listener_rule.service["test"].arn
    )])
    error_message = "the service does not use both target groups and both rules"
  }

  # The provider's default timeout is 20 minutes, which is no longer than both bakes.
  assert {
    condition = alltrue([
      for timeout in [aws_ecs_service.main.timeouts.create, aws_ecs_service.main.timeouts.update] :
      tonumber(trimsuffix(timeout, "m")) == 20 + tonumber(aws_ecs_service.main.deployment_configuration[0].bake_time_in_minutes)
      + tonumber(aws_ecs_service.main.deployment_configuration[0].canary_configuration[0].canary_bake_time_in_minutes)
    ])
    error_message = "an apply gives up before both bakes and 20 minutes are over"
  }

  assert {
    condition     = aws_ecs_task_definition.main.skip_destroy
    error_message = "the task definition to roll back to is deregistered"
  }
}

run "a_longer_bake_gives_an_apply_more_time" {
  command = apply

  variables {
    canary_bake_minutes = 25
    bake_minutes        = 15
  }

  assert {
    condition     = aws_ecs_service.main.timeouts.update == "60m"
    error_message = "the timeout does not grow with the bakes"
  }
}

run "bakes_that_outlast_the_pipelines_role_are_refused" {
  command = plan

  variables {
    canary_bake_minutes = 30
    bake_minutes        = 30
  }

  expect_failures = [var.bake_minutes]
}

run "alarms_on_both_target_groups_roll_a_deployment_back" {
  command = apply

  assert {
    condition     = aws_ecs_service.main.alarms[0].enable && aws_ecs_service.main.alarms[0].rollback
    error_message = "alarms do not roll back"
  }

  assert {
    condition = aws_ecs_service.main.alarms[0].alarm_names == toset([
      "urlshort-errors-blue", "urlshort-errors-green", "urlshort-balancer-errors", "urlshort-redirects",
    ])
    error_message = "not the alarms on errors of both target groups, errors of the load balancer, and redirects"
  }

  # Each alarm reads only the metrics of its own target group.
  assert {
    condition = alltrue(flatten([
      for color in ["blue", "green"] : [
        for query in aws_cloudwatch_metric_alarm.deployment["errors-${color}"].metric_query :
        query.metric[0].dimensions.TargetGroup == aws_lb_target_group.service[color].arn_suffix
        if length(query.metric) > 0
      ]
    ]))
    error_message = "an alarm reads another target group's metrics"
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.deployment : alarm.threshold == 1])
    error_message = "an alarm's threshold is not ten times what the SLO allows"
  }

  assert {
    condition = toset([for filter in aws_cloudwatch_log_metric_filter.redirects : "${filter.metric_transformation[0].namespace} ${filter.metric_transformation[0].name}"]) == toset(flatten([
      for query in aws_cloudwatch_metric_alarm.deployment["redirects"].metric_query : [for metric in query.metric : "${metric.namespace} ${metric.metric_name}"]
    ]))
    error_message = "the alarm on redirects does not read the access log's metrics"
  }

  assert {
    condition     = aws_ecs_service.main.deployment_circuit_breaker[0].enable && aws_ecs_service.main.deployment_circuit_breaker[0].rollback
    error_message = "tasks that never become healthy do not end a deployment"
  }
}

# Plan again from the same state, with a new minimum number of tasks.
run "an_apply_leaves_weights_and_task_count_alone" {
  command = plan

  variables {
    min_tasks = 5
  }

  assert {
    condition     = aws_ecs_service.main.desired_count == 2
    error_message = "an apply overrides the task count that autoscaling set"
  }
}

run "the_rules_between_the_target_groups_only_forward" {
  command = apply

  assert {
    condition     = alltrue([for rule in aws_lb_listener_rule.service : [for action in rule.action : action.type] == ["forward"]])
    error_message = "ECS rejects a rule with mixed actions"
  }
}

run "tasks_follow_the_requests_of_both_target_groups" {
  command = apply

  assert {
    condition = toset(flatten([
      for query in aws_appautoscaling_policy.requests.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metrics : [
        for stat in query.metric_stat : [for dimension in stat.metric[0].dimensions : dimension.value]
      ]
    ])) == toset([for group in aws_lb_target_group.service : group.arn_suffix])
    error_message = "requests are not counted in both target groups"
  }

  assert {
    condition = contains(
      [for query in aws_appautoscaling_policy.requests.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metrics : query.expression],
      "FILL(blue, 0) + FILL(green, 0)",
    )
    error_message = "the requests of the target groups are not added up"
  }

  assert {
    condition     = aws_appautoscaling_policy.cpu.target_tracking_scaling_policy_configuration[0].predefined_metric_specification[0].predefined_metric_type == "ECSServiceAverageCPUUtilization"
    error_message = "tasks do not follow CPU"
  }

  assert {
    condition     = aws_appautoscaling_target.service.min_capacity == 2
    error_message = "fewer than two tasks"
  }
}

run "an_image_by_tag_is_refused" {
  command = plan

  variables {
    image = "ghcr.io/urlshort/urlshort:latest"
  }

  expect_failures = [var.image]
}

run "a_single_task_is_refused" {
  command = plan

  variables {
    min_tasks = 1
  }

  expect_failures = [var.min_tasks]
}
