//! The database schema, and its migrations.

use rusqlite::{Connection, TransactionBehavior};

use crate::store::{
    StoreError,
    schema::{Schema, written_before_schema_1},
};

/// The `PRAGMA application_id` of this service: `urls` in ASCII.
const APPLICATION_ID: i32 = 0x7572_6c73;

/// The number of pages in the WAL that triggers a checkpoint.
///
/// A checkpoint writes each changed page once, so rarer checkpoints write fewer pages. Four times SQLite's default
/// saves a third of a busy writer's time, at the cost of a WAL of 16 MiB.
const CHECKPOINT_PAGES: u32 = 4000;

/// The size of the writer's page cache, in KiB.
///
/// New keys are spread over the whole index, so most of the index should fit into the cache.
const WRITER_CACHE_KIB: i32 = 8000;

/// The migrations in order, each with the `readable_from` that it sets.
const MIGRATIONS: &[(&str, u32)] = &[
    (include_str!("001.sql"), 1),
    (include_str!("002.sql"), 1),
    (include_str!("003.sql"), 1),
    (include_str!("004.sql"), 1),
];

/// Returns whether the file belongs to another application.
///
/// A foreign file has tables, but not the application id of this service.
pub(super) fn is_foreign(connection: &Connection) -> rusqlite::Result<bool> {
    let application: i32 = connection.query_row("PRAGMA application_id", (), |row| row.get(0))?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    Ok(application != APPLICATION_ID && tables > 0)
}

/// Returns the error for another application's file.
pub(super) fn foreign() -> StoreError {
    StoreError::unavailable("the file is the database of another application")
}

/// Turns on WAL and migrates the schema.
///
/// # Errors
/// [`StoreError::Unavailable`] if the file belongs to another application, has a newer schema, or can't be written.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    let journal: String = connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
    if journal != "wal" {
        return Err(StoreError::unavailable(format!("journal mode {journal} can't be changed to WAL")));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;

    migrate(connection, MIGRATIONS)
}

/// Applies the missing migrations in one transaction.
fn migrate(connection: &mut Connection, migrations: &[(&str, u32)]) -> Result<(), StoreError> {
    let migration = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if is_foreign(&migration)? {
        return Err(foreign());
    }
    // Early builds kept their schema version in `user_version`.
    let early: u32 = migration.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    if early > 0 {
        return Err(written_before_schema_1());
    }
    // Avoid unnecessary writes: each commit invalidates the caches of other processes.
    if !migration.table_exists(None, "schema")? {
        migration.pragma_update(None, "application_id", APPLICATION_ID)?;
        migration.execute_batch(
            "CREATE TABLE schema (version INTEGER NOT NULL, readable_from INTEGER NOT NULL) STRICT;
             INSERT INTO schema VALUES (0, 0)",
        )?;
    }
    let applied = migration.query_row("SELECT version, readable_from FROM schema", (), |row| {
        Ok(Schema { version: row.get(0)?, readable_from: row.get(1)? })
    })?;
    let newest = u32::try_from(migrations.len()).map_err(StoreError::unavailable)?;
    applied.check(newest)?;
    for (version, (sql, readable_from)) in (1..).zip(migrations).skip(applied.version as usize) {
        migration.execute_batch(sql)?;
        migration.execute("UPDATE schema SET version = ?, readable_from = ?", (version, readable_from))?;
    }
    Ok(migration.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(prepared: Result<(), StoreError>) -> String {
        let Err(StoreError::Unavailable(reason)) = prepared else { panic!("another result: {prepared:?}") };
        reason.to_string()
    }

    fn schema(connection: &Connection) -> (u32, u32) {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        connection.query_row("SELECT version, readable_from FROM schema", (), row).unwrap()
    }

    #[test]
    fn a_file_of_another_application_or_an_early_build_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut foreign = Connection::open(directory.path().join("foreign.db")).unwrap();
        foreign.execute_batch("CREATE TABLE music (title TEXT)").unwrap();
        assert_eq!(refusal(prepare(&mut foreign)), "the file is the database of another application");

        let mut early = Connection::open(directory.path().join("early.db")).unwrap();
        early.execute_batch("CREATE TABLE links (key TEXT)").unwrap();
        early.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        early.pragma_update(None, "user_version", 1).unwrap();
        let advice = refusal(prepare(&mut early));
        assert!(advice.contains("urlshort export") && advice.contains("urlshort import"), "{advice}");
    }

    #[test]
    fn a_newer_file_is_refused_only_if_this_program_can_not_use_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(directory.path().join("links.db")).unwrap();
        prepare(&mut connection).unwrap();
        let current = u32::try_from(MIGRATIONS.len()).unwrap();
        assert_eq!(schema(&connection), (current, 1));

        let newer = [MIGRATIONS, &[("ALTER TABLE links ADD COLUMN extra TEXT", 1)]].concat();
        migrate(&mut connection, &newer).unwrap();
        assert_eq!(schema(&connection), (current + 1, 1));
        prepare(&mut connection).unwrap();
        assert_eq!(schema(&connection), (current + 1, 1), "nothing is taken back");

        let breaking = [&newer[..], &[("DROP INDEX counts_by_clicks", current + 2)]].concat();
        migrate(&mut connection, &breaking).unwrap();
        let refused = refusal(prepare(&mut connection));
        assert!(
            refused.contains(&format!("needs a program of schema {} or later", current + 2)),
            "{refused}"
        );
    }

    #[test]
    fn preparing_twice_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(directory.path().join("links.db")).unwrap();
        prepare(&mut connection).unwrap();
        let next = |connection: &Connection| {
            connection.query_row("SELECT next FROM counters", (), |row| row.get::<_, u64>(0)).unwrap()
        };
        assert_eq!(next(&connection), crate::store::FIRST_NUMBER);
        let observer = Connection::open(directory.path().join("links.db")).unwrap();
        let data_version =
            || observer.query_row("PRAGMA data_version", (), |row| row.get::<_, i64>(0)).unwrap();
        connection.execute("UPDATE counters SET next = 5000", ()).unwrap();
        let before = data_version();
        prepare(&mut connection).unwrap();
        assert_eq!(data_version(), before, "nothing is written");
        assert_eq!(next(&connection), 5000);
    }
}
