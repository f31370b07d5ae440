//! Counting without ever making a redirect wait.
//!
//! A visit adds to tallies in memory; once a second they go to the store. A crash loses that second, a clean stop
//! nothing. Memory is bounded: past a number of tallies, visits that would need a new one are dropped, and counted as
//! such.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ahash::RandomState;
use jiff::civil::Date;
use prometheus::{IntCounter, IntGauge};
use tokio::time::MissedTickBehavior;

use super::{DayCount, Facet, Tally, Visitor, referrers::KnownReferrers};
use crate::{
    link::Key,
    observability::{logging::Chain, metrics::Metrics},
    store::{Store, StoreError},
};

/// Different visits that may wait to be written. At about 150 bytes each they take some 15 MB, and 50 MB at most, if each
/// key and referrer is as long as it can be.
const CAPACITY: usize = 100_000;

/// Tallies in one write, so that it stays short beside the others that the store has to do.
const BATCH: usize = 1000;

/// How often tallies are written.
const INTERVAL: Duration = Duration::from_secs(1);

/// Visits that are not in the store yet.
pub struct Clicks {
    waiting: Mutex<HashMap<Visit, u64, RandomState>>,
    referrers: Mutex<KnownReferrers>,
    pending: IntGauge,
    dropped: IntCounter,
}

/// What makes two visits the same for the statistics.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Visit {
    key: Key,
    day: Date,
    visitor: Visitor,
}

impl Clicks {
    /// No visits yet.
    pub fn new(metrics: &Metrics) -> Self {
        metrics.clicks_pending_limit.set(i64::try_from(CAPACITY).unwrap_or(i64::MAX));
        Self {
            waiting: Mutex::default(),
            referrers: Mutex::default(),
            pending: metrics.clicks_pending.clone(),
            dropped: metrics.clicks_dropped.clone(),
        }
    }

    /// Counts one visit to the link with this key.
    pub fn record(&self, key: &Key, day: Date, visitor: Visitor) {
        self.add(Visit { key: key.clone(), day, visitor }, 1);
    }

    fn add(&self, visit: Visit, count: u64) {
        let mut waiting = self.lock();
        if let Some(tally) = waiting.get_mut(&visit) {
            *tally += count;
        } else if waiting.len() < CAPACITY {
            waiting.insert(visit, count);
            self.pending.inc();
        } else {
            self.dropped.inc_by(count);
        }
    }

    /// Writes the tallies to `store` every second until `stop`; a write that has begun comes to its end.
    pub async fn write_regularly(self: Arc<Self>, store: Arc<dyn Store>, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.flush(&*store).await,
                () = &mut stop => return,
            }
        }
    }

    /// Writes what has gathered. What the store refuses is kept for the next time.
    pub async fn flush(&self, store: &dyn Store) {
        let mut waiting: Vec<_> = std::mem::take(&mut *self.lock()).into_iter().collect();
        // Neighbours in a batch share the pages that a store has to write.
        waiting.sort_unstable_by(|(one, _), (other, _)| one.key.cmp(&other.key));
        let mut waiting = waiting.into_iter();
        loop {
            let batch: Vec<_> = waiting.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return;
            }
            let written = store.add_clicks(self.tallies(&batch)).await;
            self.leave_pending(batch.len());
            if let Err(error) = written {
                tracing::warn!(error = %Chain(&error), "clicks could not be written");
                self.keep_or_drop(batch, &error);
                self.leave_pending(waiting.len());
                waiting.for_each(|(visit, count)| self.add(visit, count));
                return;
            }
        }
    }

    /// After a time-out nobody knows whether the batch was written. A count that is too low, and says so, is better
    /// than one that is too high.
    fn keep_or_drop(&self, batch: Vec<(Visit, u64)>, error: &StoreError) {
        match error {
            StoreError::Timeout(_) => self.dropped.inc_by(batch.iter().map(|(_, count)| count).sum()),
            StoreError::Unavailable(_) | StoreError::Corrupt(_) => {
                batch.into_iter().for_each(|(visit, count)| self.add(visit, count));
            }
        }
    }

    /// Gives up what is left, at the very end.
    pub fn drop_rest(&self) {
        let rest = std::mem::take(&mut *self.lock());
        self.leave_pending(rest.len());
        self.dropped.inc_by(rest.values().sum());
    }

    /// What visits add to the store's counts, each link, day and facet once and in order: two instances that write at
    /// the same time then meet in the same order, and can't wait for each other in a circle.
    fn tallies(&self, visits: &[(Visit, u64)]) -> Vec<Tally> {
        let mut known = self.referrers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = std::collections::BTreeMap::<(&Key, Date, Facet), u64>::new();
        for (Visit { key, day, visitor }, count) in visits {
            let facets = match visitor {
                Visitor::Bot => [Some(Facet::Bots), None, None],
                Visitor::Person { device, referrer } => {
                    let referrer = referrer.clone().filter(|referrer| known.admit(key, *day, referrer));
                    [Some(Facet::People), Some(Facet::Device(*device)), referrer.map(Facet::Referrer)]
                }
            };
            for facet in facets.into_iter().flatten() {
                *counts.entry((key, *day, facet)).or_default() += count;
            }
        }
        let tally = |((key, day, facet), count): ((&Key, _, _), _)| Tally {
            key: key.clone(),
            counted: DayCount { day, facet, count },
        };
        counts.into_iter().map(tally).collect()
    }

    fn leave_pending(&self, visits: usize) {
        self.pending.sub(i64::try_from(visits).unwrap_or(i64::MAX));
    }

    /// A panic can't leave the map half changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, HashMap<Visit, u64, RandomState>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, civil::date};

    use super::*;
    use crate::{clicks::Device, link::Link, store::memory::MemoryStore};

    const DAY: Date = date(2026, 6, 1);

    async fn store_with(key: &Key) -> MemoryStore {
        let store = MemoryStore::default();
        let link = Link::new(key.clone(), "https://example.com".parse().unwrap(), Timestamp::UNIX_EPOCH);
        assert!(store.put_if_absent(link).await.unwrap());
        store
    }

    fn clicks() -> Clicks {
        Clicks::new(&Metrics::new())
    }

    fn person(referrer: &str) -> Visitor {
        Visitor::Person { device: Device::Mobile, referrer: referrer.parse().ok() }
    }

    #[tokio::test]
    async fn visits_add_up_over_flushes_by_what_they_show() {
        let (key, clicks) = ("a".parse().unwrap(), clicks());
        let store = store_with(&key).await;
        for _ in 0..3 {
            clicks.record(&key, DAY, person("news.example"));
            clicks.record(&key, DAY, person(""));
            clicks.record(&key, DAY, Visitor::Bot);
            assert_eq!(clicks.pending.get(), 3);
            clicks.flush(&store).await;
            assert_eq!(clicks.pending.get(), 0);
        }
        assert_eq!(store.record(&key).await.unwrap().unwrap().clicks, 6);
        let counts = store.day_counts(&key, DAY, DAY).await.unwrap();
        let mut counts: Vec<_> =
            counts.into_iter().map(|count| (count.facet.to_string(), count.count)).collect();
        counts.sort();
        let expected =
            [("device mobile", 6), ("referrer news.example", 3), ("visitor bot", 3), ("visitor person", 6)];
        assert_eq!(counts, expected.map(|(facet, count)| (facet.to_owned(), count)));
    }

    #[test]
    fn past_the_capacity_visits_are_dropped_and_counted() {
        let clicks = clicks();
        for number in 0..CAPACITY + 5 {
            clicks.record(&number.to_string().parse().unwrap(), DAY, Visitor::Bot);
        }
        clicks.record(&"0".parse().unwrap(), DAY, Visitor::Bot);
        assert_eq!(clicks.dropped.get(), 5);
        assert_eq!(clicks.pending.get(), CAPACITY as i64);
        clicks.drop_rest();
        assert_eq!(clicks.pending.get(), 0);
        assert_eq!(clicks.dropped.get(), 6 + CAPACITY as u64);
    }
}
