# Mocked values for the AWS attributes that can't be Terraform's random strings: lists that are indexed, and ARNs, whose
# format is checked.

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

mock_data "aws_partition" {
  defaults = { partition = "aws" }
}

mock_data "aws_kms_key" {
  defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/service" }
}

mock_data "aws_secretsmanager_secret" {
  defaults = { id = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:urlshort/api-tokens-AbCdEf" }
}

mock_resource "aws_db_instance" {
  defaults = {
    arn     = "arn:aws:rds:eu-central-1:123456789012:db:urlshort"
    address = "urlshort.abc.eu-central-1.rds.amazonaws.com"
    port    = 5432
    master_user_secret = [{
      secret_arn    = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-abc"
      kms_key_id    = "arn:aws:kms:eu-central-1:123456789012:key/service"
      secret_status = "active"
    }]
  }
}

mock_resource "aws_rds_cluster" {
  defaults = {
    arn      = "arn:aws:rds:eu-central-1:123456789012:cluster:urlshort"
    endpoint = "urlshort.cluster-abc.eu-central-1.rds.amazonaws.com"
    port     = 5432
    master_user_secret = [{
      secret_arn    = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!cluster-abc"
      kms_key_id    = "arn:aws:kms:eu-central-1:123456789012:key/service"
      secret_status = "active"
    }]
  }
}

mock_resource "aws_kms_key" {
  defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/abc" }
}

mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
}

mock_resource "aws_iam_policy" {
  defaults = { arn = "arn:aws:iam::123456789012:policy/mock" }
}

mock_resource "aws_iam_openid_connect_provider" {
  defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
}

mock_resource "aws_s3_bucket" {
  defaults = { arn = "arn:aws:s3:::mock" }
}

mock_resource "aws_cloudwatch_log_group" {
  defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:mock" }
}

mock_resource "aws_sns_topic" {
  defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:mock" }
}

mock_resource "aws_lb" {
  defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/mock/abc" }
}

mock_resource "aws_lb_listener" {
  defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/mock/abc/def" }
}

mock_resource "aws_lb_listener_rule" {
  defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener-rule/app/mock/abc/def/ghi" }
}

mock_resource "aws_acm_certificate" {
  defaults = {
    arn = "arn:aws:acm:eu-central-1:123456789012:certificate/abc"
    domain_validation_options = [{
      domain_name           = "sho.rt"
      resource_record_name  = "_abc.sho.rt"
      resource_record_type  = "CNAME"
      resource_record_value = "_def.acm-validations.aws"
    }]
  }
}

mock_resource "aws_acm_certificate_validation" {
  defaults = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/abc" }
}

mock_resource "aws_wafv2_web_acl" {
  defaults = { arn = "arn:aws:wafv2:eu-central-1:123456789012:regional/webacl/mock/abc" }
}

mock_resource "aws_ecs_service" {
  defaults = { arn = "arn:aws:ecs:eu-central-1:123456789012:service/urlshort/urlshort" }
}

mock_resource "aws_ecs_task_definition" {
  defaults = { arn = "arn:aws:ecs:eu-central-1:123456789012:task-definition/urlshort:1" }
}

mock_resource "aws_prometheus_workspace" {
  defaults = {
    arn                 = "arn:aws:aps:eu-central-1:123456789012:workspace/ws-abc"
    id                  = "ws-abc"
    prometheus_endpoint = "https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-abc/"
  }
}
