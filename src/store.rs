//! Persistence: the [`Store`] trait, its errors, and [`open`].
//!
//! There are four implementations: in memory, SQLite, PostgreSQL and Redis.

mod batcher;
pub mod listing;
pub mod memory;
mod postgres;
mod redis;
mod row;
mod schema;
mod sqlite;

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Bound, Range},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use jiff::{Timestamp, civil::Date};
use thiserror::Error;

use self::listing::{Listing, Page};
use crate::{
    blocked_hosts::{BlockedHost, BlockedHosts, HostPattern},
    clicks::{DayCounts, MAX_COUNT, Tally, increase},
    config::{StoreOptions, StoreUrl},
    link::{Key, Link, LinkState, Revision},
    observability::logging::Chain,
};

/// The first number that [`Store::take_numbers`] hands out in a new store.
pub const FIRST_NUMBER: u64 = 1000;

/// A store of links, their statistics, and the counter behind sequential keys.
///
/// One conformance suite, `tests/it/store.rs`, runs against every implementation. Every method can fail with
/// [`StoreError::Unavailable`] or [`StoreError::Timeout`]. Methods that read links can also fail with
/// [`StoreError::Corrupt`]. A failed write may or may not have been applied.
#[async_trait]
pub trait Store: Send + Sync {
    /// Returns the name of the store's backend, such as `sqlite`.
    ///
    /// Metrics, logs and `/readyz` show it.
    fn name(&self) -> &'static str;

    /// Adds a link and its history atomically, unless the key is taken.
    ///
    /// Returns whether the link was added. An added link is as durable as this store can make it.
    async fn put_if_absent(&self, link: Link, history: History) -> Result<bool, StoreError>;

    /// Returns the link with this key, and its counts.
    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError>;

    /// Returns the link with this key.
    ///
    /// The counts are not included, because redirects don't need them.
    async fn find(&self, key: &Key) -> Result<Option<Arc<Link>>, StoreError> {
        Ok(self.get(key).await?.map(|record| record.link))
    }

    /// Replaces the link with the same key and creation time.
    ///
    /// Reports a conflict unless the stored version is `expected`.
    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError>;

    /// Removes a link and its counts, if its revision is `expected`.
    async fn delete(&self, key: &Key, expected: Revision) -> Result<Change, StoreError>;

    /// Uses up one of a link's visits, atomically.
    ///
    /// Returns false if no visits are left or the link does not exist.
    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError>;

    /// Returns a page of links.
    ///
    /// A page has fewer links than the limit only at the end of the listing, or if a search runs out of time. Damaged
    /// links don't count towards the limit.
    async fn list(&self, listing: &Listing) -> Result<Page, StoreError>;

    /// Takes the next `count` numbers from the counter.
    ///
    /// The counter starts at [`FIRST_NUMBER`]. It never hands out the same number twice, even to different instances or
    /// after a crash.
    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError>;

    /// Returns the secret shared by all instances.
    ///
    /// In a new store, `proposed` becomes the secret. If several instances call this method concurrently, they all get
    /// the same secret.
    async fn secret(&self, proposed: Secret) -> Result<Secret, StoreError>;

    /// Adds tallies to the links' counts.
    ///
    /// The caller must pass at most one tally per link and day, sorted by key. Sums saturate at [`MAX_COUNT`]. Tallies
    /// for removed links are ignored. The method returns the links whose counts could not be changed. If the call
    /// itself fails, no tally is added.
    ///
    /// When the method returns, the tallies are as durable as this store can make them. They may affect the counts up to
    /// half a minute later.
    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<Vec<(Key, StoreError)>, StoreError>;

    /// Returns the number of clicks that have been lost since the previous call.
    ///
    /// A store that adds tallies later can lose them if the counts are damaged.
    fn take_lost_clicks(&self) -> u64 {
        0
    }

    /// Returns the daily counts of a link from `first` to `last`, inclusive.
    async fn day_counts(
        &self,
        key: &Key,
        first: Date,
        last: Date,
    ) -> Result<BTreeMap<Date, DayCounts>, StoreError>;

    /// Adds a blocked host, or replaces the existing entry for the host.
    ///
    /// Returns false, and changes nothing, if the store already has `max` other entries.
    async fn block_host(&self, entry: BlockedHost, max: u32) -> Result<bool, StoreError>;

    /// Removes a blocked host, and returns whether it was on the list.
    async fn unblock_host(&self, host: &HostPattern) -> Result<bool, StoreError>;

    /// Returns at most `limit` blocked hosts, starting at `from`.
    ///
    /// Hosts are sorted by their bytes.
    async fn blocked_hosts(
        &self,
        from: Bound<&HostPattern>,
        limit: usize,
    ) -> Result<Vec<BlockedHost>, StoreError>;

    /// Returns the revision of the block list.
    ///
    /// Each change to the list results in a new revision.
    async fn blocked_hosts_revision(&self) -> Result<u64, StoreError>;

    /// Removes old daily counts from the next part of the store.
    ///
    /// Each call does a bounded amount of work. Links keep their total counts.
    async fn purge_days(&self, purge: &DayPurge) -> Result<PurgedDays, StoreError>;

    /// Checks that the store responds to a small query.
    async fn check(&self) -> Result<(), StoreError>;

    /// Reports changes made by other instances until the change feed breaks.
    ///
    /// Gaps in the feed are reported as [`Changed::Anything`]. A store that isn't shared never reports anything. The
    /// method returns the error that broke the feed.
    async fn watch(&self, changed: &(dyn Fn(Changed) + Send + Sync)) -> StoreError {
        let _ = changed;
        std::future::pending().await
    }

    /// Finishes calls in progress, then closes files and connections.
    ///
    /// The store must not be used afterwards.
    async fn close(&self);
}

/// Random bytes known only to this service's instances. `Debug` redacts them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl TryFrom<Vec<u8>> for Secret {
    type Error = StoreError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, StoreError> {
        let bytes = bytes.try_into().map_err(|_| StoreError::corrupt("the secret does not have 32 bytes"))?;
        Ok(Self(bytes))
    }
}

/// A link with its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub link: Arc<Link>,
    /// The number of visits by people.
    pub clicks: u64,
    /// The number of visits used up. Visits are used up only while the link has a visit limit.
    pub visits: u64,
}

/// The time and the blocked hosts that determine the state of a link.
#[derive(Clone, Debug)]
pub struct Moment {
    pub now: Timestamp,
    pub blocked: Arc<BlockedHosts>,
}

impl From<Timestamp> for Moment {
    /// Returns a moment without blocked hosts.
    fn from(now: Timestamp) -> Self {
        Self { now, blocked: Arc::default() }
    }
}

impl Record {
    /// Returns the state of the link, including visit limits and blocked hosts.
    pub fn state(&self, moment: &Moment) -> LinkState {
        match self.link.state(moment.now) {
            LinkState::TakenDown => LinkState::TakenDown,
            _ if moment.blocked.blocks(&self.link.doc.target) => LinkState::Blocked,
            LinkState::Active if self.is_used_up() => LinkState::UsedUp,
            state => state,
        }
    }

    /// Returns whether the visit limit is reached.
    pub(crate) fn is_used_up(&self) -> bool {
        self.link.doc.options.max_visits.is_some_and(|max| self.visits >= u64::from(max.get()))
    }
}

/// A link that can't be read.
#[derive(Clone, Debug)]
pub struct Damaged {
    /// The key as stored; it may not be a valid [`Key`].
    pub key: String,
    pub error: StoreError,
}

/// The maximum number of damaged links that one listing skips.
///
/// If there are more, the store itself is considered damaged, and the listing fails.
const MAX_DAMAGED: usize = 10_000;

/// An imported link's counts from its previous store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The number of visits used up.
    pub visits: u64,
    /// The number of clicks on unknown days.
    pub undated_clicks: u64,
    pub days: BTreeMap<Date, DayCounts>,
}

impl History {
    /// Returns the total number of clicks by people, dated or not.
    pub fn clicks(&self) -> u64 {
        let mut clicks = self.undated_clicks.min(MAX_COUNT);
        self.days.values().for_each(|counts| increase(&mut clicks, counts.people));
        clicks
    }
}

/// A request to remove old daily counts.
#[derive(Clone, Debug)]
pub struct DayPurge {
    /// The first day to keep.
    pub before: Date,
    /// The cursor from the previous call, or `None` for the first call.
    pub after: Option<DayCursor>,
    /// If true, count the days without removing them.
    pub dry_run: bool,
}

/// A position in a purge of daily counts. Only the store that created it can interpret it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayCursor {
    key: String,
    day: i32,
}

/// The result of a [`DayPurge`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgedDays {
    /// The number of removed days, summed over all links.
    pub days: u64,
    /// The cursor for the next call, or `None` after the last part.
    pub next: Option<DayCursor>,
}

/// The maximum number of links that one [`Store::purge_days`] call examines.
const PURGED_LINKS: usize = 500;

/// The maximum number of days that one [`Store::purge_days`] call removes.
const PURGED_DAYS: usize = 1000;

/// The outcome of a conditional edit or removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Done,
    /// The link has a different version. Nothing was changed.
    Conflict,
    Missing,
}

/// A report of changes made by other instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Link(Key),
    BlockedHosts,
    /// Changes to any link may have been missed.
    Anything,
}

/// The channel message for a change to the blocked hosts.
///
/// It is not a valid key, so it can't be mistaken for one.
const BLOCKED_HOSTS_CHANGED: &str = "blocked:hosts";

impl Changed {
    /// Parses a message from a store's channel.
    ///
    /// An unknown message comes from another version of this program.
    fn from_message(message: &str) -> Self {
        match message {
            BLOCKED_HOSTS_CHANGED => Self::BlockedHosts,
            key => key.parse().map_or(Self::Anything, Self::Link),
        }
    }
}

/// An error from a store call.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// The store can't be reached, refused the call, or failed.
    #[error("the store failed")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    #[error("the store did not respond within {0:?}")]
    Timeout(Duration),
    /// The store contains data that no version of this service writes.
    #[error("the store holds damaged data")]
    Corrupt(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// Creates a [`StoreError::Unavailable`] with this cause.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(source.into().into())
    }

    /// Creates a [`StoreError::Corrupt`] with this cause.
    pub(crate) fn corrupt(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Corrupt(source.into().into())
    }

    /// Returns the cause, or the error itself if it has none.
    pub fn cause(&self) -> &(dyn std::error::Error + 'static) {
        match self {
            Self::Unavailable(cause) | Self::Corrupt(cause) => &**cause,
            Self::Timeout(_) => self,
        }
    }
}

/// The error for a store that can't be opened.
#[derive(Debug, Error)]
#[error("STORE_URL: can't open the {store:?} store: {}", Chain(error.cause()))]
pub(crate) struct OpenError {
    store: StoreUrl,
    error: StoreError,
}

/// Opens the store like [`open`], but with an error that names `STORE_URL`.
///
/// # Errors
/// [`OpenError`], which is one sentence for the operator.
pub(crate) async fn open_for_operator(options: &StoreOptions) -> Result<Arc<dyn Store>, OpenError> {
    open(options).await.map_err(|error| OpenError { store: options.store_url.clone(), error })
}

/// Opens a store, and creates its file or schema if missing.
///
/// # Errors
/// The reason the store can't be used, as one sentence for the operator.
pub async fn open(options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match &options.store_url {
        StoreUrl::Memory => Arc::new(memory::MemoryStore::default()),
        StoreUrl::Sqlite(path) => Arc::new(sqlite::SqliteStore::open(path).await?),
        StoreUrl::Redis(url) => Arc::new(redis::RedisStore::open(url, options).await?),
        StoreUrl::Postgres(url) => Arc::new(postgres::PostgresStore::open(url, options).await?),
    })
}
