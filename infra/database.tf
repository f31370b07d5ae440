# PostgreSQL: the settings shared by the cluster (aurora.tf) and the single instance (database_instance.tf). RDS
# generates the password, stores it in Secrets Manager and rotates it every week. Terraform never sees it.

locals {
  is_aurora = var.database == "aurora"

  database = local.is_aurora ? {
    host   = aws_rds_cluster.main[0].endpoint
    port   = aws_rds_cluster.main[0].port
    name   = aws_rds_cluster.main[0].database_name
    user   = aws_rds_cluster.main[0].master_username
    secret = aws_rds_cluster.main[0].master_user_secret[0].secret_arn
    } : {
    host   = aws_db_instance.main[0].address
    port   = aws_db_instance.main[0].port
    name   = aws_db_instance.main[0].db_name
    user   = aws_db_instance.main[0].username
    secret = aws_db_instance.main[0].master_user_secret[0].secret_arn
  }

  database_parameters = {
    "rds.force_ssl" = "1"
    # Log only schema changes and slow statements, because statements contain link targets.
    log_statement              = "ddl"
    log_min_duration_statement = "500"
  }

  backup_window      = "02:00-03:00"
  maintenance_window = "sun:03:30-sun:04:30"
  database_ca        = "rds-ca-rsa2048-g1"
}

resource "aws_db_subnet_group" "main" {
  name       = var.name
  subnet_ids = local.private_subnet_ids
}
