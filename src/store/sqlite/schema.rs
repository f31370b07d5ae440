//! The database schema, and its migrations.

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};

use crate::store::{
    StoreError,
    schema::{Schema, written_by_early_build},
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
const MIGRATIONS: &[(&str, u32)] = &[(include_str!("001.sql"), 1)];

/// Returns whether the file belongs to another application.
///
/// A foreign file has tables, but not the application id of this service.
pub(super) fn is_foreign(connection: &Connection) -> rusqlite::Result<bool> {
    let application: i32 = connection.query_row("PRAGMA application_id", (), |row| row.get(0))?;
    Ok(application != APPLICATION_ID && has_tables(connection)?)
}

fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) > 0 FROM sqlite_schema", (), |row| row.get(0))
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
    // Avoid unnecessary writes: each commit invalidates the caches of other processes.
    if !migration.table_exists(None, "schema_history")? {
        if has_tables(&migration)? {
            return Err(written_by_early_build());
        }
        migration.pragma_update(None, "application_id", APPLICATION_ID)?;
        migration.execute_batch(
            "CREATE TABLE schema_history (version INTEGER PRIMARY KEY, readable_from INTEGER NOT NULL) STRICT",
        )?;
    }
    let applied = applied(&migration)?.unwrap_or(Schema { version: 0, readable_from: 0 });
    let newest = u32::try_from(migrations.len()).map_err(StoreError::unavailable)?;
    applied.check(newest)?;
    for (version, (sql, readable_from)) in (1..).zip(migrations).skip(applied.version as usize) {
        migration.execute_batch(sql)?;
        migration.execute("INSERT INTO schema_history VALUES (?, ?)", (version, readable_from))?;
    }
    Ok(migration.commit()?)
}

/// Returns the schema after the newest migration that was applied.
fn applied(connection: &Connection) -> rusqlite::Result<Option<Schema>> {
    let newest = "SELECT version, readable_from FROM schema_history ORDER BY version DESC LIMIT 1";
    let row = |row: &Row<'_>| Ok(Schema { version: row.get(0)?, readable_from: row.get(1)? });
    connection.query_row(newest, (), row).optional()
}

#[cfg(test)]
mod tests {
    use std::{path::Path, thread, time::Duration};

    use super::*;

    /// Schema 2 of a made-up release, which this program can still use.
    const ADDITION: (&str, u32) = ("ALTER TABLE links ADD COLUMN extra TEXT", 1);
    /// Schema 3 of a made-up release, which needs a program that knows schema 3.
    const BREAK: (&str, u32) = ("DROP INDEX counts_by_clicks", 3);

    fn open(directory: &Path) -> Connection {
        let connection = Connection::open(directory.join("links.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        connection
    }

    fn migrations(later: &[(&'static str, u32)]) -> Vec<(&'static str, u32)> {
        [MIGRATIONS, later].concat()
    }

    fn refusal(prepared: Result<(), StoreError>) -> String {
        let Err(StoreError::Unavailable(reason)) = prepared else { panic!("another result: {prepared:?}") };
        reason.to_string()
    }

    fn history(connection: &Connection) -> Vec<(u32, u32)> {
        let mut select = connection.prepare("SELECT version, readable_from FROM schema_history").unwrap();
        let rows = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
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
        let advice = refusal(prepare(&mut early));
        assert!(advice.contains("urlshort export") && advice.contains("urlshort import"), "{advice}");
    }

    #[test]
    fn a_later_migration_keeps_the_links_and_runs_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = open(directory.path());
        prepare(&mut connection).unwrap();
        assert_eq!(history(&connection), [(1, 1)]);
        connection.execute("INSERT INTO links VALUES ('k', 0, 1, '{}')", ()).unwrap();
        for _ in 0..2 {
            migrate(&mut connection, &migrations(&[ADDITION])).unwrap();
            assert_eq!(history(&connection), [(1, 1), (2, 1)]);
        }
        let kept = "SELECT count(*) FROM links WHERE key = 'k' AND extra IS NULL";
        assert_eq!(connection.query_row(kept, (), |row| row.get(0)), Ok(1));
    }

    #[test]
    fn a_newer_file_is_refused_only_if_this_program_can_not_use_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = open(directory.path());
        migrate(&mut connection, &migrations(&[ADDITION])).unwrap();
        prepare(&mut connection).unwrap();
        assert_eq!(history(&connection), [(1, 1), (2, 1)], "nothing is taken back");

        migrate(&mut connection, &migrations(&[ADDITION, BREAK])).unwrap();
        let refused = refusal(prepare(&mut connection));
        assert!(refused.contains("needs a program of schema 3 or later"), "{refused}");
    }

    #[test]
    fn a_failed_migration_leaves_the_file_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = open(directory.path());
        prepare(&mut connection).unwrap();
        let tables = |connection: &Connection| -> String {
            let sql = "SELECT group_concat(sql) FROM sqlite_schema";
            connection.query_row(sql, (), |row| row.get(0)).unwrap()
        };
        let before = tables(&connection);
        let broken = migrations(&[ADDITION, ("DROP TABLE counts; DROP TABLE missing", 3)]);
        let error = refusal(migrate(&mut connection, &broken));
        assert!(error.contains("no such table: missing"), "{error}");
        assert_eq!((history(&connection), tables(&connection)), (vec![(1, 1)], before));
        prepare(&mut connection).unwrap();
    }

    #[test]
    fn instances_that_start_at_the_same_time_migrate_once() {
        let directory = tempfile::tempdir().unwrap();
        prepare(&mut open(directory.path())).unwrap();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    migrate(&mut open(directory.path()), &migrations(&[ADDITION])).unwrap();
                });
            }
        });
        assert_eq!(history(&open(directory.path())), [(1, 1), (2, 1)]);
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
