//! Links in memory in front of a store: most redirects ask nobody.
//!
//! What the cache promises: an edit or a removal shows at once on the instance that made it, as soon as the store tells
//! of it on the others, and after `lifetime` in any case; a link that is asked for by many at once is fetched once; and
//! while the store fails, links that are known go on redirecting. It never holds more than its bytes.

use std::{
    collections::HashMap,
    mem::size_of,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use jiff::civil::Date;
use quick_cache::{Weighter, sync::Cache};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Change, Changed, History, Record, Scan, Store, StoreError, Supervised,
    listing::{Cursor, Order},
};
use crate::{
    clicks::{DayCount, Tally},
    link::{Key, Link},
    observability::{logging::Chain, metrics::Metrics},
};

/// How long it is remembered that a key has no link. Short: another instance may make that link any time.
const MISSING_LIFETIME: Duration = Duration::from_secs(1);

/// How long a fetch may take before whoever has an old link for want of a new one uses that.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long the cache rests before it listens again for changes, after the channel has broken.
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// A store with a cache in front.
pub struct Cached {
    shared: Arc<Shelf>,
}

/// What requests and fetches under way share.
struct Shelf {
    inner: Arc<Supervised>,
    entries: Cache<Key, Entry, ByBytes>,
    flights: Mutex<HashMap<Key, Flight>>,
    next_flight: AtomicU64,
    lifetime: Duration,
    /// Entries count their age from here.
    start: Instant,
    /// What was fetched before this moment may have changed without a word; milliseconds since `start`.
    doubtful_before: AtomicU64,
    metrics: Arc<Metrics>,
}

/// What the store said about a key.
#[derive(Clone)]
struct Entry {
    link: Option<Arc<Link>>,
    /// Milliseconds since the cache's start.
    fetched_at: u64,
}

/// How far what is remembered can be gone by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    /// It is as good as new.
    Young,
    /// It is good, but should be fetched again before it is not: a link that is asked for all the time then never has
    /// to wait for the store.
    Ageing,
    /// It may be no longer so.
    Old,
}

/// A fetch under way, and the means to wait for it.
#[derive(Clone)]
struct Flight {
    number: u64,
    start: Instant,
    answer: Shared<BoxFuture<'static, Answer>>,
}

type Answer = Result<Option<Arc<Link>>, StoreError>;

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Entry> for ByBytes {
    /// Counts what an entry and its place in the cache take, and all that its link points to.
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        const PLACE: usize = 2 * size_of::<Key>() + size_of::<Entry>() + 32;
        let link = entry.link.as_ref().map_or(0, |link| size_of::<Link>() + 16 + link.heap_size());
        (PLACE + key.heap_size() + link) as u64
    }
}

impl Cached {
    /// A cache of at most `bytes` in front of `inner`, whose links are asked for again after `lifetime`.
    pub fn new(inner: Arc<Supervised>, bytes: u64, lifetime: Duration, metrics: Arc<Metrics>) -> Self {
        /// What a usual link takes; the cache makes room in its tables by it.
        const USUAL_WEIGHT: u64 = 512;
        let items = usize::try_from(bytes / USUAL_WEIGHT).unwrap_or(usize::MAX);
        let shared = Shelf {
            inner,
            entries: Cache::with_weighter(items, bytes, ByBytes),
            flights: Mutex::default(),
            next_flight: AtomicU64::new(0),
            lifetime,
            start: Instant::now(),
            doubtful_before: AtomicU64::new(0),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes over what other instances change, for ever.
    pub async fn watch_regularly(self: Arc<Self>) {
        // Said when the channel breaks, and not for each attempt to mend it.
        let is_told = AtomicBool::new(true);
        loop {
            let take_over = |changed| {
                is_told.store(true, Ordering::Relaxed);
                self.shared.take_over(changed);
            };
            let error = self.shared.inner.watch(&take_over).await;
            if is_told.swap(false, Ordering::Relaxed) {
                tracing::warn!(error = %Chain(&error), "changes by other instances are not told for now");
            }
            sleep(WATCH_PAUSE).await;
        }
    }

    /// Makes a change of a link, then forgets the link, even if the change fails or its caller has gone.
    async fn change<T, F>(
        &self,
        operation: &'static str,
        key: Key,
        change: impl FnOnce(Arc<dyn Store>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let forgets = ForgetsOnDrop { shelf: self.shared.clone(), key };
        let change_and_forget = |store| {
            let change = change(store);
            async move {
                let _forgets = forgets;
                change.await
            }
        };
        self.shared.inner.run_to_end(operation, change_and_forget).await
    }

    fn count(&self, result: &str) {
        self.shared.metrics.cache_requests.with_label_values(&[result]).inc();
    }
}

impl Shelf {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn age(&self, entry: &Entry) -> Age {
        let lifetime = if entry.link.is_some() { self.lifetime } else { MISSING_LIFETIME.min(self.lifetime) };
        let age = Duration::from_millis(self.now().saturating_sub(entry.fetched_at));
        if age >= lifetime || entry.fetched_at < self.doubtful_before.load(Ordering::Acquire) {
            Age::Old
        } else if entry.link.is_some() && age >= lifetime * 3 / 4 {
            Age::Ageing
        } else {
            Age::Young
        }
    }

    /// Asks the store for a link, or joins whoever is asking already.
    fn fetch(self: &Arc<Self>, key: &Key) -> Flight {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(key) {
            return flight.clone();
        }
        let landing = Landing {
            shelf: self.clone(),
            key: key.clone(),
            number: self.next_flight.fetch_add(1, Ordering::Relaxed),
        };
        let number = landing.number;
        // A task of its own, so that it comes to its end whoever stops waiting for it.
        let task = tokio::spawn(async move {
            let fetched_at = landing.shelf.now();
            let answer = landing.shelf.inner.get(&landing.key).await;
            if let Ok(link) = &answer {
                landing.shelve(Entry { link: link.clone(), fetched_at });
            }
            answer
        });
        let answer = task.map(|answer| answer.unwrap_or_else(|error| Err(StoreError::unavailable(error))));
        let flight = Flight { number, start: Instant::now(), answer: answer.boxed().shared() };
        flights.insert(key.clone(), flight.clone());
        flight
    }

    /// Forgets a link, and lets nothing that is being fetched right now come back as if it were new.
    fn forget(&self, key: &Key) {
        let mut flights = self.flights();
        flights.remove(key);
        self.entries.remove(key);
        self.weigh();
    }

    fn weigh(&self) {
        self.metrics.cache_bytes.set(i64::try_from(self.entries.weight()).unwrap_or(i64::MAX));
    }

    fn take_over(&self, changed: Changed) {
        match changed {
            Changed::Link(key) => self.forget(&key),
            Changed::Anything => {
                self.flights().clear();
                self.doubtful_before.store(self.now() + 1, Ordering::Release);
            }
        }
    }

    /// A panic can't leave the map half changed, so a poisoned lock is still good.
    fn flights(&self) -> MutexGuard<'_, HashMap<Key, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a link once a change of it has ended, also where it failed: it may have been made all the same.
struct ForgetsOnDrop {
    shelf: Arc<Shelf>,
    key: Key,
}

impl Drop for ForgetsOnDrop {
    fn drop(&mut self) {
        self.shelf.forget(&self.key);
    }
}

/// Ends a flight, also where the fetch panics.
struct Landing {
    shelf: Arc<Shelf>,
    key: Key,
    number: u64,
}

impl Landing {
    /// Keeps what was fetched, unless the link has been changed since.
    fn shelve(&self, entry: Entry) {
        let flights = self.shelf.flights();
        if flights.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            self.shelf.entries.insert(self.key.clone(), entry);
            self.shelf.weigh();
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.shelf.flights();
        if flights.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            flights.remove(&self.key);
        }
    }
}

#[async_trait]
impl Store for Cached {
    fn name(&self) -> &'static str {
        self.shared.inner.name()
    }

    /// Only what needs no refreshing.
    fn peek(&self, key: &Key) -> Option<Arc<Link>> {
        let entry = self.shared.entries.get(key)?;
        if self.shared.age(&entry) != Age::Young {
            return None;
        }
        let link = entry.link?;
        self.shared.metrics.cache_hits.inc();
        Some(link)
    }

    async fn get(&self, key: &Key) -> Answer {
        let entry = self.shared.entries.get(key);
        let age = entry.as_ref().map_or(Age::Old, |entry| self.shared.age(entry));
        if let Some(entry) = &entry
            && age != Age::Old
        {
            if age == Age::Ageing && !self.shared.inner.is_failing() {
                drop(self.shared.fetch(key));
            }
            self.count(if entry.link.is_some() { "hit" } else { "negative" });
            return Ok(entry.link.clone());
        }
        let Some(old) = entry.and_then(|entry| entry.link) else {
            self.count("miss");
            return self.shared.fetch(key).answer.await;
        };
        if self.shared.inner.is_failing() {
            self.count("stale");
            return Ok(Some(old));
        }
        let flight = self.shared.fetch(key);
        match timeout_at(flight.start + PATIENCE, flight.answer).await {
            Ok(answer @ (Ok(_) | Err(StoreError::Corrupt(_)))) => {
                self.count("miss");
                answer
            }
            Ok(Err(StoreError::Unavailable(_) | StoreError::Timeout(_))) | Err(_) => {
                self.count("stale");
                Ok(Some(old))
            }
        }
    }

    async fn put_with_history(&self, link: Link, history: History) -> Result<bool, StoreError> {
        let key = link.key.clone();
        self.change("put", key, |store| async move { store.put_with_history(link, history).await }).await
    }

    fn forget(&self, key: &Key) {
        self.shared.forget(key);
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.shared.inner.record(key).await
    }

    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError> {
        let key = link.key.clone();
        self.change("update", key, |store| async move { store.update(link, expected).await }).await
    }

    async fn delete(&self, key: &Key, expected: Option<u32>) -> Result<Change, StoreError> {
        let deleted = key.clone();
        let delete = |store: Arc<dyn Store>| async move { store.delete(&deleted, expected).await };
        self.change("delete", key.clone(), delete).await
    }

    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError> {
        self.shared.inner.use_visit(key).await
    }

    async fn scan(&self, order: Order, after: Option<Cursor>, limit: usize) -> Result<Scan, StoreError> {
        self.shared.inner.scan(order, after, limit).await
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        self.shared.inner.take_numbers(count).await
    }

    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<(), StoreError> {
        self.shared.inner.add_clicks(tallies).await
    }

    async fn day_counts(&self, key: &Key, first: Date, last: Date) -> Result<Vec<DayCount>, StoreError> {
        self.shared.inner.day_counts(key, first, last).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.shared.inner.check().await
    }

    async fn watch(&self, changed: &(dyn Fn(Changed) + Send + Sync)) -> StoreError {
        self.shared.inner.watch(changed).await
    }

    async fn close(&self) {
        self.shared.inner.close().await;
    }
}
