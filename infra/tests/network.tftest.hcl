# Allowed connections.

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

run "the_public_gets_https_only" {
  command = apply

  assert {
    condition     = aws_lb_listener.http.default_action[0].type == "redirect" && aws_lb_listener.http.default_action[0].redirect[0].protocol == "HTTPS"
    error_message = "plain HTTP is not redirected"
  }

  assert {
    condition     = alltrue([for listener in aws_lb_listener.https : listener.protocol == "HTTPS" && startswith(listener.ssl_policy, "ELBSecurityPolicy-TLS13-")])
    error_message = "not HTTPS with a TLS 1.3 policy"
  }

  assert {
    condition     = aws_lb.main.drop_invalid_header_fields && aws_lb.main.access_logs[0].enabled && aws_lb.main.enable_deletion_protection
    error_message = "the load balancer forwards invalid headers, has no access log or can be deleted"
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.alb : rule.from_port]) == toset([80, 443, 8443])
    error_message = "another port than 80, 443 and the test listener's is open"
  }

  assert {
    condition     = aws_wafv2_web_acl_association.alb[0].resource_arn == aws_lb.main.arn
    error_message = "no web ACL in front of the load balancer"
  }

  assert {
    condition = anytrue([
      for rule in aws_wafv2_web_acl.main[0].rule : length(rule.action) > 0
      && try(rule.statement[0].rate_based_statement[0].limit, 0) == 6000 && try(length(rule.action[0].block), 0) == 1
    ])
    error_message = "too many requests from one address are not blocked"
  }

  assert {
    condition = toset([
      for rule in aws_wafv2_web_acl.main[0].rule : rule.name if try(length(rule.override_action[0].none), 0) == 1
    ]) == toset(["AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesKnownBadInputsRuleSet"])
    error_message = "Amazon's lists of attackers and attacks do not block"
  }
}

run "metrics_and_readiness_are_closed_to_the_public" {
  command = apply

  assert {
    condition     = toset(keys(aws_lb_listener_rule.closed)) == toset(keys(aws_lb_listener.https))
    error_message = "a listener has no rule for the closed paths"
  }

  assert {
    condition = alltrue(flatten([for rule in aws_lb_listener_rule.closed : [for path in ["/metrics", "/readyz"] : contains(
      flatten([for condition in rule.condition : [for pattern in condition.path_pattern : pattern.values]]),
      path,
    )]]))
    error_message = "/metrics or /readyz goes to the service"
  }

  assert {
    condition     = alltrue([for rule in aws_lb_listener_rule.closed : rule.action[0].type == "fixed-response" && rule.action[0].fixed_response[0].status_code == "404"])
    error_message = "the closed paths do not return 404"
  }

  assert {
    condition     = alltrue([for listener, rule in aws_lb_listener_rule.closed : rule.priority < aws_lb_listener_rule.service[listener].priority])
    error_message = "the rule for everything comes before the closed paths"
  }
}

run "target_groups_poll_healthz" {
  command = apply

  assert {
    condition     = toset(keys(aws_lb_target_group.service)) == toset(["blue", "green"])
    error_message = "not two target groups"
  }

  assert {
    condition = alltrue([for group in aws_lb_target_group.service : (
      group.health_check[0].path == "/healthz" && group.health_check[0].interval == 15
      && group.health_check[0].matcher == "200" && group.port == 8080
    )])
    error_message = "a target group does not poll /healthz every 15 seconds"
  }
}

run "everything_is_in_two_zones" {
  command = apply

  assert {
    condition     = toset([for subnet in aws_subnet.private : subnet.availability_zone]) == toset(["eu-central-1a", "eu-central-1b"])
    error_message = "the private subnets are not in two zones"
  }

  assert {
    condition     = toset([for subnet in aws_subnet.public : subnet.availability_zone]) == toset(["eu-central-1a", "eu-central-1b"])
    error_message = "the public subnets are not in two zones"
  }

  assert {
    condition     = length(toset(concat([for subnet in aws_subnet.public : subnet.cidr_block], [for subnet in aws_subnet.private : subnet.cidr_block]))) == 4
    error_message = "subnets overlap"
  }

  assert {
    condition     = aws_ecs_service.main.desired_count == 2 && aws_ecs_service.main.availability_zone_rebalancing == "ENABLED"
    error_message = "not two tasks, spread over the zones"
  }

  assert {
    condition     = length(aws_rds_cluster_instance.main) == 2
    error_message = "the database has no reader for a failover"
  }

  assert {
    condition     = length(aws_nat_gateway.main) == 1
    error_message = "the default has one NAT gateway"
  }
}

run "tasks_and_database_are_private" {
  command = apply

  assert {
    condition     = one(aws_ecs_service.main.network_configuration).assign_public_ip != true
    error_message = "tasks have public addresses"
  }

  assert {
    condition     = toset(one(aws_ecs_service.main.network_configuration).subnets) == toset([for subnet in aws_subnet.private : subnet.id])
    error_message = "tasks are not in the private subnets"
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.public : subnet.map_public_ip_on_launch != true])
    error_message = "a subnet assigns public addresses"
  }

  assert {
    condition     = alltrue([for instance in aws_rds_cluster_instance.main : instance.publicly_accessible == false])
    error_message = "the database has a public address"
  }

  assert {
    condition     = toset(aws_db_subnet_group.main.subnet_ids) == toset([for subnet in aws_subnet.private : subnet.id])
    error_message = "the database is not in the private subnets"
  }

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.database_from_tasks.cidr_ipv4 == null
      && aws_vpc_security_group_ingress_rule.database_from_tasks.referenced_security_group_id == aws_security_group.tasks.id
      && aws_vpc_security_group_ingress_rule.database_from_tasks.from_port == 5432
    )
    error_message = "something other than the tasks can reach the database"
  }

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.tasks_from_alb.cidr_ipv4 == null
      && aws_vpc_security_group_ingress_rule.tasks_from_alb.referenced_security_group_id == aws_security_group.alb.id
    )
    error_message = "something other than the load balancer can reach the tasks"
  }
}

run "an_existing_vpc_is_used" {
  command = apply

  variables {
    vpc = {
      id                 = "vpc-123"
      public_subnet_ids  = ["subnet-1", "subnet-2"]
      private_subnet_ids = ["subnet-3", "subnet-4"]
    }
  }

  assert {
    condition     = length(aws_vpc.main) + length(aws_subnet.private) + length(aws_nat_gateway.main) + length(aws_flow_log.rejected) == 0
    error_message = "a network was created too"
  }

  assert {
    condition     = toset(aws_lb.main.subnets) == toset(["subnet-1", "subnet-2"]) && toset(aws_db_subnet_group.main.subnet_ids) == toset(["subnet-3", "subnet-4"])
    error_message = "the given subnets are not used"
  }
}

run "a_vpc_in_one_zone_is_refused" {
  command = plan

  variables {
    vpc = { id = "vpc-123", public_subnet_ids = ["subnet-1"], private_subnet_ids = ["subnet-3"] }
  }

  expect_failures = [var.vpc]
}

run "a_nat_gateway_for_each_zone_on_request" {
  command = apply

  variables {
    nat_gateway_per_zone = true
  }

  assert {
    condition     = length(aws_nat_gateway.main) == 2
    error_message = "not one for each zone"
  }
}
