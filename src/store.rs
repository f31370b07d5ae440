//! Where links are kept: the [`Store`] port, its errors, and the factory that opens one by its URL.

mod batcher;
mod cached;
mod columns;
mod day;
pub mod listing;
pub mod memory;
mod postgres;
mod redis;
mod sqlite;
mod supervised;
mod url;

use std::{ops::Range, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::civil::Date;
use thiserror::Error;

use self::listing::{Cursor, Order};
pub use self::{
    cached::Cached,
    supervised::Supervised,
    url::{InvalidStoreUrl, StoreUrl},
};
use crate::{
    clicks::{DayCount, Facet, Tally},
    link::{Key, Link},
};

/// The first number that [`Store::take_numbers`] hands out in a new store.
pub const FIRST_NUMBER: u64 = 1000;

/// Keeps links, what is counted about them, and the counter that keys are made of.
///
/// One suite of tests, `tests/it/store.rs`, holds for every implementation. Every method can fail with
/// [`StoreError::Unavailable`] and [`StoreError::Timeout`]; those that read links, also with [`StoreError::Corrupt`].
/// After a failed write nobody knows whether it was done, but it was not promised.
#[async_trait]
pub trait Store: Send + Sync {
    /// The name of the technology, for metrics, logs and `/readyz`.
    fn name(&self) -> &'static str;

    /// Keeps `link` and what was counted about it elsewhere, unless its key is taken, as one atomic step, and says
    /// whether it did. It returns once that is as durable as this store can make it.
    async fn put_with_history(&self, link: Link, history: History) -> Result<bool, StoreError>;

    /// Keeps a link that nobody has visited yet, as [`Store::put_with_history`] does.
    async fn put_if_absent(&self, link: Link) -> Result<bool, StoreError> {
        self.put_with_history(link, History::default()).await
    }

    /// The link with this key, whatever its state; `None` where there is none.
    async fn get(&self, key: &Key) -> Result<Option<Arc<Link>>, StoreError>;

    /// The link with this key, where this instance knows it without asking anybody. `None` says nothing about it.
    fn peek(&self, key: &Key) -> Option<Arc<Link>> {
        let _ = key;
        None
    }

    /// Drops what this instance remembers of a link, so that the next look-up asks the store.
    fn forget(&self, key: &Key) {
        let _ = key;
    }

    /// The link with this key and what is counted about it, as fresh as the store has it.
    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError>;

    /// Replaces the link of the same key, as long as its version is still `expected`.
    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError>;

    /// Removes a link and all that was counted about it; where a version is `expected`, only that one.
    async fn delete(&self, key: &Key, expected: Option<u32>) -> Result<Change, StoreError>;

    /// Uses up one of a link's visits, as one atomic step. False where none is left, or the link has gone.
    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError>;

    /// The next `limit` links in `order` behind `after`; fewer only at the end. Damaged links are passed over.
    async fn scan(&self, order: Order, after: Option<Cursor>, limit: usize) -> Result<Scan, StoreError>;

    /// Takes the next `count` numbers of the store's counter, which starts at [`FIRST_NUMBER`]. No number is given
    /// out twice, to any instance, also after a crash.
    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError>;

    /// Adds to the counts of links: all of `tallies`, or nothing where it says so. Links that have gone are left out.
    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<(), StoreError>;

    /// What was counted about a link from day `first` to day `last`, both included, in no order.
    async fn day_counts(&self, key: &Key, first: Date, last: Date) -> Result<Vec<DayCount>, StoreError>;

    /// Asks the store for something small, to learn whether it answers.
    async fn check(&self) -> Result<(), StoreError>;

    /// Tells `changed` of links that other instances change, and of gaps in what it could tell, until the channel
    /// breaks. A store that no other instance shares has nothing to tell.
    async fn watch(&self, changed: &(dyn Fn(Changed) + Send + Sync)) -> StoreError {
        let _ = changed;
        std::future::pending().await
    }

    /// Finishes what is under way and lets go of files and connections. Every later call fails.
    async fn close(&self);
}

/// A link and what is counted about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The link.
    pub link: Arc<Link>,
    /// How often people have followed it.
    pub clicks: u64,
    /// How many of its visits are used up; counted only while it has a limit.
    pub visits: u64,
}

impl Record {
    /// Whether no visit is left.
    pub fn is_used_up(&self) -> bool {
        self.link.max_visits.is_some_and(|max| self.visits >= u64::from(max.get()))
    }
}

/// Links in an order, and those among them that can't be read.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The links.
    pub records: Vec<Record>,
    /// The damaged ones that were passed over.
    pub damaged: Vec<Damaged>,
}

/// A link that holds what no version of this service has written.
#[derive(Clone, Debug)]
pub struct Damaged {
    /// Its key, as the store has it.
    pub key: String,
    /// The reason it can't be read.
    pub error: StoreError,
}

/// Damaged links that one scan passes over. With more of them the store itself is damaged, and the scan fails.
const MAX_DAMAGED: usize = 10_000;

impl Scan {
    /// Adds the link with the key that `key` returns.
    ///
    /// # Errors
    /// Failures of the store itself, and too many damaged links.
    fn push(
        &mut self,
        record: Result<Record, StoreError>,
        key: impl FnOnce() -> String,
    ) -> Result<(), StoreError> {
        match record {
            Ok(record) => self.records.push(record),
            Err(error @ StoreError::Corrupt(_)) if self.damaged.len() < MAX_DAMAGED => {
                self.damaged.push(Damaged { key: key(), error });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// What was counted about a link before it came into this store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Visits that are used up.
    pub visits: u64,
    /// Clicks that no day is known for.
    pub undated_clicks: u64,
    /// Counts by day.
    pub days: Vec<DayCount>,
}

impl History {
    /// All clicks by people, dated or not.
    pub fn clicks(&self) -> u64 {
        let dated = self.days.iter().filter(|counted| counted.facet == Facet::People);
        self.undated_clicks + dated.map(|counted| counted.count).sum::<u64>()
    }
}

/// What became of an edit or a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Done,
    /// The link has another version meanwhile; nothing was changed.
    Conflict,
    /// There is no such link.
    Missing,
}

/// What a store tells of the changes that other instances make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// This link was edited or removed.
    Link(Key),
    /// Changes may have been missed, of whatever link.
    Anything,
}

/// A store did not do what it was asked.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// It can't be reached, refused, or failed.
    #[error("the store failed")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// It did not answer in time.
    #[error("the store did not answer within {0:?}")]
    Timeout(Duration),
    /// It holds something that no version of this service has written.
    #[error("the store holds damaged data")]
    Corrupt(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// An [`StoreError::Unavailable`] for this reason.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(source.into().into())
    }

    /// A [`StoreError::Corrupt`] for this reason.
    pub fn corrupt(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Corrupt(source.into().into())
    }
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Connections to a server at most.
    pub connections: u32,
    /// How long connecting and a call may take; after it a connection is given up.
    pub deadline: Duration,
    /// File with the password of a PostgreSQL server, read for each new connection.
    pub password_file: Option<PathBuf>,
}

impl OpenOptions {
    /// The time that a call may take on a connection. It ends before the caller gives up, so that the connection is
    /// given up as well.
    fn call_deadline(&self) -> Duration {
        self.deadline * 9 / 10
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { connections: 8, deadline: Duration::from_secs(2), password_file: None }
    }
}

/// Opens the store behind `url`, making what is missing.
///
/// # Errors
/// What keeps the store from being used, as one sentence for the operator.
pub async fn open(url: &StoreUrl, options: &OpenOptions) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match url {
        StoreUrl::Memory => Arc::new(memory::MemoryStore::default()),
        StoreUrl::Sqlite(path) => Arc::new(sqlite::SqliteStore::open(path).await?),
        StoreUrl::Redis(url) => Arc::new(redis::RedisStore::open(url, options).await?),
        StoreUrl::Postgres(url) => Arc::new(postgres::PostgresStore::open(url, options).await?),
    })
}
