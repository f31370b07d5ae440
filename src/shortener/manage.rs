//! What whoever manages links does with them: edit, take down and restore, remove, make many.

use std::num::NonZeroU32;

use jiff::Timestamp;
use thiserror::Error;

use super::{NewLink, ShortenError, Shortened, Shortener};
use crate::{
    base_url::BaseUrl,
    keygen,
    link::{
        Key, Link, Target,
        options::{RedirectStatus, Tags, Title},
    },
    password::{HashError, Password},
    policy::Refusal,
    store::{Change, Record, StoreError},
};

/// How often an edit without a condition is tried again where others edit the same link.
const ATTEMPTS: u32 = 5;

/// What shall change; `None` leaves it as it is, `Some(None)` takes it away.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Where the link leads.
    pub target: Option<Target>,
    /// When it ends.
    pub expires_at: Option<Option<Timestamp>>,
    /// How many visits it serves in all.
    pub max_visits: Option<Option<NonZeroU32>>,
    /// How it redirects.
    pub redirect: Option<RedirectStatus>,
    /// Whether the query of the short URL is added to the target's.
    pub forward_query: Option<bool>,
    /// What those who manage it call it.
    pub title: Option<Option<Title>>,
    /// By what those who manage it find it.
    pub tags: Option<Tags>,
    /// What a visitor has to know.
    pub password: Option<Option<Password>>,
    /// Whether it is taken down.
    pub taken_down: Option<bool>,
}

/// A link was not changed.
#[derive(Debug, Error)]
pub enum EditError {
    /// No link has this key.
    #[error("not found")]
    NotFound,
    /// The link is not as the client has seen it.
    #[error("the link was changed meanwhile")]
    Changed,
    /// The target is not welcome.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its new expiry has come already.
    #[error("the link would expire at once")]
    ExpiryPassed,
    /// Its password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed. The change may have been made or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shortener {
    /// Changes a link for which `condition` holds, and returns it as it then is.
    ///
    /// # Errors
    /// See [`EditError`]; nothing was changed then, but where the store failed.
    pub async fn edit(
        &self,
        key: &Key,
        edit: Edit,
        own: &BaseUrl,
        condition: impl Fn(&Link) -> bool,
    ) -> Result<Record, EditError> {
        let now = self.clock.now();
        if let Some(target) = &edit.target {
            self.policy.check(target, own)?;
        }
        if edit.expires_at.flatten().is_some_and(|expiry| expiry <= now) {
            return Err(EditError::ExpiryPassed);
        }
        let password = match &edit.password {
            Some(Some(password)) => Some(Some(self.passwords.hash(password.clone()).await?)),
            Some(None) => Some(None),
            None => None,
        };
        for _ in 0..ATTEMPTS {
            let record = self.record_to_change(key).await?;
            if !condition(&record.link) {
                return Err(EditError::Changed);
            }
            let mut link = edit.apply(&record.link, now);
            if let Some(password) = &password {
                link.password = password.clone();
            }
            if link == *record.link {
                // An earlier edit may have been made without this instance knowing; repeating it must help.
                self.store.forget(key);
                return Ok(record);
            }
            // At the very end it stays: a link has to be taken down even then, and no client counts so far.
            link.version = record.link.version.saturating_add(1);
            match self.store.update(link.clone(), record.link.version).await? {
                Change::Done => return Ok(Record { link: link.into(), ..record }),
                Change::Missing => return Err(EditError::NotFound),
                Change::Conflict => {}
            }
        }
        Err(EditError::Changed)
    }

    /// Removes a link for which `condition` holds, and all that was counted about it.
    ///
    /// # Errors
    /// See [`EditError`]; nothing was removed then, but where the store failed.
    pub async fn remove(&self, key: &Key, condition: impl Fn(&Link) -> bool) -> Result<(), EditError> {
        for _ in 0..ATTEMPTS {
            let record = self.record_to_change(key).await?;
            if !condition(&record.link) {
                return Err(EditError::Changed);
            }
            match self.store.delete(key, Some(record.link.version)).await? {
                Change::Done => return Ok(()),
                Change::Missing => return Err(EditError::NotFound),
                Change::Conflict => {}
            }
        }
        Err(EditError::Changed)
    }

    /// Returns a link as the store has it. Where it has none, a link that this instance remembers has gone.
    async fn record_to_change(&self, key: &Key) -> Result<Record, EditError> {
        let record = self.store.record(key).await?;
        if record.is_none() {
            self.store.forget(key);
        }
        record.ok_or(EditError::NotFound)
    }

    /// Makes a link so that the same request, sent again, finds what it made before: `identity` takes the place of
    /// the strategy, and says nothing about the link to those who don't know it.
    ///
    /// # Errors
    /// See [`ShortenError`].
    pub async fn shorten_once(
        &self,
        new: NewLink,
        own: &BaseUrl,
        identity: &[u8],
    ) -> Result<Shortened, ShortenError> {
        let key = new.key.clone().unwrap_or_else(|| keygen::key_of(identity));
        // Before anything else is checked or hashed: a repeated request finds what it made, and soon.
        if let Some(record) = self.store.record(&key).await? {
            return made_before(record, &new);
        }
        match self.shorten(NewLink { key: Some(key.clone()), ..new.clone() }, own).await {
            Err(ShortenError::KeyTaken) => match self.store.record(&key).await? {
                Some(record) => made_before(record, &new),
                None => Err(ShortenError::KeyTaken),
            },
            other => other,
        }
    }
}

fn made_before(record: Record, new: &NewLink) -> Result<Shortened, ShortenError> {
    if is_that(&record.link, new) {
        Ok(Shortened::Existing(record.link))
    } else {
        Err(ShortenError::KeyTaken)
    }
}

/// Whether `link` is what `new` asks for. A password can't be compared, but whether there is one can.
fn is_that(link: &Link, new: &NewLink) -> bool {
    let asked = Link::new(link.key.clone(), new.target.clone(), link.created_at).with(new.options.clone());
    let kept = Link { password: None, version: asked.version, ..link.clone() };
    asked == kept && link.password.is_some() == new.password.is_some()
}

impl Edit {
    fn apply(&self, link: &Link, now: Timestamp) -> Link {
        let mut link = link.clone();
        macro_rules! set {
            ($($field:ident)*) => {
                $(if let Some(value) = &self.$field {
                    link.$field = value.clone();
                })*
            };
        }
        set!(target expires_at max_visits redirect forward_query title tags);
        if let Some(taken_down) = self.taken_down {
            // What is down already keeps its moment.
            link.taken_down_at = taken_down.then(|| link.taken_down_at.unwrap_or(now));
        }
        link
    }
}
