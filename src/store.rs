//! Where links are kept: the [`Store`] port, its errors, and the factory that opens one by its URL.

pub mod memory;
mod sqlite;
mod supervised;

use std::{fmt, ops::Range, path::Path, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use thiserror::Error;

pub use self::supervised::Supervised;
use crate::link::{Key, Link};

/// The first number that [`Store::take_numbers`] hands out in a new store.
pub const FIRST_NUMBER: u64 = 1000;

/// Keeps links, what is counted about them, and the counter that keys are made of.
///
/// One suite of tests, `tests/it/store.rs`, holds for every implementation.
#[async_trait]
pub trait Store: Send + Sync {
    /// The name of the technology, for metrics, logs and `/readyz`.
    fn name(&self) -> &'static str;

    /// Keeps `link` unless its key is taken, as one atomic step, and says whether it did. It returns once the link
    /// is as durable as this store can make it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Timeout`]: then the link may stand or not, but was not promised.
    async fn put_if_absent(&self, link: Link) -> Result<bool, StoreError>;

    /// The link with this key, whatever its state; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where what is kept under the key is no link, and those of any call.
    async fn get(&self, key: &Key) -> Result<Option<Arc<Link>>, StoreError>;

    /// Takes the next `count` numbers of the store's counter, which starts at [`FIRST_NUMBER`]. No number is given
    /// out twice, to any instance, also after a crash.
    ///
    /// # Errors
    /// Those of any call.
    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError>;

    /// Adds to the click counts of links, all of `clicks` or nothing. Links that are gone meanwhile are left out.
    ///
    /// # Errors
    /// Those of any call.
    async fn add_clicks(&self, clicks: Vec<(Key, u64)>) -> Result<(), StoreError>;

    /// How often the link was followed; `None` where there is no such link.
    ///
    /// # Errors
    /// Those of any call.
    async fn clicks(&self, key: &Key) -> Result<Option<u64>, StoreError>;

    /// Asks the store for something small, to learn whether it answers.
    ///
    /// # Errors
    /// Those of any call.
    async fn check(&self) -> Result<(), StoreError>;

    /// Finishes what is under way and lets go of files and connections. Every later call fails.
    async fn close(&self);
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

/// Which store to open: `memory:` or `sqlite:PATH`. It may hold a password, so `Debug` tells the scheme alone.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    scheme: &'static str,
    rest: String,
}

/// A string names no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("takes memory: or sqlite:PATH")]
pub struct InvalidStoreUrl;

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        let (scheme, rest) = text.split_once(':').ok_or(InvalidStoreUrl)?;
        match (scheme, rest) {
            ("memory", "") => Ok(Self { scheme: "memory", rest: String::new() }),
            // A database in memory would be another one for each connection.
            ("sqlite", "" | "//" | ":memory:") => Err(InvalidStoreUrl),
            ("sqlite", path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                Ok(Self { scheme: "sqlite", rest: path.into() })
            }
            _ => Err(InvalidStoreUrl),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:[redacted]", self.scheme)
    }
}

/// Opens the store behind `url`, making what is missing.
///
/// # Errors
/// What keeps the store from being used, as one sentence for the operator.
pub async fn open(url: &StoreUrl) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match url.scheme {
        "memory" => Arc::new(memory::MemoryStore::default()),
        "sqlite" => Arc::new(sqlite::SqliteStore::open(Path::new(&url.rest)).await?),
        scheme => unreachable!("a store URL of the scheme {scheme} can't be built"),
    })
}
