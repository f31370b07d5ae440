//! The use cases of people who manage links: edit, take down, restore, remove, create many.

use super::{ChangeError, NewLink, Shortened, Shortener};
use crate::{
    base_url::BaseUrl,
    keygen,
    link::{Document, Key, Link, Target, options::Options},
    password::Password,
    store::{Change, Record},
};

/// Attempts at an edit without a condition while others edit the same link.
const ATTEMPTS: u32 = 5;

impl Shortener {
    /// Replaces the target and the options of a link, and returns the link as it then is.
    ///
    /// `revise` computes them from the current link. It may be called again after a conflict with another edit, and its
    /// error ends the edit. The options' password is not its business: `password` sets it, or removes it, or leaves it.
    ///
    /// # Errors
    /// Those of `revise`, and [`ChangeError`]. Nothing was changed then, unless the store failed.
    pub async fn edit<E: From<ChangeError>>(
        &self,
        key: &Key,
        base_url: &BaseUrl,
        password: Option<Option<Password>>,
        revise: impl Fn(&Link) -> Result<(Target, Options), E>,
    ) -> Result<Record, E> {
        let password = match password {
            Some(Some(password)) => {
                Some(Some(self.passwords.hash(password).await.map_err(ChangeError::from)?))
            }
            Some(None) => Some(None),
            None => None,
        };
        let now = self.clock.now();
        self.change(key, |link| {
            let (target, mut options) = revise(link)?;
            let before = &link.doc;
            if target != before.target {
                self.policy.check(&target, base_url).map_err(ChangeError::from)?;
            }
            let expires_at = options.expires_at.filter(|_| options.expires_at != before.options.expires_at);
            if expires_at.is_some_and(|expiry| expiry <= now) {
                return Err(ChangeError::ExpiryPassed.into());
            }
            options.password = password.clone().unwrap_or_else(|| before.options.password.clone());
            let mut doc = before.clone();
            (doc.target, doc.options) = (target, options);
            Ok(doc)
        })
        .await
    }

    /// Takes a link down or restores it, if `check` accepts its current state. A link that is down keeps its time.
    ///
    /// # Errors
    /// Those of `check`, and [`ChangeError`]. Nothing was changed then, unless the store failed.
    pub async fn set_taken_down<E: From<ChangeError>>(
        &self,
        key: &Key,
        is_taken_down: bool,
        check: impl Fn(&Link) -> Result<(), E>,
    ) -> Result<Record, E> {
        let now = self.clock.now();
        self.change(key, |link| {
            check(link)?;
            let mut doc = link.doc.clone();
            doc.taken_down_at = is_taken_down.then(|| doc.taken_down_at.unwrap_or(now));
            Ok(doc)
        })
        .await
    }

    /// Replaces the document of a link, again after each conflict with another change.
    async fn change<E: From<ChangeError>>(
        &self,
        key: &Key,
        revise: impl Fn(&Link) -> Result<Document, E>,
    ) -> Result<Record, E> {
        for _ in 0..ATTEMPTS {
            let record = self.record_to_change(key).await?;
            let doc = revise(&record.link)?;
            if doc == record.link.doc {
                // An earlier edit may have been made without this instance knowing; repeating it must help.
                self.links.forget(key);
                return Ok(record);
            }
            // At the very end it stays: it must be possible to take a link down even then, and no client counts so far.
            let version = record.link.version.saturating_add(1);
            let link = Link { version, doc, ..(*record.link).clone() };
            let update = self.links.update(link.clone(), record.link.version);
            match update.await.map_err(ChangeError::from)? {
                Change::Done => return Ok(Record { link: link.into(), ..record }),
                Change::Missing => return Err(ChangeError::NotFound.into()),
                Change::Conflict => {}
            }
        }
        Err(ChangeError::Conflict.into())
    }

    /// Removes a link and its counts, if `check` accepts its current state.
    ///
    /// # Errors
    /// Those of `check`, and [`ChangeError`]. Nothing was removed then, unless the store failed.
    pub async fn remove<E: From<ChangeError>>(
        &self,
        key: &Key,
        check: impl Fn(&Link) -> Result<(), E>,
    ) -> Result<(), E> {
        for _ in 0..ATTEMPTS {
            let record = self.record_to_change(key).await?;
            check(&record.link)?;
            let delete = self.links.delete(key, record.link.revision());
            match delete.await.map_err(ChangeError::from)? {
                Change::Done => return Ok(()),
                Change::Missing => return Err(ChangeError::NotFound.into()),
                Change::Conflict => {}
            }
        }
        Err(ChangeError::Conflict.into())
    }

    /// Returns a link as the store has it. If it has none, the cache drops the link.
    async fn record_to_change(&self, key: &Key) -> Result<Record, ChangeError> {
        let record = self.links.get(key).await?;
        if record.is_none() {
            self.links.forget(key);
        }
        record.ok_or(ChangeError::NotFound)
    }

    /// Makes a link so that the same request, sent again, finds what it made before: `identity` takes the place of
    /// the strategy, and says nothing about the link to those who don't know it.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn shorten_once(
        &self,
        new: NewLink,
        own: &BaseUrl,
        identity: &[u8],
    ) -> Result<Shortened, ChangeError> {
        let key = new.key.clone().unwrap_or_else(|| keygen::key_of(identity));
        // Before anything else is checked or hashed: a repeated request finds what it made, and soon.
        if let Some(record) = self.links.get(&key).await? {
            return made_before(record, &new);
        }
        match self.shorten(NewLink { key: Some(key.clone()), ..new.clone() }, own).await {
            Err(ChangeError::KeyTaken) => match self.links.get(&key).await? {
                Some(record) => made_before(record, &new),
                None => Err(ChangeError::KeyTaken),
            },
            other => other,
        }
    }
}

fn made_before(record: Record, new: &NewLink) -> Result<Shortened, ChangeError> {
    if is_that(&record.link, new) { Ok(Shortened::Existing(record.link)) } else { Err(ChangeError::KeyTaken) }
}

/// Returns whether `link` is what `new` asks for. Passwords can't be compared, but whether there is one can.
fn is_that(link: &Link, new: &NewLink) -> bool {
    let has_password = link.doc.options.password.is_some();
    let mut asked = Link::new(link.key.clone(), new.target.clone(), link.created_at);
    asked.doc.options = Options { password: link.doc.options.password.clone(), ..new.options.clone() };
    asked.doc == link.doc && has_password == new.password.is_some()
}
