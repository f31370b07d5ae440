//! The use cases: create and follow short links. [`manage`] and [`take_down`] have those of the management API.
//!
//! They know nothing of HTTP: they return values and errors.

pub mod fallback;
pub mod manage;
pub mod take_down;

use std::{collections::HashSet, sync::Arc};

use jiff::{Timestamp, civil::Date, tz::Offset};
use thiserror::Error;

use self::fallback::Way;
use crate::{
    base_url::BaseUrl,
    clicks::{Clicks, Visitor},
    clock::Clock,
    config::{FallbackOptions, StrategyName},
    keygen::{KeyStrategy, KeygenError},
    link::{Creator, Document, Key, Link, LinkState, Target, options::Options},
    links::Links,
    observability::metrics::Metrics,
    password::{HashError, Password, Passwords},
    policy::{Refusal, TargetPolicy},
    store::{History, Moment, StoreError},
};

/// The limit on proposed keys for one link.
const ATTEMPTS: u32 = 5;

/// The service behind the routes: it creates and follows links.
pub struct Shortener {
    pub links: Arc<Links>,
    pub strategy: Arc<dyn KeyStrategy>,
    /// A metric label.
    pub strategy_name: StrategyName,
    pub policy: Arc<TargetPolicy>,
    pub fallbacks: FallbackOptions,
    pub clicks: Arc<Clicks>,
    /// Keys that would shadow a path of the service.
    pub reserved: HashSet<String>,
    pub clock: Clock,
    pub passwords: Passwords,
    pub metrics: Arc<Metrics>,
}

/// A request for a new link.
#[derive(Clone, Debug)]
pub struct NewLink {
    pub target: Target,
    /// A custom key; `None` leaves the choice to the strategy.
    pub key: Option<Key>,
    /// The options without a password hash, which comes from `password`.
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

/// The error for a link that was not created or changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    #[error("not found")]
    NotFound,
    /// Concurrent changes kept conflicting with this one.
    #[error("others changed the link at the same time")]
    Conflict,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("gone_url: {0}")]
    GoneUrlRefused(#[source] Refusal),
    /// Only a client with a token may set the field.
    #[error("{0} can only be set with a token")]
    TokenNeeded(&'static str),
    /// The custom key is a path of the service.
    #[error("the key is reserved")]
    KeyReserved,
    /// Another link has the custom key.
    #[error("the key is taken")]
    KeyTaken,
    /// Every proposed key was taken.
    #[error("could not allocate a key")]
    NoFreeKey,
    #[error("no key could be proposed")]
    Keygen(#[from] KeygenError),
    #[error("the link would expire at once: expires_at must be in the future, and expires_in more than 0")]
    ExpiryPassed,
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed. It may or may not have made the change.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The kind of client that requests a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follower {
    /// A client that follows the redirect.
    Visitor(Visitor),
    /// A client that only asks for the target, such as with HEAD. Not counted.
    Preview,
}

impl Follower {
    fn is_person(&self) -> bool {
        matches!(self, Self::Visitor(Visitor::Person { .. }))
    }
}

/// The reason why a link does not redirect.
#[derive(Debug, Error)]
pub enum FollowError {
    /// No link has this key, or its start is in the future.
    #[error("not found")]
    NotFound,
    /// The link has expired or has no visits left.
    #[error("gone")]
    Ended {
        /// Its own fallback.
        gone_url: Option<Target>,
    },
    /// The link was taken down.
    #[error("gone")]
    Gone,
    /// The host of the target is blocked.
    #[error("blocked")]
    Blocked,
    #[error("a password is needed")]
    PasswordNeeded,
    #[error("the password is wrong")]
    WrongPassword,
    /// The link has a visit limit and the visitor is not a person.
    #[error("the link has a limited number of visits")]
    OnlyPeople,
    /// A newer version of this program restricted the link in an unknown way.
    #[error("the link has restrictions (needs {0}) that only a newer version of this program applies")]
    Unsupported(u32),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shortener {
    /// Creates a link, which is durable on return.
    ///
    /// `base_url` is the address of this service.
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
        doc.options = new.options;
        if let Some(password) = new.password {
            doc.options.password = Some(self.passwords.hash(password).await?);
        }
        match new.key {
            Some(key) => self.shorten_as(key, doc).await,
            None => self.shorten_freely(doc).await,
        }
    }

    /// Refuses an unavailable custom key, before the cost of hashing a password.
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

    /// Returns the current moment, for the states of links.
    pub fn moment(&self) -> Moment {
        self.links.moment(self.clock.now())
    }

    fn is_reserved(&self, key: &Key) -> bool {
        self.reserved.contains(key.as_str())
    }

    /// Follows a cached link without password and visit limit, without waiting.
    ///
    /// Returns the link once the visit is counted. On `None`, call [`Shortener::follow`].
    pub fn try_follow(&self, key: &Key, follower: impl FnOnce() -> Follower) -> Option<Arc<Link>> {
        let link = self.links.peek(key)?;
        let now = self.clock.now();
        check(&link, now).ok()?;
        let options = &link.doc.options;
        if options.password.is_some() || options.max_visits.is_some() {
            return None;
        }
        self.metrics.cache_hits.inc();
        self.count_followed(&link, now, follower());
        Some(link)
    }

    /// Follows a link, and returns it once the visit is counted.
    ///
    /// If the link has a visit limit, the store decides about each visit. Only people may follow such a link: a bot
    /// would use up a visit that is meant for a person.
    ///
    /// A client that takes a fallback instead of an error passes the address of this service as `base_url`.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn follow(
        &self,
        key: &Key,
        follower: Follower,
        password: Option<Password>,
        base_url: Option<&BaseUrl>,
    ) -> Result<Way, FollowError> {
        if let Some(link) = self.try_follow(key, || follower.clone()) {
            return Ok(Way::Link(link));
        }
        let now = self.clock.now();
        match self.admit(key, now, &follower, password).await {
            Ok(link) => {
                self.count_followed(&link, now, follower);
                Ok(Way::Link(link))
            }
            Err(error) => {
                let fallback = base_url.and_then(|base_url| self.fallback(&error, base_url));
                let outcome = if fallback.is_some() { "fallback" } else { error.outcome() };
                self.metrics.redirects.with_label_values(&[outcome]).inc();
                fallback.map(Way::Fallback).ok_or(error)
            }
        }
    }

    fn count_followed(&self, link: &Link, now: Timestamp, follower: Follower) {
        self.metrics.redirected.inc();
        if let Follower::Visitor(visitor) = follower {
            self.clicks.record(link, utc_day(now), visitor);
        }
    }

    async fn admit(
        &self,
        key: &Key,
        now: Timestamp,
        follower: &Follower,
        password: Option<Password>,
    ) -> Result<Arc<Link>, FollowError> {
        let link = self.find_at(key, now).await?;
        let options = &link.doc.options;
        if let Some(hash) = &options.password {
            let password = password.ok_or(FollowError::PasswordNeeded)?;
            if !self.passwords.verify(hash.clone(), password).await? {
                return Err(FollowError::WrongPassword);
            }
        }
        if options.max_visits.is_some() {
            if !follower.is_person() {
                self.check_visits(key).await?;
                return Err(FollowError::OnlyPeople);
            }
            if !self.links.use_visit(key).await? {
                return Err(FollowError::ended(&link));
            }
        }
        Ok(link)
    }

    /// Refuses a link without visits left.
    async fn check_visits(&self, key: &Key) -> Result<(), FollowError> {
        let record = self.links.get(key).await?.ok_or(FollowError::NotFound)?;
        if record.is_used_up() { Err(FollowError::ended(&record.link)) } else { Ok(()) }
    }

    /// Returns a link to show instead of following it.
    ///
    /// No visit is counted or used up.
    ///
    /// # Errors
    /// Those of [`Shortener::follow`] without a password.
    pub async fn preview(&self, key: &Key, follower: &Follower) -> Result<Arc<Link>, FollowError> {
        let link = self.find(key).await?;
        let options = &link.doc.options;
        if options.password.is_some() {
            return Err(FollowError::PasswordNeeded);
        }
        if options.max_visits.is_some() {
            self.check_visits(key).await?;
            if !follower.is_person() {
                return Err(FollowError::OnlyPeople);
            }
        }
        Ok(link)
    }

    /// Returns a link that redirects now, password and visit limit aside.
    ///
    /// # Errors
    /// [`FollowError::NotFound`], [`FollowError::Ended`], [`FollowError::Gone`], [`FollowError::Blocked`],
    /// [`FollowError::Unsupported`] or
    /// [`FollowError::Store`].
    pub async fn find(&self, key: &Key) -> Result<Arc<Link>, FollowError> {
        self.find_at(key, self.clock.now()).await
    }

    async fn find_at(&self, key: &Key, now: Timestamp) -> Result<Arc<Link>, FollowError> {
        let link = self.links.find(key).await?.ok_or(FollowError::NotFound)?;
        if self.links.blocked_hosts().blocks(&link.doc.target) {
            return Err(FollowError::Blocked);
        }
        check(&link, now)?;
        Ok(link)
    }
}

impl FollowError {
    /// Returns the metric label of the outcome.
    fn outcome(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Ended { .. } | Self::Gone | Self::Blocked => "gone",
            Self::PasswordNeeded | Self::WrongPassword | Self::OnlyPeople => "refused",
            Self::Unsupported(_) | Self::Store(_) | Self::Hash(_) => "error",
        }
    }
}

/// Checks that a link redirects at `now`, password, visit limit and blocked hosts aside.
fn check(link: &Link, now: Timestamp) -> Result<(), FollowError> {
    if !link.doc.is_supported() {
        return Err(FollowError::Unsupported(link.doc.needs()));
    }
    match link.state(now) {
        LinkState::Active => Ok(()),
        LinkState::Scheduled => Err(FollowError::NotFound),
        LinkState::Blocked => Err(FollowError::Blocked),
        LinkState::Expired | LinkState::UsedUp => Err(FollowError::ended(link)),
        LinkState::TakenDown => Err(FollowError::Gone),
    }
}

fn utc_day(now: Timestamp) -> Date {
    Offset::UTC.to_datetime(now).date()
}
