//! The use cases: make a short link, follow one; [`manage`] has those of whoever manages links. No HTTP here; the
//! answers are values.

pub mod manage;

use std::{collections::HashSet, sync::Arc};

use jiff::{Timestamp, civil::Date, tz::Offset};
use thiserror::Error;

use crate::{
    base_url::BaseUrl,
    clicks::{Clicks, Visitor},
    clock::Clock,
    config::StrategyName,
    keygen::{KeyStrategy, KeygenError},
    link::{Key, Link, LinkState, Target, options::Options},
    links::Links,
    observability::metrics::Metrics,
    password::{HashError, Password, Passwords},
    policy::{Refusal, TargetPolicy},
    store::{History, StoreError},
};

/// How many keys are proposed for one link before it is given up.
const ATTEMPTS: u32 = 5;

/// Makes and resolves short links.
pub struct Shortener {
    /// The links.
    pub links: Arc<Links>,
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
    /// Hashes and checks passwords.
    pub passwords: Passwords,
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
    /// What else it shall bear; the password is not among them yet.
    pub options: Options,
    /// What a visitor shall have to know.
    pub password: Option<Password>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortened {
    /// A new link.
    Created(Arc<Link>),
    /// A link with this target stood already, and the strategy gives the same key to the same target.
    Existing(Arc<Link>),
}

/// A link was not made or changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// No link has this key.
    #[error("not found")]
    NotFound,
    /// Others kept changing the link at the same time.
    #[error("the link was changed meanwhile")]
    Conflict,
    /// The policy refuses the target.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The requested key is a path of the service's own.
    #[error("the key is reserved")]
    KeyReserved,
    /// Another link has the requested key.
    #[error("the key is taken")]
    KeyTaken,
    /// Every proposed key was taken.
    #[error("could not allocate a key")]
    NoFreeKey,
    /// No key could be proposed.
    #[error("no key could be proposed")]
    Keygen(#[from] KeygenError),
    /// The new expiry has passed already.
    #[error("the link would expire at once")]
    ExpiryPassed,
    /// The password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed. The change may have been made or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The sender of a request for a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follower {
    /// A client that goes to the target.
    Visitor(Visitor),
    /// A client that only asks for the target, such as with HEAD. It is not counted.
    Preview,
}

impl Follower {
    fn is_person(&self) -> bool {
        matches!(self, Self::Visitor(Visitor::Person { .. }))
    }
}

/// The link is not followed.
#[derive(Debug, Error)]
pub enum FollowError {
    /// No link has this key, or its start is still to come.
    #[error("not found")]
    NotFound,
    /// The link has expired, was taken down, or is used up.
    #[error("gone")]
    Gone,
    /// A password is needed.
    #[error("a password is needed")]
    PasswordNeeded,
    /// The password is another one.
    #[error("the password is wrong")]
    WrongPassword,
    /// The link has a visit limit and the visitor is not a person.
    #[error("the link has a limited number of visits")]
    OnlyPeople,
    /// A newer version of this program has restricted the link in a way that this one does not know.
    #[error("the link has restrictions (needs {0}) that only a newer version of this program applies")]
    Unsupported(u32),
    /// The password could not be checked.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed, so nobody knows.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shortener {
    /// Makes a link that is durable when this returns. `own` is where the service itself is reached.
    ///
    /// # Errors
    /// See [`ChangeError`]; nothing was promised then.
    pub async fn shorten(&self, new: NewLink, own: &BaseUrl) -> Result<Shortened, ChangeError> {
        self.policy.check(&new.target, own)?;
        if new.options.expires_at.is_some_and(|expiry| expiry <= self.clock.now()) {
            return Err(ChangeError::ExpiryPassed);
        }
        if let Some(key) = &new.key {
            self.check_key(key, new.password.is_some()).await?;
        }
        let draft = self.draft(new.options, new.password).await?;
        match new.key {
            Some(key) => self.shorten_as(key, new.target, draft).await,
            None => self.shorten_freely(new.target, draft).await,
        }
    }

    /// Refuses a wanted key that can't be had, before a password is hashed for nothing.
    async fn check_key(&self, key: &Key, has_password: bool) -> Result<(), ChangeError> {
        if self.is_reserved(key) {
            return Err(ChangeError::KeyReserved);
        }
        if has_password && self.links.get(key).await?.is_some() {
            return Err(ChangeError::KeyTaken);
        }
        Ok(())
    }

    /// Options that are ready to be kept.
    async fn draft(&self, options: Options, password: Option<Password>) -> Result<Options, ChangeError> {
        let password = match password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        Ok(Options { password, ..options })
    }

    async fn shorten_as(&self, key: Key, target: Target, draft: Options) -> Result<Shortened, ChangeError> {
        match self.put(key, target, draft, "custom").await? {
            Some(link) => Ok(Shortened::Created(link)),
            None => Err(ChangeError::KeyTaken),
        }
    }

    async fn shorten_freely(&self, target: Target, draft: Options) -> Result<Shortened, ChangeError> {
        let is_plain = draft == Options::default();
        for attempt in 0..ATTEMPTS {
            let key = self.strategy.propose(&target, attempt).await?;
            if self.is_reserved(&key) {
                continue;
            }
            let origin = self.strategy_name.as_str();
            if let Some(link) = self.put(key.clone(), target.clone(), draft.clone(), origin).await? {
                return Ok(Shortened::Created(link));
            }
            if self.strategy.reuses_links()
                && is_plain
                && let Some(link) = self.links.find(&key).await?
                && link.doc.target == target
                && link.doc.is_plain()
            {
                return Ok(Shortened::Existing(link));
            }
            self.metrics.key_collisions.inc();
        }
        Err(ChangeError::NoFreeKey)
    }

    /// Keeps a new link, or returns `None` where the key is taken.
    async fn put(
        &self,
        key: Key,
        target: Target,
        draft: Options,
        origin: &str,
    ) -> Result<Option<Arc<Link>>, StoreError> {
        let mut link = Link::new(key, target, self.clock.now());
        link.doc.options = draft;
        if !self.links.put_if_absent(link.clone(), History::default()).await? {
            return Ok(None);
        }
        self.metrics.links_created.with_label_values(&[origin]).inc();
        Ok(Some(Arc::new(link)))
    }

    fn is_reserved(&self, key: &Key) -> bool {
        self.reserved.contains(key.as_str())
    }

    /// Follows a link that is cached and asks for neither a password nor a visit, without waiting.
    ///
    /// Returns the link once the visit is counted. `None` says nothing about the link, but [`Shortener::follow`] does.
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
    /// If the link has a visit limit, the store decides about each visit. Only people may follow it then: a bot would use
    /// up a visit that is meant for a person.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn follow(
        &self,
        key: &Key,
        follower: Follower,
        password: Option<Password>,
    ) -> Result<Arc<Link>, FollowError> {
        if let Some(link) = self.try_follow(key, || follower.clone()) {
            return Ok(link);
        }
        let now = self.clock.now();
        let result = self.admit(key, now, &follower, password).await;
        match &result {
            Ok(link) => self.count_followed(link, now, follower),
            Err(error) => self.metrics.redirects.with_label_values(&[error.outcome()]).inc(),
        }
        result
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
                return Err(FollowError::Gone);
            }
        }
        Ok(link)
    }

    /// Refuses a link that has no visit left.
    async fn check_visits(&self, key: &Key) -> Result<(), FollowError> {
        let record = self.links.get(key).await?.ok_or(FollowError::NotFound)?;
        if record.is_used_up() { Err(FollowError::Gone) } else { Ok(()) }
    }

    /// Returns a link to show to `follower` instead of following it. No visit is counted or used up.
    ///
    /// # Errors
    /// Those with which [`Shortener::follow`] refuses to reveal the target without a password.
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

    /// Returns the link with this key if it redirects now, password and visit limit aside.
    ///
    /// # Errors
    /// [`FollowError::NotFound`], [`FollowError::Gone`], [`FollowError::Unsupported`] or [`FollowError::Store`].
    pub async fn find(&self, key: &Key) -> Result<Arc<Link>, FollowError> {
        self.find_at(key, self.clock.now()).await
    }

    async fn find_at(&self, key: &Key, now: Timestamp) -> Result<Arc<Link>, FollowError> {
        let link = self.links.find(key).await?.ok_or(FollowError::NotFound)?;
        check(&link, now)?;
        Ok(link)
    }
}

impl FollowError {
    /// Returns the label of the outcome in metrics.
    fn outcome(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::PasswordNeeded | Self::WrongPassword | Self::OnlyPeople => "refused",
            Self::Unsupported(_) | Self::Store(_) | Self::Hash(_) => "error",
        }
    }
}

/// Checks that a link redirects at `now`, password and visit limit aside.
fn check(link: &Link, now: Timestamp) -> Result<(), FollowError> {
    if !link.doc.is_supported() {
        return Err(FollowError::Unsupported(link.doc.needs()));
    }
    match link.state(now) {
        LinkState::Active => Ok(()),
        LinkState::Scheduled => Err(FollowError::NotFound),
        LinkState::Expired | LinkState::TakenDown => Err(FollowError::Gone),
    }
}

/// Returns the day on which a visit counts.
fn utc_day(now: Timestamp) -> Date {
    Offset::UTC.to_datetime(now).date()
}
