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
    keygen::{KeyStrategy, KeygenError, StrategyName},
    link::{Key, Link, LinkState, Target, options::Options},
    observability::metrics::Metrics,
    password::{HashError, Password, Passwords},
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
    /// Its expiry has come already.
    #[error("the link would expire at once")]
    ExpiryPassed,
    /// Its password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed. The link may stand or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who asks to follow a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follower {
    /// Somebody or something that goes where the link leads.
    Visitor(Visitor),
    /// Whoever only asks where that would be.
    Asker,
}

/// A link that can be followed at once.
pub struct AtHand {
    /// The link.
    pub link: Arc<Link>,
    /// When it was found to stand.
    now: Timestamp,
}

/// The link is not followed.
#[derive(Debug, Error)]
pub enum FollowError {
    /// No link has this key.
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
    /// Each visit counts, and this is none by a person.
    #[error("the link has a limited number of visits")]
    OnlyPeople,
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
    /// See [`ShortenError`]; nothing was promised then.
    pub async fn shorten(&self, new: NewLink, own: &BaseUrl) -> Result<Shortened, ShortenError> {
        self.policy.check(&new.target, own)?;
        if new.options.expires_at.is_some_and(|expiry| expiry <= self.clock.now()) {
            return Err(ShortenError::ExpiryPassed);
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
    async fn check_key(&self, key: &Key, has_password: bool) -> Result<(), ShortenError> {
        if self.is_reserved(key) {
            return Err(ShortenError::KeyReserved);
        }
        if has_password && self.store.record(key).await?.is_some() {
            return Err(ShortenError::KeyTaken);
        }
        Ok(())
    }

    /// Options that are ready to be kept.
    async fn draft(&self, options: Options, password: Option<Password>) -> Result<Options, ShortenError> {
        let password = match password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        Ok(Options { password, ..options })
    }

    async fn shorten_as(&self, key: Key, target: Target, draft: Options) -> Result<Shortened, ShortenError> {
        match self.put(key, target, draft, "custom").await? {
            Some(link) => Ok(Shortened::Created(link)),
            None => Err(ShortenError::KeyTaken),
        }
    }

    async fn shorten_freely(&self, target: Target, draft: Options) -> Result<Shortened, ShortenError> {
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
    async fn put(
        &self,
        key: Key,
        target: Target,
        draft: Options,
        origin: &str,
    ) -> Result<Option<Arc<Link>>, StoreError> {
        let link = Link::new(key, target, self.clock.now()).with(draft);
        if !self.store.put_if_absent(link.clone()).await? {
            return Ok(None);
        }
        self.metrics.links_created.with_label_values(&[origin]).inc();
        Ok(Some(Arc::new(link)))
    }

    fn is_reserved(&self, key: &Key) -> bool {
        self.reserved.contains(key.as_str())
    }

    /// The link to redirect to, counted for its follower. Where a visit limit stands, the store decides each visit,
    /// and what is not a person is not let through: it would use up what was meant for people.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn follow(
        &self,
        key: &Key,
        follower: Follower,
        password: Option<Password>,
    ) -> Result<Arc<Link>, FollowError> {
        let now = self.clock.now();
        let result = self.admit(key, now, &follower, password).await;
        let outcome = match &result {
            Ok(_) => "redirected",
            Err(FollowError::NotFound) => "not_found",
            Err(FollowError::Gone) => "gone",
            Err(FollowError::PasswordNeeded | FollowError::WrongPassword | FollowError::OnlyPeople) => {
                "refused"
            }
            Err(FollowError::Store(_) | FollowError::Hash(_)) => "error",
        };
        self.metrics.redirects.with_label_values(&[outcome]).inc();
        if let (Ok(_), Follower::Visitor(visitor)) = (&result, follower) {
            self.clicks.record(key, utc_day(now), visitor);
        }
        result
    }

    /// The link to redirect to, where nobody has to be asked for that: it is in memory, stands, and asks for nothing.
    /// `None` says nothing about the link; [`Shortener::follow`] does.
    pub fn find_at_hand(&self, key: &Key) -> Option<AtHand> {
        let link = self.store.peek(key)?;
        let now = self.clock.now();
        let is_free = link.password.is_none() && link.max_visits.is_none();
        (is_free && link.state(now) == LinkState::Active).then_some(AtHand { link, now })
    }

    /// Counts that it was followed.
    pub fn count_at_hand(&self, at_hand: &AtHand, visitor: Visitor) {
        self.metrics.redirected.inc();
        self.clicks.record(&at_hand.link.key, utc_day(at_hand.now), visitor);
    }

    async fn admit(
        &self,
        key: &Key,
        now: Timestamp,
        follower: &Follower,
        password: Option<Password>,
    ) -> Result<Arc<Link>, FollowError> {
        let link = self.look_at(key, now).await?;
        if let Some(hash) = &link.password {
            let password = password.ok_or(FollowError::PasswordNeeded)?;
            if !self.passwords.verify(hash.clone(), password).await? {
                return Err(FollowError::WrongPassword);
            }
        }
        if link.max_visits.is_some() {
            if !matches!(follower, Follower::Visitor(Visitor::Person { .. })) {
                self.check_visits(key).await?;
                return Err(FollowError::OnlyPeople);
            }
            if !self.store.use_visit(key).await? {
                return Err(FollowError::Gone);
            }
        }
        Ok(link)
    }

    /// Refuses a link that has no visit left.
    async fn check_visits(&self, key: &Key) -> Result<(), FollowError> {
        let record = self.store.record(key).await?.ok_or(FollowError::NotFound)?;
        if record.is_used_up() { Err(FollowError::Gone) } else { Ok(()) }
    }

    /// The link to show to `follower` instead of following it. Nothing is counted or used up.
    ///
    /// # Errors
    /// Those with which [`Shortener::follow`] would keep the target to itself, without a password.
    pub async fn preview(&self, key: &Key, follower: &Follower) -> Result<Arc<Link>, FollowError> {
        let link = self.look(key).await?;
        if link.password.is_some() {
            return Err(FollowError::PasswordNeeded);
        }
        if link.max_visits.is_some() {
            self.check_visits(key).await?;
            if !matches!(follower, Follower::Visitor(Visitor::Person { .. })) {
                return Err(FollowError::OnlyPeople);
            }
        }
        Ok(link)
    }

    /// The link with this key, if it stands.
    ///
    /// # Errors
    /// [`FollowError::NotFound`], [`FollowError::Gone`] or [`FollowError::Store`].
    pub async fn look(&self, key: &Key) -> Result<Arc<Link>, FollowError> {
        self.look_at(key, self.clock.now()).await
    }

    async fn look_at(&self, key: &Key, now: Timestamp) -> Result<Arc<Link>, FollowError> {
        let link = self.store.get(key).await?.ok_or(FollowError::NotFound)?;
        match link.state(now) {
            LinkState::Active => Ok(link),
            LinkState::Expired | LinkState::TakenDown => Err(FollowError::Gone),
        }
    }
}

/// The day that a visit counts for.
fn utc_day(now: Timestamp) -> Date {
    Offset::UTC.to_datetime(now).date()
}
