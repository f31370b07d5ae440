//! A write-behind buffer for visits, so that no redirect waits for the store.
//!
//! Each visit increments a count in memory, and the counts are flushed to the store every `FLUSH_INTERVAL`. A crash
//! loses the visits since the last flush; a clean shutdown loses none. The buffer is bounded: when it is full, a visit
//! that would need a new entry is dropped, and a metric counts the dropped visits.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ahash::RandomState;
use jiff::{Timestamp, civil::Date};
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

use super::{DayCounts, Tally, Visitor, parts::Parts, referrers::KnownReferrers};
use crate::{
    link::{Key, Link},
    links::Links,
    observability::{logging::Chain, metrics::Metrics},
    store::StoreError,
};

/// The maximum number of entries in the buffer.
///
/// An entry takes about 160 bytes, so a full buffer takes 16 MB, or at most 51 MB with the longest keys and referrers.
const CAPACITY: usize = 100_000;

/// The number of entries at which a batch is written. A much larger batch would delay other calls to the store.
const BATCH: usize = 1000;

/// The maximum time over which a periodic flush is spread. A shutdown can be delayed by this much.
const MAX_SPREAD: Duration = Duration::from_millis(750);

/// How long a flush sleeps between two steps of its preparation, so that it does not delay requests on the same core.
const BREATHER: Duration = Duration::from_millis(1);

/// A buffer of visits that have not been written to the store yet.
pub struct Clicks {
    waiting: Mutex<Waiting>,
    referrers: Mutex<KnownReferrers>,
    pending: IntGauge,
    written: IntCounter,
    dropped: IntCounter,
    /// The number of clicks that the current flush has taken from the buffer but not yet written or dropped.
    in_flush: AtomicU64,
    /// Set while flushes fail because the store is unavailable.
    is_delayed: AtomicBool,
}

/// Visits that no flush has taken yet.
#[derive(Default)]
struct Waiting {
    visits: HashMap<Visit, u64, RandomState>,
    clicks: u64,
}

/// The properties of a visit that are counted. The time of day is not kept.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Visit {
    pub(super) key: Key,
    /// The link's creation time, so that the visit doesn't count towards a later link with the same key.
    pub(super) created_at: Timestamp,
    pub(super) day: Date,
    pub(super) visitor: Visitor,
}

/// Distinct visits, each with its number of occurrences.
pub(super) type Batch = Vec<(Visit, u64)>;

impl Clicks {
    /// Creates an empty buffer.
    pub fn new(metrics: &Metrics) -> Self {
        metrics.clicks_pending_limit.set(i64::try_from(CAPACITY).unwrap_or(i64::MAX));
        Self {
            waiting: Mutex::default(),
            referrers: Mutex::default(),
            pending: metrics.clicks_pending.clone(),
            written: metrics.clicks_written.clone(),
            dropped: metrics.clicks_dropped.clone(),
            in_flush: AtomicU64::new(0),
            is_delayed: AtomicBool::new(false),
        }
    }

    pub fn record(&self, link: &Link, day: Date, visitor: Visitor) {
        let visit = Visit { key: link.key.clone(), created_at: link.created_at, day, visitor };
        self.add(visit, 1);
    }

    fn add(&self, visit: Visit, count: u64) {
        let mut waiting = self.waiting.lock();
        if let Some(tally) = waiting.visits.get_mut(&visit) {
            *tally += count;
        } else if waiting.visits.len() < CAPACITY {
            waiting.visits.insert(visit, count);
            self.pending.inc();
        } else {
            self.dropped.inc_by(count);
            return;
        }
        waiting.clicks += count;
    }

    /// Flushes the buffer every `interval` until `stop` is ready.
    ///
    /// A flush in progress at that time is completed.
    pub(crate) async fn write_regularly(
        self: Arc<Self>,
        links: Arc<Links>,
        interval: Duration,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = pin!(stop);
        let spread = (interval * 3 / 4).min(MAX_SPREAD);
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.flush_over(spread, &links).await,
                () = &mut stop => return,
            }
        }
    }

    /// Writes all visits in the buffer.
    ///
    /// If the store is unavailable, the visits stay in the buffer until the next flush.
    pub async fn flush(&self, links: &Links) {
        self.flush_over(Duration::ZERO, links).await;
    }

    /// Writes all visits in the buffer, in batches spread over `time`.
    async fn flush_over(&self, time: Duration, links: &Links) {
        let start = Instant::now();
        self.dropped.inc_by(links.take_lost_clicks());
        let Waiting { visits, clicks } = self.take_waiting();
        self.in_flush.store(clicks, Ordering::Relaxed);
        let pause = time / u32::try_from(visits.len().div_ceil(BATCH)).unwrap_or(u32::MAX).max(1);
        let breather = BREATHER.min(pause);
        let mut parts = Parts::divide(visits, breather).await;
        let (mut number, mut halves, mut kept) = (0, Vec::<Batch>::new(), Vec::new());
        loop {
            let (mut batch, tallies) = match halves.pop() {
                Some(half) => {
                    let tallies = self.tallies(&half);
                    (half, tallies)
                }
                None => self.next_batch(&mut parts, breather).await,
            };
            if batch.is_empty() {
                break;
            }
            sleep_until(start + pause * number).await;
            number += 1;
            match links.add_clicks(tallies).await {
                Ok(failed) => kept.extend(self.keep_failed(batch, &failed.into_iter().collect())),
                // One damaged row must not keep the other visits from being counted, so retry each half separately.
                Err(StoreError::Corrupt(_)) if batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    halves.extend([second, batch]);
                }
                Err(error @ StoreError::Corrupt(_)) => self.lose(&batch, &error),
                // The store may have written the batch, so don't retry it. Undercounting is better than overcounting,
                // and a metric shows it.
                Err(error @ StoreError::Timeout(_)) => {
                    self.lose(&batch, &error);
                    break;
                }
                Err(error @ StoreError::Unavailable(_)) => {
                    self.note_delay(&error);
                    kept.extend(batch);
                    break;
                }
            }
        }
        for (visit, count) in kept.into_iter().chain(halves.into_iter().flatten()).chain(parts.into_rest()) {
            self.decrease_pending(1);
            self.add(visit, count);
        }
        self.in_flush.store(0, Ordering::Relaxed);
    }

    fn take_waiting(&self) -> Waiting {
        // Reserve the same capacity, because the next interval will probably need it. Growing the table step by step
        // would delay requests, and so would reserving it under the lock.
        let capacity = self.waiting.lock().visits.len();
        let visits = HashMap::with_capacity_and_hasher(capacity, RandomState::new());
        std::mem::replace(&mut *self.waiting.lock(), Waiting { visits, clicks: 0 })
    }

    /// Prepares the next batch, and sleeps for `breather` after each part. The batch is empty if no visits are left.
    async fn next_batch(&self, parts: &mut Parts, breather: Duration) -> (Batch, Vec<Tally>) {
        let (mut batch, mut tallies) = (Vec::new(), Vec::new());
        while batch.len() < BATCH
            && let Some(part) = parts.pop()
        {
            tallies.extend(self.tallies(&part));
            batch.extend(part);
            sleep(breather).await;
        }
        (batch, tallies)
    }

    /// Accounts for a batch that was written in part, and returns the visits to retry.
    ///
    /// A failed visit is retried if the store was unavailable for its link. Otherwise, it is dropped.
    fn keep_failed(&self, batch: Batch, failed: &HashMap<Key, StoreError>) -> Batch {
        let (failures, written): (Batch, Batch) =
            batch.into_iter().partition(|(visit, _)| failed.contains_key(&visit.key));
        self.decrease_pending(written.len());
        self.written.inc_by(self.finish(&written));
        let is_unavailable = |error: &StoreError| matches!(error, StoreError::Unavailable(_));
        let (kept, lost): (Batch, Batch) =
            failures.into_iter().partition(|(visit, _)| failed.get(&visit.key).is_some_and(is_unavailable));
        if let Some(error) = failed.values().find(|error| !is_unavailable(error)) {
            self.lose(&lost, error);
        }
        match failed.values().find(|error| is_unavailable(error)) {
            Some(error) => self.note_delay(error),
            None => self.note_success(),
        }
        kept
    }

    /// Logs a failed flush, unless the previous flush failed too.
    fn note_delay(&self, error: &StoreError) {
        if !self.is_delayed.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %Chain(error.cause()), "clicks are not being written; they wait in memory");
        }
    }

    fn note_success(&self) {
        if self.is_delayed.swap(false, Ordering::Relaxed) {
            tracing::info!("clicks are being written again");
        }
    }

    fn lose(&self, visits: &[(Visit, u64)], error: &StoreError) {
        self.decrease_pending(visits.len());
        let count = self.finish(visits);
        self.dropped.inc_by(count);
        let first_key = visits.first().map(|(visit, _)| tracing::field::display(&visit.key));
        tracing::error!(first_key, count, error = %Chain(error), "clicks lost");
    }

    /// Subtracts visits from `in_flush`, and returns their number of clicks.
    fn finish(&self, visits: &[(Visit, u64)]) -> u64 {
        let count = sum(visits);
        self.in_flush.fetch_sub(count, Ordering::Relaxed);
        count
    }

    /// Drops the remaining visits, and counts them as dropped.
    ///
    /// Call this at exit, after the last flush has completed or timed out.
    pub(crate) fn drop_rest(&self) {
        let rest = std::mem::take(&mut *self.waiting.lock());
        self.pending.set(0);
        self.dropped.inc_by(rest.clicks + self.in_flush.swap(0, Ordering::Relaxed));
    }

    /// Returns the sums of visits by link and day, sorted by key.
    ///
    /// Instances that lock rows in the same order can't deadlock.
    fn tallies(&self, visits: &[(Visit, u64)]) -> Vec<Tally> {
        let mut known = self.referrers.lock();
        let mut tallies = BTreeMap::<(&Key, Timestamp, Date), DayCounts>::new();
        for (Visit { key, created_at, day, visitor }, count) in visits {
            let mut visitor = visitor.clone();
            if let Visitor::Person { referrer, .. } = &mut visitor {
                *referrer = referrer.take().filter(|referrer| known.admit(key, *day, referrer));
            }
            tallies.entry((key, *created_at, *day)).or_default().count(visitor, *count);
        }
        let tally = |((key, created_at, day), counts): ((&Key, _, _), _)| Tally {
            key: key.clone(),
            created_at,
            day,
            counts,
        };
        tallies.into_iter().map(tally).collect()
    }

    fn decrease_pending(&self, visits: usize) {
        self.pending.sub(i64::try_from(visits).unwrap_or(i64::MAX));
    }
}

fn sum(visits: &[(Visit, u64)]) -> u64 {
    visits.iter().map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use bytesize::ByteSize;

    use super::*;
    use crate::{
        clicks::Device,
        config::CacheOptions,
        store::{History, Store, memory::MemoryStore},
    };

    const DAY: Date = date(2026, 6, 1);

    fn link(key: &str) -> Link {
        Link::new(key.parse().unwrap(), "https://example.com".parse().unwrap(), Timestamp::UNIX_EPOCH)
    }

    async fn links_with(link: Link) -> Links {
        let store = MemoryStore::default();
        assert!(store.put_if_absent(link, History::default()).await.unwrap());
        let cache = CacheOptions { cache_bytes: ByteSize(0), cache_ttl: Duration::ZERO };
        Links::new(Arc::new(store), Duration::from_secs(1), cache, Arc::new(Metrics::new()))
    }

    fn clicks() -> Clicks {
        Clicks::new(&Metrics::new())
    }

    fn person(referrer: &str) -> Visitor {
        Visitor::Person { device: Device::Mobile, referrer: referrer.parse().ok() }
    }

    #[tokio::test]
    async fn visits_add_up_across_flushes() {
        let (link, clicks) = (link("a"), clicks());
        let links = links_with(link.clone()).await;
        for _ in 0..3 {
            clicks.record(&link, DAY, person("news.example"));
            clicks.record(&link, DAY, person(""));
            clicks.record(&link, DAY, Visitor::Bot);
            assert_eq!(clicks.pending.get(), 3);
            clicks.flush(&links).await;
            assert_eq!(clicks.pending.get(), 0);
        }
        assert_eq!(links.get(&link.key).await.unwrap().unwrap().clicks, 6);
        let counts = links.day_counts(&link.key, DAY, DAY).await.unwrap();
        let expected = r#"{"people":6,"bots":3,"devices":{"mobile":6},"referrers":{"news.example":3}}"#;
        assert_eq!(serde_json::to_string(&counts[&DAY]).unwrap(), expected);
    }

    #[test]
    fn visits_beyond_the_capacity_are_dropped_and_counted() {
        let clicks = clicks();
        for number in 0..CAPACITY + 5 {
            clicks.record(&link(&number.to_string()), DAY, Visitor::Bot);
        }
        clicks.record(&link("0"), DAY, Visitor::Bot);
        assert_eq!(clicks.dropped.get(), 5);
        assert_eq!(clicks.pending.get(), CAPACITY as i64);
        clicks.drop_rest();
        assert_eq!(clicks.pending.get(), 0);
        assert_eq!(clicks.dropped.get(), 6 + CAPACITY as u64);
    }
}
