output "url" {
  description = "URL of the service"
  value       = "https://${var.domain_name}"
}

output "image" {
  description = "Image from the last apply; ECS may have rolled it back since"
  value       = var.image
}

output "test_url" {
  description = "URL that reaches the new version during a deployment"
  value       = "https://${var.domain_name}:${local.https_ports.test}"
}

output "cluster_name" {
  description = "ECS cluster"
  value       = aws_ecs_cluster.main.name
}

output "service_name" {
  description = "ECS service"
  value       = aws_ecs_service.main.name
}

output "load_balancer_dns_name" {
  description = "DNS name of the load balancer"
  value       = aws_lb.main.dns_name
}

output "target_groups" {
  description = "ARN suffixes of the target groups, as used in CloudWatch dimensions"
  value       = { for name, group in aws_lb_target_group.service : name => group.arn_suffix }
}

output "database_endpoint" {
  description = "Host name of the database"
  value       = local.database.host
}

output "database_secret_arn" {
  description = "Secret with the database user and password"
  value       = local.database.secret
}

output "log_group" {
  description = "Log group of the service"
  value       = aws_cloudwatch_log_group.service.name
}

output "alarm_topic_arn" {
  description = "SNS topic for alarms"
  value       = aws_sns_topic.alarms.arn
}
