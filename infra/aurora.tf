# Aurora Serverless v2 in two zones, for `database = "aurora"`.

resource "aws_rds_cluster_parameter_group" "main" {
  count = local.is_aurora ? 1 : 0

  name   = var.name
  family = "aurora-postgresql${var.database_engine_version}"

  dynamic "parameter" {
    for_each = local.database_parameters

    content {
      name  = parameter.key
      value = parameter.value
    }
  }
}

resource "aws_rds_cluster" "main" {
  #checkov:skip=CKV2_AWS_8: Aurora's own backups can restore the state at any second within backup_days
  #checkov:skip=CKV2_AWS_27: Only slow statements and schema changes are logged, because statements contain link targets
  #checkov:skip=CKV_AWS_162: The service logs in with a password that RDS rotates
  count = local.is_aurora ? 1 : 0

  cluster_identifier = var.name
  engine             = "aurora-postgresql"
  engine_mode        = "provisioned"
  engine_version     = var.database_engine_version
  database_name      = "urlshort"

  master_username               = "urlshort"
  manage_master_user_password   = true
  master_user_secret_kms_key_id = data.aws_kms_key.main.arn

  db_subnet_group_name            = aws_db_subnet_group.main.name
  vpc_security_group_ids          = [aws_security_group.database.id]
  db_cluster_parameter_group_name = aws_rds_cluster_parameter_group.main[0].name
  storage_encrypted               = true
  kms_key_id                      = data.aws_kms_key.main.arn

  backup_retention_period      = var.backup_days
  preferred_backup_window      = local.backup_window
  preferred_maintenance_window = local.maintenance_window
  copy_tags_to_snapshot        = true
  deletion_protection          = var.deletion_protection
  final_snapshot_identifier    = "${var.name}-final"

  enabled_cloudwatch_logs_exports = ["postgresql"]

  serverlessv2_scaling_configuration {
    min_capacity = var.database_min_acu
    max_capacity = var.database_max_acu
  }

  depends_on = [aws_cloudwatch_log_group.database]
}

# A writer, and a reader in another zone that takes over in seconds.
resource "aws_rds_cluster_instance" "main" {
  count = local.is_aurora ? 2 : 0

  identifier         = "${var.name}-${count.index}"
  cluster_identifier = aws_rds_cluster.main[0].id
  engine             = aws_rds_cluster.main[0].engine
  engine_version     = aws_rds_cluster.main[0].engine_version
  instance_class     = "db.serverless"
  # The tier must be 0 or 1, so that the reader scales with the writer and can take over its load at any time.
  promotion_tier = count.index

  publicly_accessible        = false
  ca_cert_identifier         = local.database_ca
  auto_minor_version_upgrade = true
  copy_tags_to_snapshot      = true

  performance_insights_enabled    = true
  performance_insights_kms_key_id = data.aws_kms_key.main.arn
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.database_monitoring[0].arn

  # RDS rejects the role until its policy is attached.
  depends_on = [aws_iam_role_policy_attachment.database_monitoring]
}
