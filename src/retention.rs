//! Retention: removes long-expired links and old statistics.
//!
//! Every instance periodically sweeps the whole store. No leader is needed, because removals by several instances don't
//! conflict. A sweep works in small steps with pauses in between, so that it barely slows down redirects. Each delete
//! applies only to the version that the sweep has read, so a link that was edited in the meantime stays.

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

/// The number of expired links per page.
const PAGE: usize = 256;

/// The maximum search time per page.
const SEARCH_TIME: Duration = Duration::from_millis(20);

/// The maximum interval between sweeps.
///
/// If expired links are kept for less than ten hours, the interval is a tenth of that time.
const MAX_INTERVAL: Duration = Duration::from_hours(1);

/// The maximum delay before the first sweep.
///
/// It is short, so that short-lived instances sweep too.
const MAX_FIRST_DELAY: Duration = Duration::from_mins(1);

/// The speed of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The number of concurrent deletes. Concurrent deletes can share a commit.
    pub at_a_time: usize,
    /// The average pause after each step.
    pub pause: Duration,
}

impl Pace {
    /// The pace for a running service. It leaves most of the store's capacity for requests.
    pub(crate) const BACKGROUND: Self = Self { at_a_time: 8, pause: Duration::from_millis(100) };

    /// The pace for `urlshort purge`, without pauses.
    pub const FULL_SPEED: Self = Self { at_a_time: 64, pause: Duration::ZERO };
}

/// The number of links and days that a sweep removed, or would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    pub links: u64,
    /// The number of days, summed over all links.
    pub day_counts: u64,
}

/// One pass over the store.
pub struct Sweep<'a> {
    pub links: &'a Links,
    pub options: RetentionOptions,
    /// The current time according to this instance's clock. Other instances' clocks may differ.
    pub now: Timestamp,
    pub pace: Pace,
    pub metrics: &'a Metrics,
    /// If true, count links and days without removing them.
    pub dry_run: bool,
}

impl Sweep<'_> {
    /// Removes expired links and old statistics, and adds the counts to `purged`.
    ///
    /// `found` is called for each link before the link is removed.
    ///
    /// # Errors
    /// An error from the store. In that case, `purged` contains the counts up to the error.
    pub async fn run(&self, purged: &mut Purged, mut found: impl FnMut(&Link)) -> Result<(), StoreError> {
        if let Some(kept) = self.options.purge_expired_after {
            // Remove nothing if the cutoff is before the earliest timestamp, because no link can have expired that
            // early.
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
            // Skip links that need a newer version of this program, because only that version knows what their expiry
            // means.
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
        // If the cutoff is before the first possible day, there is nothing to remove.
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

    /// Pauses and returns `None` if other searches keep the store busy.
    ///
    /// On `None`, the caller must retry.
    async fn unless_busy<T>(&self, result: Result<T, ListError>) -> Result<Option<T>, StoreError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(ListError::Store(error)) => Err(error),
            Err(ListError::Busy) => {
                sleep(jittered(Pace::BACKGROUND.pause)).await;
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

/// The periodic sweeps of a running service.
pub struct Retention {
    pub options: RetentionOptions,
    pub links: Arc<Links>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
}

impl Retention {
    /// Sweeps periodically. Never returns.
    pub(crate) async fn sweep_regularly(&self) {
        if self.options.is_off() {
            return std::future::pending().await;
        }
        let tenth = self.options.purge_expired_after.map_or(MAX_INTERVAL, |kept| kept / 10);
        let interval = tenth.clamp(Duration::from_secs(1), MAX_INTERVAL);
        sleep(jittered(interval.min(MAX_FIRST_DELAY))).await;
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
        let (options, now, pace) = (*options, clock.now(), Pace::BACKGROUND);
        let mut purged = Logged(Purged::default());
        let sweep = Sweep { links, options, now, pace, metrics, dry_run: false };
        sweep.run(&mut purged.0, |_| {}).await?;
        metrics.purge_last_run.set(clock.now().as_second());
        Ok(())
    }
}

/// The counts of a sweep, logged on drop.
///
/// They are logged even if the sweep failed or was cancelled.
struct Logged(Purged);

impl Drop for Logged {
    fn drop(&mut self) {
        let Purged { links, day_counts } = self.0;
        if self.0 != Purged::default() {
            tracing::info!(links, day_counts, "purged");
        }
    }
}

/// Adds jitter, so that instances started together don't sweep together.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + rand::random::<f64>())
}
