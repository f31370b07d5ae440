# HTTPS only. The production listener serves clients. The test listener forwards to a new version before clients reach
# it. Each listener has a rule that forwards to two target groups, and a deployment shifts their weights.

resource "aws_lb" "main" {
  #checkov:skip=CKV2_AWS_28: waf.tf attaches a web ACL, unless waf is false
  #checkov:skip=CKV2_AWS_76: The rule group is in a dynamic block, and a test checks that it exists
  name               = var.name
  load_balancer_type = "application"
  security_groups    = [aws_security_group.alb.id]
  subnets            = local.public_subnet_ids

  drop_invalid_header_fields = true
  # This must be shorter than the service's KEEP_ALIVE. Otherwise, a request could be sent on a connection that the
  # service has just closed.
  idle_timeout               = 60
  enable_deletion_protection = var.deletion_protection

  access_logs {
    bucket  = aws_s3_bucket.access_logs.id
    enabled = true
  }

  depends_on = [aws_s3_bucket_policy.access_logs]
}

resource "aws_lb_target_group" "service" {
  #checkov:skip=CKV_AWS_378: TLS ends at the load balancer, and nothing else can reach the tasks
  for_each = toset(["blue", "green"])

  name                 = "${var.name}-${each.key}"
  vpc_id               = local.vpc_id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = local.port
  deregistration_delay = 30

  health_check {
    # Don't use /readyz: while the database is down, all tasks would be taken out of service, although they can still
    # redirect from memory.
    path                = "/healthz"
    matcher             = "200"
    interval            = 15
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.main.arn
  protocol          = "HTTP"
  port              = 80

  default_action {
    type = "redirect"

    redirect {
      protocol    = "HTTPS"
      port        = "443"
      status_code = "HTTP_301"
    }
  }
}

locals {
  https_ports = { production = 443, test = 8443 }
}

resource "aws_lb_listener" "https" {
  for_each = local.https_ports

  load_balancer_arn = aws_lb.main.arn
  protocol          = "HTTPS"
  port              = each.value
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"
  certificate_arn   = aws_acm_certificate_validation.main.certificate_arn

  default_action {
    type = "fixed-response"

    fixed_response {
      content_type = "application/json"
      status_code  = "404"
      message_body = jsonencode({ error = "not found", code = "not_found" })
    }
  }
}

resource "aws_lb_listener_rule" "closed" {
  for_each = aws_lb_listener.https

  listener_arn = each.value.arn
  priority     = 10

  condition {
    path_pattern {
      values = ["/metrics", "/metrics/*", "/readyz", "/readyz/*"]
    }
  }

  action {
    type = "fixed-response"

    fixed_response {
      content_type = "application/json"
      status_code  = "404"
      message_body = jsonencode({ error = "not found", code = "not_found" })
    }
  }
}

resource "aws_lb_listener_rule" "service" {
  for_each = aws_lb_listener.https

  listener_arn = each.value.arn
  priority     = 100

  condition {
    host_header {
      values = [var.domain_name]
    }
  }

  # This must be the only kind of action, because ECS rejects a rule with mixed actions.
  action {
    type = "forward"

    forward {
      target_group {
        arn    = aws_lb_target_group.service["blue"].arn
        weight = 100
      }

      target_group {
        arn    = aws_lb_target_group.service["green"].arn
        weight = 0
      }
    }
  }

  lifecycle {
    # ECS sets the weights. Resetting them would undo a deployment.
    ignore_changes = [action]
  }
}
