//! Links in one SQLite file, for one machine.
//!
//! WAL with `synchronous=FULL`: a commit returns after its fsync, and readers never wait for the writer. All writes
//! go through one thread that commits whatever waits as one transaction (group commit), see [`worker`].

mod schema;
mod worker;

use std::{num::NonZeroU32, ops::Range, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, types::Type};

use self::worker::{Mode, Worker};
use super::{Store, StoreError};
use crate::link::{Key, Link};

/// Threads that read, so that one slow page of the disk does not hold up every other look-up.
const READERS: usize = 2;

/// How long SQLite itself waits for another process that holds the file's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// A store in one file.
pub(super) struct SqliteStore {
    writer: Worker,
    reader: Worker,
}

impl SqliteStore {
    /// Opens the file at `path`, makes it where it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: not a database of this service, a newer schema, or the file system's reason.
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(&path)).await;
        opened.map_err(StoreError::unavailable)?
    }

    fn open_blocking(path: &Path) -> Result<Self, StoreError> {
        let writable = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut writer = connect(path, writable)?;
        schema::prepare(&mut writer)?;
        let readers = (0..READERS).map(|_| Ok(connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?));
        Ok(Self {
            writer: Worker::start("sqlite-write", vec![writer], Mode::Write)?,
            reader: Worker::start("sqlite-read", readers.collect::<Result<_, StoreError>>()?, Mode::Read)?,
        })
    }
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

#[async_trait]
impl Store for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn put_if_absent(&self, link: Link) -> Result<bool, StoreError> {
        let insert = move |db: &Connection| {
            let mut statement = db.prepare_cached(
                "INSERT INTO links (key, target, created_at, expires_at, max_visits, taken_down_at)
                 VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )?;
            let inserted = statement.execute((
                link.key.as_str(),
                link.target.as_str(),
                link.created_at.as_millisecond(),
                link.expires_at.map(Timestamp::as_millisecond),
                link.max_visits.map(NonZeroU32::get),
                link.taken_down_at.map(Timestamp::as_millisecond),
            ))?;
            Ok(inserted == 1)
        };
        self.writer.call(insert).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Link>>, StoreError> {
        let key = key.clone();
        let select = move |db: &Connection| {
            let mut statement = db.prepare_cached(
                "SELECT key, target, created_at, expires_at, max_visits, taken_down_at FROM links WHERE key = ?",
            )?;
            statement.query_row([key.as_str()], read_link).optional()
        };
        Ok(self.reader.call(select).await?.map(Arc::new))
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

    async fn add_clicks(&self, clicks: Vec<(Key, u64)>) -> Result<(), StoreError> {
        let add = move |db: &Connection| {
            let mut statement = db.prepare_cached("UPDATE links SET clicks = clicks + ? WHERE key = ?")?;
            for (key, count) in &clicks {
                statement.execute((count, key.as_str()))?;
            }
            Ok(())
        };
        self.writer.call(add).await
    }

    async fn clicks(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        let key = key.clone();
        let select = move |db: &Connection| {
            let mut statement = db.prepare_cached("SELECT clicks FROM links WHERE key = ?")?;
            statement.query_row([key.as_str()], |row| row.get(0)).optional()
        };
        self.reader.call(select).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.reader.call(|db| db.query_row("SELECT 1 FROM counters", (), |_| Ok(()))).await
    }

    async fn close(&self) {
        self.writer.stop().await;
        self.reader.stop().await;
    }
}

fn read_link(row: &Row<'_>) -> rusqlite::Result<Link> {
    let text = |column| -> rusqlite::Result<String> { row.get(column) };
    let time = |column: usize, value: i64| {
        Timestamp::from_millisecond(value).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, Box::new(error))
        })
    };
    let optional_time = |column: usize| -> rusqlite::Result<Option<Timestamp>> {
        row.get::<_, Option<i64>>(column)?.map(|value| time(column, value)).transpose()
    };
    Ok(Link {
        key: text(0)?.parse().map_err(|error| invalid_text(0, error))?,
        target: text(1)?.parse().map_err(|error| invalid_text(1, error))?,
        created_at: time(2, row.get(2)?)?,
        expires_at: optional_time(3)?,
        max_visits: row.get::<_, Option<u32>>(4)?.and_then(NonZeroU32::new),
        taken_down_at: optional_time(5)?,
    })
}

fn invalid_text(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
                Self::corrupt(error)
            }
            error => Self::unavailable(error),
        }
    }
}
