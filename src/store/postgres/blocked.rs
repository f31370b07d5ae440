//! The table of blocked hosts.

use std::ops::Bound;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};

use super::{channel::CHANNEL, rows::Announce};
use crate::{
    blocked_hosts::{BlockedHost, HostPattern},
    store::{
        BLOCKED_HOSTS_CHANGED, StoreError,
        row::{self, unsigned},
    },
};

/// Adds or replaces an entry.
///
/// Returns false if there are already `max` other entries.
pub(super) async fn put(
    connection: &mut PgConnection,
    entry: &BlockedHost,
    max: u32,
    announce: Announce,
) -> Result<bool, StoreError> {
    let BlockedHost { host, reason, blocked_by, blocked_at } = entry;
    let upsert = sqlx::query(
        "INSERT INTO blocked_hosts (host, reason, blocked_by, blocked_at) SELECT $1, $2, $3, $4
         WHERE (SELECT count(*) FROM blocked_hosts) < $5 OR EXISTS (SELECT 1 FROM blocked_hosts WHERE host = $1)
         ON CONFLICT (host) DO UPDATE
         SET reason = excluded.reason, blocked_by = excluded.blocked_by, blocked_at = excluded.blocked_at",
    )
    .bind(host.as_str())
    .bind(reason.as_ref().map(|reason| reason.as_str()))
    .bind(blocked_by.as_str())
    .bind(blocked_at.as_millisecond())
    .bind(i64::from(max));
    change(connection, upsert, announce).await
}

/// Removes an entry, and returns whether it existed.
pub(super) async fn delete(
    connection: &mut PgConnection,
    host: &HostPattern,
    announce: Announce,
) -> Result<bool, StoreError> {
    let delete = sqlx::query("DELETE FROM blocked_hosts WHERE host = $1").bind(host.as_str());
    change(connection, delete, announce).await
}

type Query<'a> = sqlx::query::Query<'a, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Runs a change, counts it and announces it. Returns whether anything changed.
async fn change(
    connection: &mut PgConnection,
    change: Query<'_>,
    announce: Announce,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    // The lock on this row serializes changes, which makes the limit on entries exact.
    sqlx::query("UPDATE counters SET next = next + 1 WHERE name = 'blocked_hosts'")
        .execute(&mut *transaction)
        .await?;
    if change.execute(&mut *transaction).await?.rows_affected() == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    if announce == Announce::ByNotification {
        let notify = AssertSqlSafe(format!("SELECT pg_notify('{CHANNEL}', '{BLOCKED_HOSTS_CHANGED}')"));
        sqlx::query(notify).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Returns at most `limit` entries starting at `from`, sorted by host.
pub(super) async fn list(
    connection: &mut PgConnection,
    from: Bound<&HostPattern>,
    limit: usize,
) -> Result<Vec<BlockedHost>, StoreError> {
    let (comparison, start) = row::start(from);
    let select = AssertSqlSafe(format!(
        "SELECT host, reason, blocked_by, blocked_at FROM blocked_hosts WHERE host {comparison} $1
         ORDER BY host LIMIT $2"
    ));
    let rows = sqlx::query(select).bind(start).bind(i64::try_from(limit).unwrap_or(i64::MAX));
    rows.fetch_all(connection).await?.iter().map(read).collect()
}

/// Returns the number of changes made to the table so far.
pub(super) async fn revision(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let select = sqlx::query_scalar("SELECT next FROM counters WHERE name = 'blocked_hosts'");
    unsigned(select.fetch_one(connection).await?)
}

fn read(row: &PgRow) -> Result<BlockedHost, StoreError> {
    row::blocked_host(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)
}
