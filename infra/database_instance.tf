# One small PostgreSQL server in one zone, for `database = "instance"`. While the server restarts, links in the tasks'
# memory still redirect, and requests for all other links get a 503.

resource "aws_db_parameter_group" "main" {
  count = local.is_aurora ? 0 : 1

  name   = var.name
  family = "postgres${var.database_engine_version}"

  dynamic "parameter" {
    for_each = local.database_parameters

    content {
      name  = parameter.key
      value = parameter.value
    }
  }
}

resource "aws_db_instance" "main" {
  #checkov:skip=CKV_AWS_157: A single zone is intended; "aurora" has two
  #checkov:skip=CKV2_AWS_69: rds.force_ssl is in a dynamic block, and a test checks that it is on
  #checkov:skip=CKV_AWS_161: The service logs in with a password that RDS rotates
  #checkov:skip=CKV_AWS_118: Enhanced monitoring is not worth its cost for the smallest instance
  #checkov:skip=CKV_AWS_353: Performance Insights is not worth its cost for the smallest instance
  count = local.is_aurora ? 0 : 1

  identifier     = var.name
  engine         = "postgres"
  engine_version = var.database_engine_version
  instance_class = var.database_instance_class
  db_name        = "urlshort"

  username                      = "urlshort"
  manage_master_user_password   = true
  master_user_secret_kms_key_id = data.aws_kms_key.main.arn

  allocated_storage     = 20
  max_allocated_storage = 100
  storage_type          = "gp3"
  storage_encrypted     = true
  kms_key_id            = data.aws_kms_key.main.arn

  db_subnet_group_name   = aws_db_subnet_group.main.name
  vpc_security_group_ids = [aws_security_group.database.id]
  parameter_group_name   = aws_db_parameter_group.main[0].name
  publicly_accessible    = false
  multi_az               = false
  ca_cert_identifier     = local.database_ca

  backup_retention_period    = var.backup_days
  backup_window              = local.backup_window
  maintenance_window         = local.maintenance_window
  auto_minor_version_upgrade = true
  copy_tags_to_snapshot      = true
  deletion_protection        = var.deletion_protection
  final_snapshot_identifier  = "${var.name}-final"

  enabled_cloudwatch_logs_exports = ["postgresql"]

  depends_on = [aws_cloudwatch_log_group.database]
}
