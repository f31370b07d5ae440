//! The use cases for managing links: edit, take down, remove, and create idempotently.

use super::{ChangeError, NewLink, Shortened, Shortener};
use crate::{
    base_url::BaseUrl,
    keygen,
    link::{Creator, Document, Key, Link, Target, options::Options},
    password::Password,
    store::{Change, Record},
};

/// The maximum number of attempts to change a link.
///
/// An attempt fails if it conflicts with another change.
const ATTEMPTS: u32 = 5;

impl Shortener {
    /// Replaces a link's target and options, and returns the edited link.
    ///
    /// `revise` computes the new target and options from the current link. It is called again after a conflict with
    /// another edit. If it returns an error, the edit fails. The password is separate: `Some(Some(_))` sets it,
    /// `Some(None)` removes it, and `None` keeps it.
    ///
    /// # Errors
    /// An error from `revise`, or [`ChangeError`]. Unless the store failed, nothing was changed.
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
            if let Some(gone_url) = &options.gone_url
                && options.gone_url != before.options.gone_url
            {
                self.policy.check(gone_url, base_url).map_err(ChangeError::GoneUrlRefused)?;
            }
            let expires_at = options.expires_at.filter(|_| options.expires_at != before.options.expires_at);
            if expires_at.is_some_and(|expiry| expiry <= now) {
                return Err(ChangeError::ExpiryPassed.into());
            }
            options.password = password.clone().unwrap_or_else(|| before.options.password.clone());
            let mut doc = before.clone();
            (doc.target, doc.options) = (target, options.into());
            Ok(doc)
        })
        .await
    }

    /// Takes a link down, or restores it.
    ///
    /// Nothing is changed if `check` rejects the current link. A link that is already down keeps its timestamp.
    ///
    /// # Errors
    /// An error from `check`, or [`ChangeError`]. Unless the store failed, nothing was changed.
    pub(crate) async fn set_taken_down<E: From<ChangeError>>(
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

    /// Replaces a link's document, and retries after a conflict.
    async fn change<E: From<ChangeError>>(
        &self,
        key: &Key,
        revise: impl Fn(&Link) -> Result<Document, E>,
    ) -> Result<Record, E> {
        for _ in 0..ATTEMPTS {
            let record = self.record_to_change(key).await?;
            let doc = revise(&record.link)?;
            if doc == record.link.doc {
                // The cache may be stale after an earlier edit that failed. Repeating the edit must fix the cache.
                self.links.forget(key);
                return Ok(record);
            }
            // A version at the maximum stays the same, so that the link can still be taken down.
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

    /// Removes a link and its counts.
    ///
    /// Nothing is removed if `check` rejects the current link.
    ///
    /// # Errors
    /// An error from `check`, or [`ChangeError`]. Unless the store failed, nothing was removed.
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

    /// Returns a link from the store.
    ///
    /// If the link is missing, it is also removed from the cache.
    async fn record_to_change(&self, key: &Key) -> Result<Record, ChangeError> {
        let record = self.links.get(key).await?;
        if record.is_none() {
            self.links.forget(key);
        }
        record.ok_or(ChangeError::NotFound)
    }

    /// Creates a link idempotently.
    ///
    /// A repeated request returns the link created by the first one.
    ///
    /// Without a custom key, the key is derived from `identity`. The key reveals nothing to clients that don't know
    /// `identity`.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub(crate) async fn shorten_once(
        &self,
        new: NewLink,
        created_by: &Creator,
        base_url: &BaseUrl,
        identity: &[u8],
    ) -> Result<Shortened, ChangeError> {
        let key = new.key.clone().unwrap_or_else(|| keygen::key_of(identity));
        // Look up the key first, so that a repeated request needs no other checks and no password hashing.
        if let Some(record) = self.links.get(&key).await? {
            return existing_or_taken(record, &new, created_by);
        }
        match self.shorten(NewLink { key: Some(key.clone()), ..new.clone() }, created_by, base_url).await {
            Err(ChangeError::KeyTaken) => match self.links.get(&key).await? {
                Some(record) => existing_or_taken(record, &new, created_by),
                None => Err(ChangeError::KeyTaken),
            },
            other => other,
        }
    }
}

fn existing_or_taken(record: Record, new: &NewLink, created_by: &Creator) -> Result<Shortened, ChangeError> {
    if is_result_of(&record.link, new, created_by) {
        Ok(Shortened::Existing(record.link))
    } else {
        Err(ChangeError::KeyTaken)
    }
}

/// Returns whether `link` is what `new`, requested by `created_by`, would create.
///
/// Password hashes can't be compared, so only the presence of a password is checked.
fn is_result_of(link: &Link, new: &NewLink, created_by: &Creator) -> bool {
    let has_password = link.doc.options.password.is_some();
    let mut expected = Link::new(link.key.clone(), new.target.clone(), link.created_at);
    expected.doc.created_by = created_by.clone();
    expected.doc.options =
        Options { password: link.doc.options.password.clone(), ..new.options.clone() }.into();
    expected.doc == link.doc && has_password == new.password.is_some()
}
