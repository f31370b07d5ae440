//! Import: stores the rows of a file.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;
use thiserror::Error;

use super::{
    Entry, RowError,
    row::{Position, Row},
};
use crate::{
    base_url::BaseUrl,
    link::Key,
    policy::{Refusal, TargetPolicy},
    store::{Store, StoreError},
};

/// An importer that applies the rules for new links.
pub struct Importer {
    pub store: Arc<dyn Store>,
    /// Keys that conflict with the service's own paths.
    pub reserved: HashSet<String>,
    pub policy: TargetPolicy,
    /// The URL of the service, if known. Links must not point to the service.
    pub base_url: Option<BaseUrl>,
    /// Report what an import would do, without changing anything.
    pub dry_run: bool,
}

/// The result of importing one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Added,
    /// The store already has the link. It stays unchanged.
    Present,
    Skipped(Skip),
}

/// A row that was not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    pub position: Position,
    /// `None` if the row does not have a valid key.
    pub key: Option<Key>,
    pub reason: SkipReason,
}

/// The reason for not importing a row.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SkipReason {
    #[error(transparent)]
    Row(#[from] RowError),
    #[error("the key is reserved")]
    Reserved,
    #[error(transparent)]
    Target(#[from] Refusal),
    #[error("gone_url: {0}")]
    GoneUrl(Refusal),
    #[error("the key already has another target")]
    Taken,
}

impl Importer {
    /// Imports `rows`, and returns their outcomes in the same order.
    ///
    /// The rows are stored concurrently, so that they share commits.
    ///
    /// # Errors
    /// An error from the store. Some rows may already have been stored. A later import reports them as present.
    pub async fn import(&self, rows: Vec<Row>) -> Result<Vec<Outcome>, StoreError> {
        join_all(rows.into_iter().map(|row| self.import_one(row))).await.into_iter().collect()
    }

    async fn import_one(&self, Row { position, entry, .. }: Row) -> Result<Outcome, StoreError> {
        let skip = |key, reason| Ok(Outcome::Skipped(Skip { position, key, reason }));
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return skip(None, error.into()),
        };
        let (key, target) = (entry.link.key.clone(), entry.link.doc.target.clone());
        if let Err(reason) = self.check(&entry) {
            return skip(Some(key), reason);
        }
        if !self.dry_run && self.store.put_if_absent(entry.link, entry.history).await? {
            return Ok(Outcome::Added);
        }
        match self.store.get(&key).await? {
            Some(record) if record.link.doc.target == target => Ok(Outcome::Present),
            None if self.dry_run => Ok(Outcome::Added),
            // If there is no record, the link that had this key was deleted just now.
            _ => skip(Some(key), SkipReason::Taken),
        }
    }

    fn check(&self, Entry { link, .. }: &Entry) -> Result<(), SkipReason> {
        if self.reserved.contains(link.key.as_str()) {
            return Err(SkipReason::Reserved);
        }
        let check = |url| match &self.base_url {
            Some(base_url) => self.policy.check(url, base_url),
            None => self.policy.check_host(url),
        };
        check(&link.doc.target)?;
        link.doc.options.gone_url.as_ref().map_or(Ok(()), check).map_err(SkipReason::GoneUrl)
    }
}
