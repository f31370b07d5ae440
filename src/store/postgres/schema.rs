//! The schema of the database, and its migrations.

use sqlx::{Connection, Executor, PgConnection, postgres::PgDatabaseError};

use super::channel::UNDEFINED_TABLE;
use crate::store::{
    StoreError,
    schema::{Schema, written_by_early_build},
};

/// The migrations in order, each with its new `readable_from`.
const MIGRATIONS: &[(&str, u32)] = &[(include_str!("001.sql"), 1)];

/// The tables in which early builds kept their schema version.
const EARLY_TABLES: [&str; 2] = ["schema_version", "schema"];

/// The maximum number of retries of migrations that conflict with another instance.
const ATTEMPTS: u32 = 10;

/// Migrates the schema.
///
/// Instances that start at the same time may all try. Each migration is one transaction: it succeeds for one instance,
/// and the others find it already applied.
///
/// # Errors
/// [`StoreError::Unavailable`] if the schema needs a newer program, or can't be changed.
pub(super) async fn prepare(connection: &mut PgConnection) -> Result<(), StoreError> {
    let is_new = !has_table(connection, "schema_history").await?;
    for early in EARLY_TABLES {
        if is_new && has_table(connection, early).await? {
            return Err(written_by_early_build());
        }
    }
    let mut attempt = 0;
    let schema = loop {
        match migrate(connection, is_new).await {
            Err(sqlx::Error::Database(error)) if attempt < ATTEMPTS && was_concurrent(error.as_ref()) => {
                attempt += 1
            }
            result => break result?,
        }
    };
    schema.check(u32::try_from(MIGRATIONS.len()).map_err(StoreError::unavailable)?)
}

async fn has_table(connection: &mut PgConnection, name: &'static str) -> Result<bool, sqlx::Error> {
    let select = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {name} WHERE false"));
    match connection.execute(select).await {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Applies the missing migrations, and returns the resulting schema.
async fn migrate(connection: &mut PgConnection, is_new: bool) -> Result<Schema, sqlx::Error> {
    if is_new {
        // The primary key ensures that only one instance applies a migration.
        let table = "CREATE TABLE IF NOT EXISTS schema_history (
            version BIGINT PRIMARY KEY,
            readable_from BIGINT NOT NULL
        )";
        connection.execute(table).await?;
    }
    loop {
        let mut migration = connection.begin().await?;
        let newest: Option<(i64, i64)> =
            sqlx::query_as("SELECT version, readable_from FROM schema_history ORDER BY version DESC LIMIT 1")
                .fetch_optional(&mut *migration)
                .await?;
        let number = |value| u32::try_from(value).unwrap_or(u32::MAX);
        let (version, readable_from) = newest.unwrap_or_default();
        let schema = Schema { version: number(version), readable_from: number(readable_from) };
        let Some((sql, readable_from)) = MIGRATIONS.get(schema.version as usize) else { return Ok(schema) };
        sqlx::query("INSERT INTO schema_history (version, readable_from) VALUES ($1, $2)")
            .bind(version + 1)
            .bind(i64::from(*readable_from))
            .execute(&mut *migration)
            .await?;
        migration.execute(*sql).await?;
        migration.commit().await?;
    }
}

/// Returns whether a statement conflicted with another instance.
fn was_concurrent(error: &dyn sqlx::error::DatabaseError) -> bool {
    const UNIQUE_VIOLATION: &str = "23505";
    const DUPLICATE_TABLE: &str = "42P07";
    // A table is also a type, and PostgreSQL may detect the duplicate type first.
    const DUPLICATE_OBJECT: &str = "42710";
    const SERIALIZATION_FAILURE: &str = "40001";
    const DEADLOCK_DETECTED: &str = "40P01";
    let code = error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::code);
    matches!(
        code,
        Some(
            UNIQUE_VIOLATION | DUPLICATE_TABLE | DUPLICATE_OBJECT | SERIALIZATION_FAILURE | DEADLOCK_DETECTED
        )
    )
}
