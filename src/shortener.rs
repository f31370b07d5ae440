//! The use cases: make a short link, follow one. No HTTP here; the answers are values.

use std::{collections::HashSet, sync::Arc};

use jiff::{Timestamp, tz::TimeZone};
use thiserror::Error;

use crate::{
    base_url::BaseUrl,
    clicks::{Clicks, Visitor},
    clock::Clock,
    keygen::{KeyStrategy, KeygenError, StrategyName},
    link::{Key, Link, LinkState, Target},
    observability::metrics::Metrics,
    policy::{Refusal, TargetPolicy},
    store::{Store, StoreError},
};

/// How many keys are proposed for one link before it is given up.
const ATTEMPTS: u32 = 5;

/// Makes and resolves short links.
pub struct Shortener {
    /// Where the links are.
    pub store: Arc<dyn Store>,
    /// Proposes keys.
    pub strategy: Arc<dyn KeyStrategy>,
    /// The strategy's name, for metrics.
    pub strategy_name: StrategyName,
    /// Which targets are welcome.
    pub policy: Arc<TargetPolicy>,
    /// Counts what is followed.
    pub clicks: Arc<Clicks>,
    /// Keys that would hide a path of the service's own.
    pub reserved: HashSet<String>,
    /// Tells when a link is made and whether it has expired.
    pub clock: Clock,
    /// Counts what is made and followed.
    pub metrics: Arc<Metrics>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// Where the link shall lead.
    pub target: Target,
    /// The key that it shall have; `None` leaves it to the strategy.
    pub key: Option<Key>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortened {
    /// A new link.
    Created(Arc<Link>),
    /// A link with this target stood already, and the strategy gives the same key to the same target.
    Existing(Arc<Link>),
}

/// No link was made.
#[derive(Debug, Error)]
pub enum ShortenError {
    /// The target is not welcome.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The wanted key is a path of the service's own.
    #[error("the key is reserved")]
    KeyReserved,
    /// The wanted key stands for another link.
    #[error("the key is taken")]
    KeyTaken,
    /// Every proposed key was taken.
    #[error("could not allocate a key")]
    NoFreeKey,
    /// No key could be proposed.
    #[error("no key could be proposed")]
    Keygen(#[from] KeygenError),
    /// The store failed. The link may stand or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// There is nothing to follow.
#[derive(Debug, Error)]
pub enum FollowError {
    /// No link has this key.
    #[error("not found")]
    NotFound,
    /// The link has expired or was taken down.
    #[error("gone")]
    Gone,
    /// The store failed, so nobody knows.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shortener {
    /// Makes a link that is durable when this returns. `own` is where the service itself is reached.
    ///
    /// # Errors
    /// See [`ShortenError`]; nothing was promised then.
    pub async fn shorten(&self, new: NewLink, own: &BaseUrl) -> Result<Shortened, ShortenError> {
        self.policy.check(&new.target, own)?;
        match new.key {
            Some(key) => self.shorten_as(key, new.target).await,
            None => self.shorten_freely(new.target).await,
        }
    }

    async fn shorten_as(&self, key: Key, target: Target) -> Result<Shortened, ShortenError> {
        if self.is_reserved(&key) {
            return Err(ShortenError::KeyReserved);
        }
        match self.put(key, target, "custom").await? {
            Some(link) => Ok(Shortened::Created(link)),
            None => Err(ShortenError::KeyTaken),
        }
    }

    async fn shorten_freely(&self, target: Target) -> Result<Shortened, ShortenError> {
        for attempt in 0..ATTEMPTS {
            let key = self.strategy.propose(&target, attempt).await?;
            if self.is_reserved(&key) {
                continue;
            }
            if let Some(link) = self.put(key.clone(), target.clone(), self.strategy_name.as_str()).await? {
                return Ok(Shortened::Created(link));
            }
            if self.strategy.reuses_links()
                && let Some(link) = self.store.get(&key).await?
                && link.target == target
                && link.is_plain()
            {
                return Ok(Shortened::Existing(link));
            }
            self.metrics.key_collisions.inc();
        }
        Err(ShortenError::NoFreeKey)
    }

    /// Keeps a new link, or returns `None` where the key is taken.
    async fn put(&self, key: Key, target: Target, origin: &str) -> Result<Option<Arc<Link>>, StoreError> {
        let link = Link::new(key, target, self.clock.now());
        if !self.store.put_if_absent(link.clone()).await? {
            return Ok(None);
        }
        self.metrics.links_created.with_label_values(&[origin]).inc();
        Ok(Some(Arc::new(link)))
    }

    fn is_reserved(&self, key: &Key) -> bool {
        self.reserved.contains(key.as_str())
    }

    /// The link to redirect to, counted for `visitor`; `None` only asks, as with HEAD.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn follow(&self, key: &Key, visitor: Option<Visitor>) -> Result<Arc<Link>, FollowError> {
        let now = self.clock.now();
        let result = self.resolve(key, now).await;
        let outcome = match &result {
            Ok(_) => "redirected",
            Err(FollowError::NotFound) => "not_found",
            Err(FollowError::Gone) => "gone",
            Err(FollowError::Store(_)) => "error",
        };
        self.metrics.redirects.with_label_values(&[outcome]).inc();
        if let (Ok(_), Some(visitor)) = (&result, visitor) {
            self.clicks.record(key, now.to_zoned(TimeZone::UTC).date(), visitor);
        }
        result
    }

    async fn resolve(&self, key: &Key, now: Timestamp) -> Result<Arc<Link>, FollowError> {
        let link = self.store.get(key).await?.ok_or(FollowError::NotFound)?;
        match link.state(now) {
            LinkState::Active => Ok(link),
            LinkState::Expired | LinkState::TakenDown => Err(FollowError::Gone),
        }
    }
}
