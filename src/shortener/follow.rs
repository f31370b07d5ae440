//! The hot path: follow a short link.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date, tz::Offset};
use thiserror::Error;

use super::Shortener;
use crate::{
    clicks::Visitor,
    link::{Key, Link, LinkState, Target},
    password::{HashError, Password},
    store::StoreError,
};

/// The kind of client that requests a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follower {
    /// A client that follows the redirect.
    Visitor(Visitor),
    /// A client that only looks up the target, for example with HEAD. It is not counted.
    Preview,
}

impl Follower {
    fn is_person(&self) -> bool {
        matches!(self, Self::Visitor(Visitor::Person { .. }))
    }
}

/// The reason a link does not redirect.
#[derive(Debug, Error)]
pub enum FollowError {
    /// No link has this key, or the link's start time is in the future.
    #[error("not found")]
    NotFound,
    /// The link has expired or has no visits left.
    #[error("gone")]
    Ended {
        /// The link's own fallback.
        gone_url: Option<Target>,
    },
    /// The link was taken down, or the host of its target is blocked.
    #[error("gone")]
    Gone,
    #[error("a password is needed")]
    PasswordNeeded,
    #[error("the password is wrong")]
    WrongPassword,
    /// The link has a visit limit, and the visitor is not a person.
    #[error("the link has a limited number of visits")]
    OnlyPeople,
    /// A newer version of this program restricted the link in a way that this version does not support.
    #[error("the link has restrictions (needs {0}) that only a newer version of this program can enforce")]
    Unsupported(u32),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shortener {
    /// Follows a cached link that has no password and no visit limit.
    ///
    /// This method never waits. On success, it counts the visit and returns the link. If it returns `None`, call
    /// [`Shortener::follow`].
    pub(crate) fn try_follow(&self, key: &Key, follower: impl FnOnce() -> Follower) -> Option<Arc<Link>> {
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
    /// `follower` is not called if the link does not redirect. If the link has a visit limit, the store checks each
    /// visit. Only people may follow such a link, so that bots don't use up visits meant for people.
    ///
    /// # Errors
    /// See [`FollowError`]. The caller must pass the error to [`Shortener::refuse`], which counts it.
    pub async fn follow(
        &self,
        key: &Key,
        follower: impl FnOnce() -> Follower,
        password: Option<Password>,
    ) -> Result<Arc<Link>, FollowError> {
        let now = self.clock.now();
        let link = self.find_at(key, now).await?;
        let follower = follower();
        self.admit(&link, &follower, password).await?;
        self.count_followed(&link, now, follower);
        Ok(link)
    }

    fn count_followed(&self, link: &Link, now: Timestamp, follower: Follower) {
        self.metrics.redirected.inc();
        if let Follower::Visitor(visitor) = follower {
            self.clicks.record(link, utc_day(now), visitor);
        }
    }

    async fn admit(
        &self,
        link: &Link,
        follower: &Follower,
        password: Option<Password>,
    ) -> Result<(), FollowError> {
        let options = &link.doc.options;
        if let Some(hash) = &options.password {
            let password = password.ok_or(FollowError::PasswordNeeded)?;
            if !self.passwords.verify(hash.clone(), password).await? {
                return Err(FollowError::WrongPassword);
            }
        }
        if options.max_visits.is_some() {
            if !follower.is_person() {
                self.check_visits(&link.key).await?;
                return Err(FollowError::OnlyPeople);
            }
            if !self.links.use_visit(&link.key).await? {
                return Err(FollowError::ended(link));
            }
        }
        Ok(())
    }

    /// Refuses a link with no visits left.
    async fn check_visits(&self, key: &Key) -> Result<(), FollowError> {
        let record = self.links.get(key).await?.ok_or(FollowError::NotFound)?;
        if record.is_used_up() { Err(FollowError::ended(&record.link)) } else { Ok(()) }
    }

    /// Returns a link for a preview, without following it.
    ///
    /// No visit is counted or used up.
    ///
    /// # Errors
    /// The same errors as for [`Shortener::follow`] without a password.
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

    /// Returns a link that redirects now, ignoring its password and visit limit.
    ///
    /// # Errors
    /// [`FollowError::NotFound`], [`FollowError::Ended`], [`FollowError::Gone`], [`FollowError::Unsupported`] or
    /// [`FollowError::Store`].
    pub async fn find(&self, key: &Key) -> Result<Arc<Link>, FollowError> {
        self.find_at(key, self.clock.now()).await
    }

    async fn find_at(&self, key: &Key, now: Timestamp) -> Result<Arc<Link>, FollowError> {
        let link = self.links.find(key).await?.ok_or(FollowError::NotFound)?;
        if self.links.blocked_hosts().blocks(&link.doc.target) {
            return Err(FollowError::Gone);
        }
        check(&link, now)?;
        Ok(link)
    }
}

impl FollowError {
    /// Returns the metric label for this outcome.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Ended { .. } | Self::Gone => "gone",
            Self::PasswordNeeded | Self::WrongPassword | Self::OnlyPeople => "refused",
            Self::Unsupported(_) | Self::Store(_) | Self::Hash(_) => "error",
        }
    }
}

/// Checks that a link redirects at `now`.
///
/// The check ignores the password, the visit limit and blocked hosts.
fn check(link: &Link, now: Timestamp) -> Result<(), FollowError> {
    if !link.doc.is_supported() {
        return Err(FollowError::Unsupported(link.doc.needs()));
    }
    match link.state(now) {
        LinkState::Active => Ok(()),
        LinkState::Scheduled => Err(FollowError::NotFound),
        LinkState::Expired | LinkState::UsedUp => Err(FollowError::ended(link)),
        LinkState::TakenDown | LinkState::Blocked => Err(FollowError::Gone),
    }
}

fn utc_day(now: Timestamp) -> Date {
    Offset::UTC.to_datetime(now).date()
}
