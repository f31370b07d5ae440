//! The tables, and how an older file gets them.

use rusqlite::{Connection, TransactionBehavior};

use crate::store::{FIRST_NUMBER, StoreError};

/// `urls` in ASCII; marks a file as this service's own (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x7572_6c73;

/// Pages of the log that are carried over to the file at a time. A page that was written often in between is carried
/// over once, so four times SQLite's own default saves a third of a busy writer's time, for 16 MiB of log.
const CHECKPOINT_PAGES: u32 = 4000;

/// The writer's page cache, in KiB. New keys fall all over the index, so most of it should be at hand.
const WRITER_CACHE_KIB: i32 = 8000;

/// The steps from an empty file to the newest schema; `PRAGMA user_version` says how many a file has taken.
/// Times are milliseconds since the Unix epoch.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE links (
        key TEXT PRIMARY KEY,
        target TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        max_visits INTEGER,
        taken_down_at INTEGER,
        redirect INTEGER NOT NULL,
        forward_query INTEGER NOT NULL,
        title TEXT,
        tags TEXT NOT NULL,
        password TEXT,
        version INTEGER NOT NULL,
        clicks INTEGER NOT NULL,
        visits INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX links_by_creation ON links (created_at, key);
    -- Links that nobody has followed are left out, so that making a link touches one random page, not two.
    CREATE INDEX links_by_clicks ON links (clicks, key) WHERE clicks > 0;
    CREATE TABLE day_counts (
        key TEXT NOT NULL,
        day INTEGER NOT NULL,
        kind TEXT NOT NULL,
        value TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (key, day, kind, value)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE counters (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;
"];

/// Returns whether the file belongs to another application. It has tables then, but not this service's mark.
pub(super) fn is_foreign(connection: &Connection) -> rusqlite::Result<bool> {
    let application: i32 = connection.query_row("PRAGMA application_id", (), |row| row.get(0))?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    Ok(application != APPLICATION_ID && tables > 0)
}

/// The refusal of such a file.
pub(super) fn foreign() -> StoreError {
    StoreError::unavailable("the file is the database of another application")
}

/// Turns on WAL and brings the schema up to date.
///
/// # Errors
/// [`StoreError::Unavailable`] where the file belongs to something else, has a newer schema, or can't be written.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    let journal: String = connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
    if journal != "wal" {
        return Err(StoreError::unavailable(format!("journal mode {journal} can't be changed to WAL")));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;

    let newest = i32::try_from(MIGRATIONS.len()).map_err(StoreError::unavailable)?;
    let migration = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if is_foreign(&migration)? {
        return Err(foreign());
    }
    let version: i32 = migration.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    if version > newest {
        return Err(StoreError::unavailable(format!(
            "the file has schema version {version}, newer than this program's {newest}"
        )));
    }
    for step in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        migration.execute_batch(step)?;
    }
    if version == 0 {
        migration.execute("INSERT INTO counters (name, next) VALUES ('key', ?)", [FIRST_NUMBER])?;
    }
    if version < newest {
        migration.pragma_update(None, "application_id", APPLICATION_ID)?;
        migration.pragma_update(None, "user_version", newest)?;
    }
    Ok(migration.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(connection: &mut Connection) -> String {
        let StoreError::Unavailable(reason) = prepare(connection).unwrap_err() else {
            panic!("another error")
        };
        reason.to_string()
    }

    #[test]
    fn a_file_of_another_kind_or_of_the_future_is_refused() {
        let directory = tempfile::tempdir().unwrap();

        let mut foreign = Connection::open(directory.path().join("foreign.db")).unwrap();
        foreign.execute_batch("CREATE TABLE music (title TEXT)").unwrap();
        assert_eq!(refusal(&mut foreign), "the file is the database of another application");

        let mut newer = Connection::open(directory.path().join("newer.db")).unwrap();
        prepare(&mut newer).unwrap();
        newer.pragma_update(None, "user_version", 99).unwrap();
        assert!(refusal(&mut newer).contains("schema version 99, newer than this program's"));
    }

    #[test]
    fn preparing_twice_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(directory.path().join("links.db")).unwrap();
        prepare(&mut connection).unwrap();
        connection.execute("UPDATE counters SET next = 5000", ()).unwrap();
        prepare(&mut connection).unwrap();
        let next: u64 = connection.query_row("SELECT next FROM counters", (), |row| row.get(0)).unwrap();
        assert_eq!(next, 5000);
    }
}
