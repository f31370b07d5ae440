//! The use cases: create links, and [`follow`] them.
//!
//! [`manage`] and [`take_down`] contain the use cases of the management API. Use cases know nothing about HTTP: they
//! return values and errors.

pub(crate) mod fallback;
pub(crate) mod follow;
pub(crate) mod manage;
pub(crate) mod take_down;

use std::{collections::HashSet, sync::Arc};

use thiserror::Error;

pub(crate) use self::follow::{FollowError, Follower};
use crate::{
    base_url::BaseUrl,
    clicks::Clicks,
    clock::Clock,
    config::{FallbackOptions, StrategyName},
    keygen::{KeyStrategy, KeygenError},
    link::{Creator, Document, Key, Link, Target, options::Options},
    links::Links,
    observability::metrics::Metrics,
    password::{HashError, Password, Passwords},
    policy::{Refusal, TargetPolicy},
    store::{History, Moment, StoreError},
};

/// The maximum number of keys proposed for one link.
const ATTEMPTS: u32 = 5;

/// The use cases and their dependencies.
pub struct Shortener {
    pub links: Arc<Links>,
    pub strategy: Arc<dyn KeyStrategy>,
    /// The strategy's name, used as a metric label.
    pub strategy_name: StrategyName,
    pub policy: Arc<TargetPolicy>,
    pub fallbacks: FallbackOptions,
    pub clicks: Arc<Clicks>,
    /// Keys that match the service's own paths.
    pub reserved: HashSet<String>,
    pub clock: Clock,
    pub passwords: Passwords,
    pub metrics: Arc<Metrics>,
}

/// A request for a new link.
#[derive(Clone, Debug)]
pub struct NewLink {
    pub target: Target,
    /// A custom key, or `None` to let the strategy choose.
    pub key: Option<Key>,
    /// The options, except for the password hash, which is computed from `password`.
    pub options: Options,
    pub password: Option<Password>,
}

/// The result of a request for a new link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortened {
    Created(Arc<Link>),
    /// An existing link with the same key and target.
    Existing(Arc<Link>),
}

/// The error for a link that could not be created or changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    #[error("not found")]
    NotFound,
    /// The change kept conflicting with concurrent changes.
    #[error("the link was changed concurrently")]
    Conflict,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("gone_url: {0}")]
    GoneUrlRefused(#[source] Refusal),
    /// Only a client with a token may set this field.
    #[error("{0} can only be set with a token")]
    TokenNeeded(&'static str),
    /// The custom key matches a path of the service.
    #[error("the key is reserved")]
    KeyReserved,
    /// Another link already has the custom key.
    #[error("the key is taken")]
    KeyTaken,
    /// Every proposed key was taken.
    #[error("could not allocate a key")]
    NoFreeKey,
    #[error("no key could be proposed")]
    Keygen(#[from] KeygenError),
    #[error(
        "the link would expire immediately: expires_at must be in the future, and expires_in more than 0"
    )]
    ExpiryPassed,
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed. It may or may not have made the change.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shortener {
    /// Creates a link.
    ///
    /// When this method returns, the link is as durable as the store can make it. `base_url` is the address of this
    /// service.
    ///
    /// # Errors
    /// See [`ChangeError`]. After a store error, the link may exist.
    pub async fn shorten(
        &self,
        new: NewLink,
        created_by: &Creator,
        base_url: &BaseUrl,
    ) -> Result<Shortened, ChangeError> {
        self.policy.check(&new.target, base_url)?;
        if let Some(gone_url) = &new.options.gone_url {
            if *created_by == Creator::PUBLIC {
                return Err(ChangeError::TokenNeeded("gone_url"));
            }
            self.policy.check(gone_url, base_url).map_err(ChangeError::GoneUrlRefused)?;
        }
        if new.options.expires_at.is_some_and(|expiry| expiry <= self.clock.now()) {
            return Err(ChangeError::ExpiryPassed);
        }
        if let Some(key) = &new.key {
            self.check_key(key, new.password.is_some()).await?;
        }
        let mut doc = Document::new(new.target);
        doc.created_by = created_by.clone();
        doc.options = new.options.into();
        if let Some(password) = new.password {
            doc.options.password = Some(self.passwords.hash(password).await?);
        }
        match new.key {
            Some(key) => self.shorten_as(key, doc).await,
            None => self.shorten_freely(doc).await,
        }
    }

    /// Rejects an unavailable custom key before the password is hashed.
    async fn check_key(&self, key: &Key, has_password: bool) -> Result<(), ChangeError> {
        if self.is_reserved(key) {
            return Err(ChangeError::KeyReserved);
        }
        if has_password && self.links.get(key).await?.is_some() {
            return Err(ChangeError::KeyTaken);
        }
        Ok(())
    }

    async fn shorten_as(&self, key: Key, doc: Document) -> Result<Shortened, ChangeError> {
        match self.put(key, doc, "custom").await? {
            Some(link) => Ok(Shortened::Created(link)),
            None => Err(ChangeError::KeyTaken),
        }
    }

    async fn shorten_freely(&self, doc: Document) -> Result<Shortened, ChangeError> {
        let is_plain = doc.is_plain();
        for attempt in 0..ATTEMPTS {
            let key = self.strategy.propose(&doc.target, attempt).await?;
            if self.is_reserved(&key) {
                continue;
            }
            let origin = self.strategy_name.as_str();
            if let Some(link) = self.put(key.clone(), doc.clone(), origin).await? {
                return Ok(Shortened::Created(link));
            }
            if self.strategy.reuses_links()
                && is_plain
                && let Some(link) = self.links.find(&key).await?
                && link.doc.target == doc.target
                && link.doc.is_plain()
            {
                return Ok(Shortened::Existing(link));
            }
            self.metrics.key_collisions.inc();
        }
        Err(ChangeError::NoFreeKey)
    }

    /// Stores a new link, or returns `None` if the key is taken.
    async fn put(&self, key: Key, doc: Document, origin: &str) -> Result<Option<Arc<Link>>, StoreError> {
        let link = Link { key, created_at: self.clock.now(), version: 1, doc };
        if !self.links.put_if_absent(link.clone(), History::default()).await? {
            return Ok(None);
        }
        self.metrics.links_created.with_label_values(&[origin]).inc();
        Ok(Some(Arc::new(link)))
    }

    /// Returns the current time and blocked hosts, which link states depend on.
    pub fn moment(&self) -> Moment {
        self.links.moment(self.clock.now())
    }

    fn is_reserved(&self, key: &Key) -> bool {
        self.reserved.contains(key.as_str())
    }
}
