//! The tables, and how an older database gets them.

use sqlx::{Connection, Executor, PgConnection, postgres::PgDatabaseError};

use crate::store::{FIRST_NUMBER, StoreError};

/// The steps from an empty database to the newest schema; `schema_version` says how many it has taken.
/// Times are milliseconds since the Unix epoch.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE links (
        key TEXT PRIMARY KEY,
        target TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT,
        max_visits BIGINT,
        taken_down_at BIGINT,
        redirect BIGINT NOT NULL,
        forward_query BOOLEAN NOT NULL,
        title TEXT,
        tags TEXT NOT NULL,
        password TEXT,
        version BIGINT NOT NULL,
        clicks BIGINT NOT NULL,
        visits BIGINT NOT NULL
    );
    CREATE INDEX links_by_creation ON links (created_at, key);
    CREATE INDEX links_by_clicks ON links (clicks, key) WHERE clicks > 0;
    CREATE TABLE day_counts (
        key TEXT NOT NULL,
        day INTEGER NOT NULL,
        kind TEXT NOT NULL,
        value TEXT NOT NULL,
        count BIGINT NOT NULL,
        PRIMARY KEY (key, day, kind, value)
    );
    CREATE TABLE counters (name TEXT PRIMARY KEY, next BIGINT NOT NULL);
"];

/// How often a step is tried again that failed because another instance took it at the same time.
const ATTEMPTS: u32 = 10;

/// Brings the schema up to date. Instances that start at the same time may all try: each step is one transaction, of
/// which one succeeds and the others find it done.
///
/// # Errors
/// [`StoreError::Unavailable`] where the schema is newer than this program, or can't be changed.
pub(super) async fn prepare(connection: &mut PgConnection) -> Result<(), StoreError> {
    let mut attempt = 0;
    loop {
        match migrate(connection).await {
            Err(sqlx::Error::Database(error)) if attempt < ATTEMPTS && was_concurrent(error.as_ref()) => {
                attempt += 1
            }
            Err(error) => return Err(error.into()),
            Ok(version) if version > MIGRATIONS.len() => {
                return Err(StoreError::unavailable(format!(
                    "the database has schema version {version}, newer than this program's {}",
                    MIGRATIONS.len()
                )));
            }
            Ok(_) => return Ok(()),
        }
    }
}

/// Takes the steps that are missing and returns the version that the schema then has.
async fn migrate(connection: &mut PgConnection) -> Result<usize, sqlx::Error> {
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)").await?;
    loop {
        let mut step = connection.begin().await?;
        let taken: i64 =
            sqlx::query_scalar("SELECT count(*) FROM schema_version").fetch_one(&mut *step).await?;
        let taken = usize::try_from(taken).unwrap_or(0);
        let Some(statements) = MIGRATIONS.get(taken) else { return Ok(taken) };
        // The primary key lets one instance alone take this step.
        let version = i64::try_from(taken + 1).unwrap_or(i64::MAX);
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *step)
            .await?;
        step.execute(*statements).await?;
        if taken == 0 {
            let first = i64::try_from(FIRST_NUMBER).unwrap_or(i64::MAX);
            let counter = sqlx::query("INSERT INTO counters (name, next) VALUES ('key', $1)");
            counter.bind(first).execute(&mut *step).await?;
        }
        step.commit().await?;
    }
}

/// Whether a statement failed only because another instance did the same at the same time.
fn was_concurrent(error: &dyn sqlx::error::DatabaseError) -> bool {
    const UNIQUE_VIOLATION: &str = "23505";
    const DUPLICATE_TABLE: &str = "42P07";
    const SERIALIZATION_FAILURE: &str = "40001";
    const DEADLOCK_DETECTED: &str = "40P01";
    let code = error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::code);
    matches!(code, Some(UNIQUE_VIOLATION | DUPLICATE_TABLE | SERIALIZATION_FAILURE | DEADLOCK_DETECTED))
}
