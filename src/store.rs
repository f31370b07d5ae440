//! The [`Store`] port, its errors, and the factory that opens a store by its URL.

mod batcher;
pub mod listing;
pub mod memory;
mod postgres;
mod redis;
mod row;
mod schema;
mod sqlite;

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::civil::Date;
use thiserror::Error;

use self::listing::{Cursor, Order};
use crate::{
    clicks::{DayCounts, MAX_COUNT, Tally, increase},
    config::{StoreOptions, StoreUrl},
    link::{Key, Link, Revision},
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
    /// Returns the name of the technology, for metrics, logs and `/readyz`.
    fn name(&self) -> &'static str;

    /// Adds a link and its history in one atomic step, unless its key is taken. Returns whether it did.
    ///
    /// It returns once the link is as durable as this store can make it.
    async fn put_if_absent(&self, link: Link, history: History) -> Result<bool, StoreError>;

    /// Returns the link with this key and its counts, as fresh as the store has them.
    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError>;

    /// Replaces the link of the same key and creation time, if its version is still `expected`.
    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError>;

    /// Removes a link and its counts, if it is still in the state `expected`.
    async fn delete(&self, key: &Key, expected: Revision) -> Result<Change, StoreError>;

    /// Uses up one of a link's visits in one atomic step. Returns false if none is left, or if the link is gone.
    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError>;

    /// Returns the next `limit` links in `order` after `after`; fewer only at the end. Damaged links are left out.
    async fn scan(&self, order: Order, after: Option<Cursor>, limit: usize) -> Result<Scan, StoreError>;

    /// Takes the next `count` numbers of the store's counter, which starts at [`FIRST_NUMBER`].
    ///
    /// No number is given out twice, to any instance, even after a crash.
    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError>;

    /// Adds tallies to the counts, and returns the links for which that failed. Sums stay at [`MAX_COUNT`].
    ///
    /// Each link and day comes once, in the order of the keys. Tallies of links that are gone are left out. If the call
    /// itself fails, no tally is added.
    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<Vec<(Key, StoreError)>, StoreError>;

    /// Returns the counts of a link by day, from `first` to `last` inclusive.
    async fn day_counts(
        &self,
        key: &Key,
        first: Date,
        last: Date,
    ) -> Result<BTreeMap<Date, DayCounts>, StoreError>;

    /// Asks the store for something small, to learn whether it answers.
    async fn check(&self) -> Result<(), StoreError>;

    /// Reports links that other instances change, and gaps in these reports, until the channel breaks.
    ///
    /// A store that no other instance shares reports nothing.
    async fn watch(&self, changed: &(dyn Fn(Changed) + Send + Sync)) -> StoreError {
        let _ = changed;
        std::future::pending().await
    }

    /// Finishes calls in progress and closes files and connections. Every later call fails.
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
    /// Returns whether no visit is left.
    pub fn is_used_up(&self) -> bool {
        self.link.doc.options.max_visits.is_some_and(|max| self.visits >= u64::from(max.get()))
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

/// The counts of a link from before it came into this store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Visits that are used up.
    pub visits: u64,
    /// Clicks on unknown days.
    pub undated_clicks: u64,
    /// Counts by day.
    pub days: BTreeMap<Date, DayCounts>,
}

impl History {
    /// Returns all clicks by people, dated or not.
    pub fn clicks(&self) -> u64 {
        let mut clicks = self.undated_clicks.min(MAX_COUNT);
        self.days.values().for_each(|counts| increase(&mut clicks, counts.people));
        clicks
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

/// Opens a store, making what is missing.
///
/// # Errors
/// What keeps the store from being used, as one sentence for the operator.
pub async fn open(options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match &options.store_url {
        StoreUrl::Memory => Arc::new(memory::MemoryStore::default()),
        StoreUrl::Sqlite(path) => Arc::new(sqlite::SqliteStore::open(path).await?),
        StoreUrl::Redis(url) => Arc::new(redis::RedisStore::open(url, options).await?),
        StoreUrl::Postgres(url) => Arc::new(postgres::PostgresStore::open(url, options).await?),
    })
}
