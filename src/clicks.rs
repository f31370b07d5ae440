//! Counting clicks without ever making a redirect wait.
//!
//! A click adds to a tally in memory; once a second the tallies go to the store. A crash loses that second, a clean
//! stop nothing. Memory is bounded: past a number of links the clicks on further ones are dropped, and
//! counted as such.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus::IntCounter;
use tokio::time::MissedTickBehavior;

use crate::{
    link::Key,
    observability::logging::Chain,
    store::{Store, StoreError},
};

/// Links with clicks that wait to be written; at about 100 bytes each they take some 10 MB at most.
const CAPACITY: usize = 100_000;

/// Links in one write, so that it stays short beside the others that the store has to do.
const BATCH: usize = 1000;

/// How often tallies are written.
const INTERVAL: Duration = Duration::from_secs(1);

/// The tallies of clicks that are not in the store yet.
pub struct Clicks {
    tallies: Mutex<HashMap<Key, u64>>,
    dropped: IntCounter,
}

impl Clicks {
    /// No clicks yet. Those that can't be kept add to `dropped`.
    pub fn new(dropped: IntCounter) -> Self {
        Self { tallies: Mutex::default(), dropped }
    }

    /// Counts one click on the link with this key.
    pub fn record(&self, key: &Key) {
        self.add(key, 1);
    }

    fn add(&self, key: &Key, count: u64) {
        let mut tallies = self.lock();
        if let Some(tally) = tallies.get_mut(key) {
            *tally += count;
        } else if tallies.len() < CAPACITY {
            tallies.insert(key.clone(), count);
        } else {
            self.dropped.inc_by(count);
        }
    }

    /// Writes the tallies to `store` every second, for ever.
    pub async fn write_regularly(self: Arc<Self>, store: Arc<dyn Store>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.flush(&*store).await;
        }
    }

    /// Writes what has gathered. What the store refuses is kept for the next time.
    pub async fn flush(&self, store: &dyn Store) {
        let mut waiting = std::mem::take(&mut *self.lock()).into_iter();
        loop {
            let batch: Vec<_> = waiting.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return;
            }
            if let Err(error) = store.add_clicks(batch.clone()).await {
                tracing::warn!(error = %Chain(&error), "clicks could not be written");
                self.keep_or_drop(batch, &error);
                waiting.for_each(|(key, count)| self.add(&key, count));
                return;
            }
        }
    }

    /// After a time-out nobody knows whether the batch was written. A count that is too low, and says so, is better
    /// than one that is too high.
    fn keep_or_drop(&self, batch: Vec<(Key, u64)>, error: &StoreError) {
        match error {
            StoreError::Timeout(_) => self.dropped.inc_by(batch.iter().map(|(_, count)| count).sum()),
            StoreError::Unavailable(_) | StoreError::Corrupt(_) => {
                batch.into_iter().for_each(|(key, count)| self.add(&key, count));
            }
        }
    }

    /// Gives up what is left, at the very end.
    pub fn drop_rest(&self) {
        let rest = std::mem::take(&mut *self.lock());
        self.dropped.inc_by(rest.values().sum());
    }

    /// A panic can't leave the map half changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, u64>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{link::Link, store::memory::MemoryStore};

    async fn store_with(key: &Key) -> MemoryStore {
        let store = MemoryStore::default();
        let link = Link::new(key.clone(), "https://example.com".parse().unwrap(), Timestamp::UNIX_EPOCH);
        assert!(store.put_if_absent(link).await.unwrap());
        store
    }

    fn clicks() -> Clicks {
        Clicks::new(IntCounter::new("dropped", "dropped").unwrap())
    }

    #[tokio::test]
    async fn clicks_add_up_over_flushes() {
        let (key, clicks) = ("a".parse().unwrap(), clicks());
        let store = store_with(&key).await;
        for _ in 0..3 {
            clicks.record(&key);
            clicks.record(&key);
            clicks.flush(&store).await;
        }
        assert_eq!(store.clicks(&key).await.unwrap(), Some(6));
    }

    #[test]
    fn past_the_capacity_clicks_are_dropped_and_counted() {
        let clicks = clicks();
        for number in 0..CAPACITY + 5 {
            clicks.record(&number.to_string().parse().unwrap());
        }
        clicks.record(&"0".parse().unwrap());
        assert_eq!(clicks.dropped.get(), 5);
        clicks.drop_rest();
        assert_eq!(clicks.dropped.get(), 6 + CAPACITY as u64);
    }
}
