//! A store in one SQLite file, for one machine.
//!
//! The database uses WAL with `synchronous=FULL`: a commit returns after its fsync, and readers never wait for the
//! writer. One thread does all writes. It commits all queued calls in one transaction (group commit). See [`worker`].
//! Clicks on many links go through a journal. See [`tally_writer`].

mod access;
mod blocked;
mod journal;
mod listing;
mod merge;
mod pacer;
mod purge;
mod rows;
mod schema;
mod tally_writer;
mod worker;

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    ops::{Bound, Range},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use jiff::civil::Date;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, ffi};

use self::{
    tally_writer::TallyWriter,
    worker::{Mode, Worker},
};
use super::{
    Change, Changed, DayPurge, History, PurgedDays, Record, Secret, Store, StoreError,
    listing::{Listing, Page},
    row,
};
use crate::{
    blocked_hosts::{BlockedHost, HostPattern},
    clicks::{DayCounts, Tally},
    link::{Key, Link, Revision},
};

/// The number of reader threads. With only one, a slow disk read would delay all other lookups.
const READERS: usize = 2;

/// How long SQLite waits for another process's lock on the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// How often to check for writes by other processes, such as an import.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// A store in one SQLite file.
pub(super) struct SqliteStore {
    file: DatabaseFile,
    writer: Arc<Worker>,
    reader: Worker,
    /// Runs searches, because they are slow and lookups must not wait for them.
    searcher: Worker,
    tallies: Arc<TallyWriter>,
}

impl SqliteStore {
    /// Opens or creates the file at `path`, and migrates its schema.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the file belongs to another application, has a newer schema, or can't be opened.
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let open = move || {
            let opened = Self::open_blocking(&path);
            opened.map_err(|error| access::obstacle(&path).map_or(error, StoreError::unavailable))
        };
        let store = tokio::task::spawn_blocking(open).await.map_err(StoreError::unavailable)??;
        store.tallies.recover().await;
        Ok(store)
    }

    fn open_blocking(path: &Path) -> Result<Self, StoreError> {
        DatabaseFile::make_private(path);
        let to_read = || connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        // Write nothing to another application's database. If the file can't be read yet, `prepare` checks it.
        if let Ok(true) = to_read().and_then(|connection| schema::is_foreign(&connection)) {
            return Err(schema::foreign());
        }
        let mut writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        // SQLite opens a file without write permission as read-only instead of returning an error.
        if writer.is_readonly(MAIN_DB)? {
            return Err(StoreError::unavailable("the database file can't be written"));
        }
        schema::prepare(&mut writer)?;
        let reader = || {
            let reader = to_read()?;
            // A connection opens the WAL on its first query. Run one now, because the process may have no file
            // descriptors left later.
            probe(&reader)?;
            Ok(reader)
        };
        let readers = (0..READERS).map(|_| reader()).collect::<Result<_, StoreError>>()?;
        let file = DatabaseFile::opened(path)?;
        let writer = Arc::new(Worker::start("sqlite-write", vec![writer], Mode::Write(file.clone()))?);
        Ok(Self {
            tallies: Arc::new(TallyWriter::new(writer.clone())),
            writer,
            reader: Worker::start("sqlite-read", readers, Mode::Read)?,
            searcher: Worker::start("sqlite-search", vec![reader()?], Mode::Read)?,
            file,
        })
    }

    /// Runs `change`, which changes the link with this key.
    ///
    /// `change` returns the number of changed rows.
    async fn change<F>(&self, key: Key, change: F) -> Result<Change, StoreError>
    where
        F: Fn(&Connection) -> rusqlite::Result<usize> + Send + 'static,
    {
        let try_change = move |db: &Connection| {
            if change(db)? > 0 {
                return Ok(Change::Done);
            }
            let known = db.prepare_cached("SELECT 1 FROM links WHERE key = ?")?.exists([key.as_str()])?;
            Ok(if known { Change::Conflict } else { Change::Missing })
        };
        self.writer.call(try_change).await
    }
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A temporary file would need a file descriptor, and the process may have none left.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Reads only the first page of the file.
///
/// Damage to any other page does not affect the whole store.
fn probe(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))
}

/// The path and the identity of the open database file.
#[derive(Clone, Debug)]
struct DatabaseFile {
    path: Arc<PathBuf>,
    device: u64,
    inode: u64,
}

impl DatabaseFile {
    /// Creates a missing file that only its owner can access.
    ///
    /// SQLite gives the WAL the same mode. Errors are ignored here, because SQLite then returns a better one.
    fn make_private(path: &Path) {
        let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    }

    /// Records the identity of the open file at `path`.
    fn opened(path: &Path) -> Result<Self, StoreError> {
        let metadata = fs::metadata(path).map_err(StoreError::unavailable)?;
        Ok(Self { path: Arc::new(path.to_owned()), device: metadata.dev(), inode: metadata.ino() })
    }

    /// Checks that the path still refers to the open file.
    ///
    /// If it does not, links written to the open file would be lost when the process ends.
    fn check(&self) -> Result<(), StoreError> {
        match fs::metadata(&*self.path) {
            Ok(now) if (now.dev(), now.ino()) == (self.device, self.inode) => Ok(()),
            Ok(_) => {
                Err(StoreError::unavailable("the database file was replaced; restart to use the new one"))
            }
            Err(error) => Err(StoreError::unavailable(format!("the database file is not there: {error}"))),
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn put_if_absent(&self, link: Link, history: History) -> Result<bool, StoreError> {
        let doc = row::encode(&link.doc)?;
        self.writer.call(move |db| rows::insert(db, &link, &doc, &history)).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.tallies.recovered().await;
        let key = key.clone();
        self.reader.call(move |db| rows::get(db, &key)).await
    }

    async fn find(&self, key: &Key) -> Result<Option<Arc<Link>>, StoreError> {
        let key = key.clone();
        self.reader.call(move |db| rows::find(db, &key)).await
    }

    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError> {
        let (key, doc) = (link.key.clone(), row::encode(&link.doc)?);
        self.change(key, move |db| rows::update(db, &link, &doc, expected)).await
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Change, StoreError> {
        let deleted = key.clone();
        self.change(key.clone(), move |db| rows::delete(db, &deleted, expected)).await
    }

    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError> {
        let key = key.clone();
        self.writer.call(move |db| rows::use_visit(db, &key)).await
    }

    async fn list(&self, listing: &Listing) -> Result<Page, StoreError> {
        self.tallies.recovered().await;
        let worker = if listing.filter.is_search() { &self.searcher } else { &self.reader };
        let listing = listing.clone();
        worker.call(move |db| listing::list(db, &listing)).await
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        let take = move |db: &Connection| {
            let mut statement =
                db.prepare_cached("UPDATE counters SET next = next + ? WHERE name = 'key' RETURNING next")?;
            let next: u64 = statement.query_row([count], |row| row.get(0))?;
            Ok(next - u64::from(count)..next)
        };
        self.writer.call(take).await
    }

    async fn secret(&self, proposed: Secret) -> Result<Secret, StoreError> {
        let secret = move |db: &Connection| {
            db.execute(
                "INSERT INTO secrets (name, value) VALUES ('sessions', ?) ON CONFLICT DO NOTHING",
                [proposed.0],
            )?;
            db.query_row("SELECT value FROM secrets WHERE name = 'sessions'", (), |row| row.get(0))
        };
        self.writer.call(secret).await.and_then(|bytes: Vec<u8>| bytes.try_into())
    }

    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<Vec<(Key, StoreError)>, StoreError> {
        self.tallies.add(tallies).await?;
        Ok(Vec::new())
    }

    fn take_lost_clicks(&self) -> u64 {
        self.tallies.take_lost()
    }

    async fn day_counts(
        &self,
        key: &Key,
        first: Date,
        last: Date,
    ) -> Result<BTreeMap<Date, DayCounts>, StoreError> {
        self.tallies.recovered().await;
        let key = key.clone();
        self.reader.call(move |db| rows::day_counts(db, &key, first, last)).await
    }

    async fn block_host(&self, entry: BlockedHost, max: u32) -> Result<bool, StoreError> {
        self.writer.call(move |db| blocked::put(db, &entry, max)).await
    }

    async fn unblock_host(&self, host: &HostPattern) -> Result<bool, StoreError> {
        let host = host.clone();
        self.writer.call(move |db| blocked::delete(db, &host)).await
    }

    async fn blocked_hosts(
        &self,
        from: Bound<&HostPattern>,
        limit: usize,
    ) -> Result<Vec<BlockedHost>, StoreError> {
        let from = from.cloned();
        self.reader.call(move |db| blocked::list(db, &from, limit)).await
    }

    async fn blocked_hosts_revision(&self) -> Result<u64, StoreError> {
        self.reader.call(blocked::revision).await
    }

    async fn purge_days(&self, purge: &DayPurge) -> Result<PurgedDays, StoreError> {
        let request = purge.clone();
        let (old, next) = self.searcher.call(move |db| purge::old_days(db, &request)).await?;
        let days = match old.len() as u64 {
            found if found == 0 || purge.dry_run => found,
            _ => self.writer.call(move |db| purge::remove_days(db, &old)).await?,
        };
        Ok(PurgedDays { days, next })
    }

    async fn check(&self) -> Result<(), StoreError> {
        let file = self.file.clone();
        let check = move |db: &Connection| {
            probe(db)?;
            Ok(file.check())
        };
        self.reader.call(check).await?
    }

    async fn watch(&self, changed: &(dyn Fn(Changed) + Send + Sync)) -> StoreError {
        // On the writer's connection, only commits by other processes change `data_version`.
        let version = || {
            self.writer
                .call_in_background(|db| db.query_row("PRAGMA data_version", (), |row| row.get::<_, i64>(0)))
        };
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        let mut seen = None;
        loop {
            ticks.tick().await;
            match version().await {
                Ok(version) if seen.replace(version).is_none_or(|seen| seen != version) => {
                    changed(Changed::Anything)
                }
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    async fn close(&self) {
        self.tallies.close().await;
        // Stop the writer last: the last connection checkpoints and removes the WAL, which a read-only one can't do.
        self.reader.stop().await;
        self.searcher.stop().await;
        self.writer.stop().await;
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
                Self::corrupt(error)
            }
            error if is_damage(&error) => Self::corrupt(error),
            error => Self::unavailable(error),
        }
    }
}

/// Returns whether an error means that part of the file is damaged.
///
/// A part that can't be read counts as damaged. Other parts may be intact.
fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            || matches!(
                error.extended_code,
                ffi::SQLITE_IOERR_READ
                    | ffi::SQLITE_IOERR_SHORT_READ
                    | ffi::SQLITE_IOERR_DATA
                    | ffi::SQLITE_IOERR_CORRUPTFS
            )
    })
}
