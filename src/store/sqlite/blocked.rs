//! SQL statements for blocked hosts.

use std::ops::Bound;

use rusqlite::{Connection, Row};

use super::rows::damaged;
use crate::{
    blocked_hosts::{BlockedHost, HostPattern},
    store::row::{self, unsigned},
};

/// Adds or replaces an entry.
///
/// Returns false if there are already `max` other entries.
pub(super) fn put(db: &Connection, entry: &BlockedHost, max: u32) -> rusqlite::Result<bool> {
    let mut upsert = db.prepare_cached(
        "INSERT INTO blocked_hosts (host, reason, blocked_by, blocked_at) SELECT ?1, ?2, ?3, ?4
         WHERE (SELECT count(*) FROM blocked_hosts) < ?5 OR EXISTS (SELECT 1 FROM blocked_hosts WHERE host = ?1)
         ON CONFLICT (host) DO UPDATE
         SET reason = excluded.reason, blocked_by = excluded.blocked_by, blocked_at = excluded.blocked_at",
    )?;
    let BlockedHost { host, reason, blocked_by, blocked_at } = entry;
    let reason = reason.as_ref().map(|reason| reason.as_str());
    let row = (host.as_str(), reason, blocked_by.as_str(), blocked_at.as_millisecond(), max);
    count_change(db, upsert.execute(row)?)
}

/// Removes an entry, and returns whether it existed.
pub(super) fn delete(db: &Connection, host: &HostPattern) -> rusqlite::Result<bool> {
    let deleted = db.prepare_cached("DELETE FROM blocked_hosts WHERE host = ?")?.execute([host.as_str()])?;
    count_change(db, deleted)
}

fn count_change(db: &Connection, changed_rows: usize) -> rusqlite::Result<bool> {
    if changed_rows > 0 {
        db.prepare_cached("UPDATE counters SET next = next + 1 WHERE name = 'blocked_hosts'")?.execute(())?;
    }
    Ok(changed_rows > 0)
}

/// Returns at most `limit` entries starting at `from`, sorted by host.
pub(super) fn list(
    db: &Connection,
    from: &Bound<HostPattern>,
    limit: usize,
) -> rusqlite::Result<Vec<BlockedHost>> {
    let (comparison, start) = row::start(from.as_ref());
    let mut statement = db.prepare_cached(&format!(
        "SELECT host, reason, blocked_by, blocked_at FROM blocked_hosts WHERE host {comparison} ? ORDER BY host LIMIT ?"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    statement.query_map((start, limit), read)?.collect()
}

/// Returns the number of changes made to the table so far.
pub(super) fn revision(db: &Connection) -> rusqlite::Result<u64> {
    let mut statement = db.prepare_cached("SELECT next FROM counters WHERE name = 'blocked_hosts'")?;
    statement.query_row((), |row| unsigned(row.get(0)?).map_err(|error| damaged(0, error)))
}

fn read(row: &Row<'_>) -> rusqlite::Result<BlockedHost> {
    let (host, reason, blocked_by): (String, Option<String>, String) =
        (row.get(0)?, row.get(1)?, row.get(2)?);
    row::blocked_host(&host, reason.as_deref(), &blocked_by, row.get(3)?).map_err(|error| damaged(0, error))
}
