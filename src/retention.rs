//! Retention: the removal of links that expired long ago, and of counts of old days.
//!
//! Every instance sweeps the whole store now and then, without a leader: what another one has removed is no longer there.
//! A sweep reads small parts with pauses between them, so that redirects hardly notice it. A delete
//! is conditional on the version that was read, so a link that was edited since then stays.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use tokio::time::sleep;

use crate::{
    clock::Clock,
    config::RetentionOptions,
    link::{Link, LinkState},
    links::{Links, ListError},
    observability::{logging::Chain, metrics::Metrics},
    store::{
        Change, DayPurge, StoreError,
        listing::{Filter, Listing, Order},
    },
};

/// Expired links that are read at a time.
const PAGE: usize = 256;

/// The time that the search for a page may take.
const SEARCH_TIME: Duration = Duration::from_millis(20);

/// The longest time from one sweep to the next. Sweeps are as often as a tenth of the time that an expired link is kept.
const INTERVAL: Duration = Duration::from_hours(1);

/// The longest time to the first sweep: instances that are often replaced sweep as well.
const FIRST: Duration = Duration::from_mins(1);

/// The effort of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Links that are removed at a time. They can share a commit.
    pub at_a_time: usize,
    /// The pause after each part, on average.
    pub pause: Duration,
}

impl Pace {
    /// Leaves the store to requests most of the time.
    pub const BESIDE_REQUESTS: Self = Self { at_a_time: 8, pause: Duration::from_millis(100) };

    /// Is done soon.
    pub const ALONE: Self = Self { at_a_time: 64, pause: Duration::ZERO };
}

/// The number of things that a sweep has removed, or would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    pub links: u64,
    /// Days of links.
    pub day_counts: u64,
}

/// One pass over the store.
pub struct Sweep<'a> {
    pub links: &'a Links,
    pub options: RetentionOptions,
    /// The time by which links have expired. Instances whose clocks differ disagree by as much.
    pub now: Timestamp,
    pub pace: Pace,
    /// Counts what is removed.
    pub metrics: &'a Metrics,
    /// Finds everything, and removes nothing.
    pub dry_run: bool,
}

impl Sweep<'_> {
    /// Removes expired links and old counts, and adds them to `purged`. `found` is told of each link first.
    ///
    /// # Errors
    /// Those of the store. What was removed by then is in `purged`.
    pub async fn run(&self, purged: &mut Purged, mut found: impl FnMut(&Link)) -> Result<(), StoreError> {
        if let Some(kept) = self.options.purge_expired_after {
            // Before the earliest timestamp, no link has expired.
            let kept = SignedDuration::try_from(kept).unwrap_or(SignedDuration::MAX);
            if let Ok(expired_by) = self.now.checked_sub(kept) {
                self.purge_links(expired_by, purged, &mut found).await?;
            }
        }
        match self.options.stats_retention {
            Some(days) => self.purge_days(days, purged).await,
            None => Ok(()),
        }
    }

    async fn purge_links(
        &self,
        expired_by: Timestamp,
        purged: &mut Purged,
        found: &mut impl FnMut(&Link),
    ) -> Result<(), StoreError> {
        let filter = Filter { state: Some((LinkState::Expired, expired_by.into())), ..Filter::default() };
        let (order, search_time) = (Order::Oldest, SEARCH_TIME);
        let mut listing = Listing { order, limit: PAGE, filter, search_time, after: None };
        loop {
            let Some(page) = self.unless_busy(self.links.list(&listing).await).await? else { continue };
            // Only a newer program knows what the expiry of such a link means.
            let records = page.records.into_iter().filter(|record| record.link.doc.is_supported());
            let links: Vec<_> = records.map(|record| record.link).collect();
            links.iter().for_each(|link| found(link));
            if self.dry_run {
                purged.links += links.len() as u64;
            } else {
                let deletes = stream::iter(links)
                    .map(|link| async move { self.links.delete(&link.key, link.revision()).await });
                let mut deletes = deletes.buffer_unordered(self.pace.at_a_time);
                while let Some(change) = deletes.next().await {
                    let removed = u64::from(change? == Change::Done);
                    purged.links += removed;
                    self.metrics.purged_links.inc_by(removed);
                }
            }
            listing.after = page.next;
            if listing.after.is_none() {
                return Ok(());
            }
            self.pause().await;
        }
    }

    async fn purge_days(&self, days: u32, purged: &mut Purged) -> Result<(), StoreError> {
        let today = self.now.to_zoned(TimeZone::UTC).date();
        // Before the first day there are no counts.
        let Ok(before) = today.checked_sub((i64::from(days) - 1).days()) else { return Ok(()) };
        let mut purge = DayPurge { before, after: None, dry_run: self.dry_run };
        loop {
            let Some(part) = self.unless_busy(self.links.purge_days(&purge).await).await? else { continue };
            purged.day_counts += part.days;
            if !self.dry_run {
                self.metrics.purged_day_counts.inc_by(part.days);
            }
            purge.after = part.next;
            if purge.after.is_none() {
                return Ok(());
            }
            self.pause().await;
        }
    }

    /// Returns `None` after a pause if searches keep the store busy. The call is to be made again.
    async fn unless_busy<T>(&self, answer: Result<T, ListError>) -> Result<Option<T>, StoreError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(ListError::Store(error)) => Err(error),
            Err(ListError::Busy) => {
                sleep(jittered(Pace::BESIDE_REQUESTS.pause)).await;
                Ok(None)
            }
        }
    }

    async fn pause(&self) {
        if !self.pace.pause.is_zero() {
            sleep(jittered(self.pace.pause)).await;
        }
    }
}

/// The sweeps of a running service.
pub struct Retention {
    pub options: RetentionOptions,
    pub links: Arc<Links>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
}

impl Retention {
    /// Sweeps now and then. Never returns.
    pub async fn sweep_regularly(&self) {
        if self.options.is_off() {
            return std::future::pending().await;
        }
        let tenth = self.options.purge_expired_after.map_or(INTERVAL, |kept| kept / 10);
        let interval = tenth.clamp(Duration::from_secs(1), INTERVAL);
        sleep(jittered(interval.min(FIRST))).await;
        let mut is_failing = false;
        loop {
            let swept = self.sweep().await;
            match &swept {
                Ok(()) if is_failing => tracing::info!("purge works again"),
                Err(error) if !is_failing => {
                    tracing::warn!(error = %Chain(error), "purge failed; it will be tried again");
                }
                _ => {}
            }
            is_failing = swept.is_err();
            sleep(jittered(interval)).await;
        }
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let Self { options, links, clock, metrics } = self;
        let (options, now, pace) = (*options, clock.now(), Pace::BESIDE_REQUESTS);
        let mut purged = Logged(Purged::default());
        let sweep = Sweep { links, options, now, pace, metrics, dry_run: false };
        sweep.run(&mut purged.0, |_| {}).await?;
        metrics.purge_last_run.set(clock.now().as_second());
        Ok(())
    }
}

/// Logs what a sweep has removed, also if it is cut short.
struct Logged(Purged);

impl Drop for Logged {
    fn drop(&mut self) {
        let Purged { links, day_counts } = self.0;
        if self.0 != Purged::default() {
            tracing::info!(links, day_counts, "purged");
        }
    }
}

/// Returns a time around `time`: instances that start together don't sweep together.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + rand::random::<f64>())
}
