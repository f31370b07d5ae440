//! The use case for taking down many links.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use thiserror::Error;

use super::{ChangeError, Shortener};
use crate::{
    link::{Key, Link},
    links::ListError,
    store::{
        Record,
        listing::{Cursor, Filter, Listing, Order},
    },
};

/// The maximum number of links taken down by one call.
const BATCH: usize = 500;

/// The number of links changed concurrently, so that the store can commit them together.
const AT_A_TIME: usize = 64;

/// The time after which a call starts no more changes.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// A request to take down the links that match a filter.
#[derive(Clone, Debug)]
pub(crate) struct TakeDown {
    pub filter: Filter,
    /// The cursor from the previous call, or `None` for the first call.
    pub after: Option<Cursor>,
    /// If true, only count the links that would be taken down.
    pub is_dry_run: bool,
}

/// The result of a [`TakeDown`] request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakenDown {
    /// The number of links taken down, or that a dry run would take down.
    pub done: usize,
    /// The cursor for the next call, or `None` if no links are left.
    pub next: Option<Cursor>,
}

/// The error from a [`TakeDown`] request.
///
/// Some links may already have been taken down. Repeat the request to take down the others.
#[derive(Debug, Error)]
pub(crate) enum TakeDownError {
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// The reason a link was skipped.
enum Skip {
    /// The link is already down, or it has been edited since the search and no longer matches.
    NoMatch,
    Failed(ChangeError),
}

impl From<ChangeError> for Skip {
    fn from(error: ChangeError) -> Self {
        Self::Failed(error)
    }
}

impl Shortener {
    /// Takes down the links that match a filter, oldest first.
    ///
    /// A call does a bounded amount of work, and returns a cursor for the next one. `report` is called with the key of
    /// each link that was taken down. New links sort last, so later calls find them too.
    ///
    /// # Errors
    /// See [`TakeDownError`].
    pub(crate) async fn take_down_many(
        &self,
        TakeDown { filter, after, is_dry_run }: TakeDown,
        report: impl Fn(&Key),
    ) -> Result<TakenDown, TakeDownError> {
        let listing = Listing { order: Order::Oldest, after, limit: BATCH, filter, ..Listing::default() };
        let page = self.links.list(&listing).await?;
        let start = Instant::now();
        let mut taken = TakenDown { done: 0, next: page.next };
        let mut found = page.records;
        found.retain(|record| record.link.doc.taken_down_at.is_none());
        if is_dry_run {
            taken.done = found.len();
            return Ok(taken);
        }
        let mut chunks = found.chunks(AT_A_TIME).peekable();
        while let Some(records) = chunks.next() {
            taken.done += self.take_down_all(records, &listing.filter, &report).await?;
            if start.elapsed() >= TIME_LIMIT && chunks.peek().is_some() {
                taken.next = records.last().map(|record| listing.order.cursor(record));
                break;
            }
        }
        Ok(taken)
    }

    /// Takes down links concurrently, and returns the number taken down.
    async fn take_down_all(
        &self,
        records: &[Record],
        filter: &Filter,
        report: &impl Fn(&Key),
    ) -> Result<usize, ChangeError> {
        let all = records.iter().map(|record| self.take_down_if(&record.link.key, filter));
        let (mut done, mut failure) = (0, None);
        for (record, result) in records.iter().zip(join_all(all).await) {
            match result {
                Ok(()) => {
                    report(&record.link.key);
                    done += 1;
                }
                Err(Skip::NoMatch | Skip::Failed(ChangeError::NotFound)) => {}
                Err(Skip::Failed(error)) => failure = Some(error),
            }
        }
        failure.map_or(Ok(done), Err)
    }

    /// Takes a link down, unless it's already down or no longer matches.
    async fn take_down_if(&self, key: &Key, filter: &Filter) -> Result<(), Skip> {
        let check = |link: &Link| match link.doc.taken_down_at {
            None if filter.matches_link(link) => Ok(()),
            _ => Err(Skip::NoMatch),
        };
        self.set_taken_down(key, true, check).await.map(drop)
    }
}
