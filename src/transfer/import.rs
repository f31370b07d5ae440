//! Putting the links of a file into a store.

use std::{collections::HashSet, sync::Arc};

use clap::ValueEnum;
use futures_util::future::join_all;
use thiserror::Error;

use super::{
    Entry, Flaw, bitly, chhoto,
    fields::Layout,
    kutt,
    reader::{Place, Row},
    shlink, spreadsheet, yourls,
};
use crate::{
    base_url::BaseUrl,
    link::Key,
    policy::{Refusal, TargetPolicy},
    store::{Store, StoreError},
};

/// What a file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Whatever its beginning shows.
    Auto,
    /// The lines of `urlshort export`.
    Jsonl,
    /// The CSV of `urlshort export`, or any other with the columns key and target.
    Csv,
    /// The table of YOURLS as CSV, or the CSV of its plugin.
    Yourls,
    /// The CSV of Shlink's web client.
    Shlink,
    /// What Kutt's API lists, or its table as CSV.
    Kutt,
    /// The CSV of Bitly, or what its API lists.
    Bitly,
    /// What Chhoto URL's API lists, or its table as CSV.
    Chhoto,
}

impl Format {
    /// The layouts that are known by the names of their fields, no two of which one file has.
    pub(super) const LAYOUTS: [(Self, Layout); 6] = [
        (Self::Csv, spreadsheet::LAYOUT),
        (Self::Yourls, yourls::LAYOUT),
        (Self::Shlink, shlink::LAYOUT),
        (Self::Kutt, kutt::LAYOUT),
        (Self::Bitly, bitly::LAYOUT),
        (Self::Chhoto, chhoto::LAYOUT),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auto => "any known layout",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Yourls => "yourls",
            Self::Shlink => "shlink",
            Self::Kutt => "kutt",
            Self::Bitly => "bitly",
            Self::Chhoto => "chhoto",
        }
    }
}

/// Takes links over into a store.
pub struct Importer {
    /// Where they go.
    pub store: Arc<dyn Store>,
    /// Keys that would hide a path of the service's own.
    pub reserved: HashSet<String>,
    /// Which targets are welcome.
    pub policy: TargetPolicy,
    /// Where the service is reached, if that is known: no link may lead there.
    pub own: Option<BaseUrl>,
    /// Whether to look only, and change nothing.
    pub dry_run: bool,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the store now, or would be.
    Added,
    /// The store has this key with this target already. Nothing was changed.
    Present,
    /// It is not in the store.
    Skipped(Skip),
}

/// A row that did not become a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Where it stands in the file.
    pub place: Place,
    /// Its key, if it has one.
    pub key: Option<Key>,
    /// Why.
    pub reason: Reason,
}

/// Why a row did not become a link.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// It is none.
    #[error(transparent)]
    Flaw(#[from] Flaw),
    /// Its key is a path of the service's own.
    #[error("the key is reserved")]
    Reserved,
    /// Its target is not welcome.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its key stands for another target.
    #[error("the key stands for another target")]
    Taken,
}

impl Importer {
    /// Puts `rows` into the store, all at the same time, so that they share its commits. What became of each comes
    /// back in their order.
    ///
    /// # Errors
    /// Those of the store. Some of the rows may have gone in; taking them over again finds them present.
    pub async fn take(&self, rows: Vec<Row>) -> Result<Vec<Outcome>, StoreError> {
        join_all(rows.into_iter().map(|row| self.take_one(row))).await.into_iter().collect()
    }

    async fn take_one(&self, Row { place, entry, .. }: Row) -> Result<Outcome, StoreError> {
        let skip = |key, reason| Ok(Outcome::Skipped(Skip { place, key, reason }));
        let entry = match entry {
            Ok(entry) => entry,
            Err(flaw) => return skip(None, flaw.into()),
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
            Some(_) => skip(Some(key), Reason::Taken),
            // A dry run has not put it there; otherwise somebody has just removed it, and then that holds.
            None => Ok(Outcome::Added),
        }
    }

    fn check(&self, Entry { link, .. }: &Entry) -> Result<(), Reason> {
        if self.reserved.contains(link.key.as_str()) {
            return Err(Reason::Reserved);
        }
        match &self.own {
            Some(own) => self.policy.check(&link.doc.target, own)?,
            None => self.policy.check_host(&link.doc.target)?,
        }
        Ok(())
    }
}
