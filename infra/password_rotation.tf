# Every quarter RDS changes the password. Tasks have it from their start, so that new ones are started after that. In
# between the open connections stay open; one that breaks is answered from memory until then.

locals {
  rotation_hour = 4
}

resource "aws_secretsmanager_secret_rotation" "database" {
  secret_id = aws_rds_cluster.main.master_user_secret[0].secret_arn

  rotation_rules {
    schedule_expression = "cron(0 ${local.rotation_hour} ? 1/3 TUE#1 *)"
    duration            = "1h"
  }

  rotate_immediately = false
}

resource "aws_scheduler_schedule" "restart" {
  name                = "${var.name}-restart-after-rotation"
  schedule_expression = "cron(0 ${local.rotation_hour + 1} ? 1/3 TUE#1 *)"
  kms_key_arn         = aws_kms_key.main.arn

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = "arn:${local.partition}:scheduler:::aws-sdk:ecs:updateService"
    role_arn = aws_iam_role.restart.arn
    input = jsonencode({
      Cluster            = aws_ecs_cluster.main.name
      Service            = aws_ecs_service.main.name
      ForceNewDeployment = true
    })

    retry_policy {
      maximum_retry_attempts       = 10
      maximum_event_age_in_seconds = 3600
    }
  }
}
