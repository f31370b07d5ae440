//! A cache of links.
//!
//! With the cache, most redirects do not wait for the store. An edit or a removal takes effect immediately on the
//! instance that made it. Other instances notice the change when the store reports it, or after `CACHE_TTL` at the
//! latest. Concurrent requests for the same link share one fetch. While the store is failing, cached links keep
//! redirecting. The cache has a maximum size in bytes.

use std::{
    collections::HashMap,
    io,
    mem::size_of,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use quick_cache::{Weighter, sync};
use tokio::time::{Instant, sleep, timeout_at};

use super::{blocked::Copy, health::Health};
use crate::{
    blocked_hosts::Verdict,
    config::CacheOptions,
    link::{Document, Key, Link},
    observability::{logging::Chain, metrics::Metrics},
    store::{Changed, StoreError},
};

/// The result of a lookup.
pub type Found = Result<Option<Arc<Link>>, StoreError>;

/// The lifetime of a negative entry.
///
/// It is short, because another instance may create the link at any time.
const MISSING_LIFETIME: Duration = Duration::from_secs(1);

/// How long to wait for a refresh before serving a stale link.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long to wait before resubscribing to the change feed.
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// A cache of links and of unknown keys.
pub(super) struct Cache {
    health: Arc<Health>,
    blocked: Arc<Copy>,
    entries: sync::Cache<Key, Entry, ByBytes>,
    fetches: Mutex<HashMap<Key, Pending>>,
    next_fetch: AtomicU64,
    lifetime: Duration,
    /// The point in time from which `fetched_at` is measured.
    start: Instant,
    /// Entries fetched before this time may be outdated. The time is in milliseconds since `start`.
    maybe_stale_before: AtomicU64,
    metrics: Arc<Metrics>,
}

/// A cache entry. If it has no link, it is a negative entry.
#[derive(Clone)]
struct Entry {
    link: Option<Arc<Link>>,
    /// The time of the fetch, in milliseconds since [`Cache::start`].
    fetched_at: u64,
    /// The decision on whether the target's host is blocked. After a change to the list of blocked hosts, the next
    /// request renews the decision.
    verdict: Verdict,
    /// The size of the entry, in bytes.
    weight: usize,
}

impl Entry {
    fn new(key: &Key, link: Option<Arc<Link>>, fetched_at: u64, verdict: Verdict) -> Self {
        /// The size of a slot in the cache, plus the reference counts of the `Arc`.
        const SLOT: usize = 2 * size_of::<Key>() + size_of::<Entry>() + 48;
        let document = link.as_ref().map_or(0, |link| size_of::<Link>() + length(&link.doc));
        Self { link, fetched_at, verdict, weight: SLOT + 2 * key.heap_size() + document }
    }
}

/// Returns the serialized length of a document, which approximates its size in memory.
fn length(doc: &Document) -> usize {
    struct Length(usize);

    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut length = Length(0);
    // Neither serializing nor counting can fail.
    let _ = serde_json::to_writer(&mut length, doc);
    length.0
}

/// The freshness of a cache entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freshness {
    Fresh,
    /// The entry is still fresh, but due for a background refresh. As a result, requests for a popular link never wait
    /// for the store.
    Ageing,
    Stale,
}

/// A caller's handle to a fetch in progress.
///
/// Unless it is detached, the fetch is cancelled when all callers have dropped their handles.
struct Fetch {
    is_new: bool,
    start: Instant,
    answer: Shared<BoxFuture<'static, Found>>,
}

impl Fetch {
    /// Runs the fetch to completion, even if all callers drop their handles.
    fn detach(&self) {
        if self.is_new {
            tokio::spawn(self.answer.clone());
        }
    }
}

/// A fetch in progress that later callers can join.
struct Pending {
    number: u64,
    start: Instant,
    answer: WeakShared<BoxFuture<'static, Found>>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Entry> for ByBytes {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        entry.weight as u64
    }
}

impl Cache {
    pub(super) fn new(
        health: Arc<Health>,
        blocked: Arc<Copy>,
        options: CacheOptions,
        metrics: Arc<Metrics>,
    ) -> Self {
        /// The weight of a typical link, used to size the tables.
        const USUAL_WEIGHT: u64 = 512;
        let (bytes, lifetime) = (options.cache_bytes.as_u64(), options.cache_ttl);
        let items = usize::try_from(bytes / USUAL_WEIGHT).unwrap_or(usize::MAX);
        Self {
            health,
            blocked,
            entries: sync::Cache::with_weighter(items, bytes, ByBytes),
            fetches: Mutex::default(),
            next_fetch: AtomicU64::new(0),
            lifetime,
            start: Instant::now(),
            maybe_stale_before: AtomicU64::new(0),
            metrics,
        }
    }

    /// Returns a link if it is fresh, needs no refresh and is not blocked.
    ///
    /// The hit is not counted here, because the caller may still have to call [`Self::find`].
    pub(super) fn peek(&self, key: &Key) -> Option<Arc<Link>> {
        let entry = self.entries.get(key)?;
        if self.freshness(&entry) != Freshness::Fresh {
            return None;
        }
        if entry.verdict != self.blocked.hosts.clear() && self.renew_verdict(key, &entry).is_blocked {
            return None;
        }
        entry.link
    }

    /// Returns the current verdict on an entry, and caches it.
    #[cold]
    fn renew_verdict(&self, key: &Key, entry: &Entry) -> Verdict {
        let Some(link) = &entry.link else { return entry.verdict };
        if self.blocked.hosts.is_current(entry.verdict) {
            return entry.verdict;
        }
        let verdict = self.blocked.hosts.judge(&link.doc.target);
        // All entries are inserted under this lock, so this can't overwrite a newer entry.
        let _fetches = self.fetches.lock();
        if let Some(current) = self.entries.peek(key)
            && current.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link))
        {
            self.entries.insert(key.clone(), Entry { verdict, ..current });
        }
        verdict
    }

    /// Returns a link from the cache, or else from the store.
    pub(super) async fn find(self: &Arc<Self>, key: &Key) -> Found {
        let entry = self.entries.get(key);
        let freshness = entry.as_ref().map_or(Freshness::Stale, |entry| self.freshness(entry));
        if let Some(entry) = &entry
            && freshness != Freshness::Stale
        {
            if freshness == Freshness::Ageing && !self.health.is_failing() {
                self.fetch(key).detach();
            }
            self.count(if entry.link.is_some() { "hit" } else { "negative" });
            return Ok(entry.link.clone());
        }
        let Some(stale) = entry.and_then(|entry| entry.link) else {
            self.metrics.cache_misses.inc();
            return self.fetch(key).answer.await;
        };
        if self.health.is_failing() {
            self.count("stale");
            return Ok(Some(stale));
        }
        let fetch = self.fetch(key);
        fetch.detach();
        match timeout_at(fetch.start + PATIENCE, fetch.answer).await {
            Ok(answer @ (Ok(_) | Err(StoreError::Corrupt(_)))) => {
                self.metrics.cache_misses.inc();
                answer
            }
            Ok(Err(StoreError::Unavailable(_) | StoreError::Timeout(_))) | Err(_) => {
                self.count("stale");
                Ok(Some(stale))
            }
        }
    }

    /// Applies changes made by other instances. Never returns.
    pub(super) async fn watch_regularly(&self) {
        // Log only the first failure, not each failed attempt to resubscribe.
        let is_lost = AtomicBool::new(false);
        loop {
            let apply = |changed| {
                if is_lost.swap(false, Ordering::Relaxed) {
                    tracing::info!("change feed restored");
                }
                self.apply(changed);
            };
            let error = self.health.store().watch(&apply).await;
            if !is_lost.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    error = %Chain(error.cause()),
                    "change feed lost: edits by other instances may show late"
                );
            }
            sleep(WATCH_PAUSE).await;
        }
    }

    fn apply(&self, changed: Changed) {
        match changed {
            Changed::Link(key) => self.forget(&key),
            Changed::BlockedHosts => self.blocked.reported.notify_one(),
            Changed::Anything => {
                self.blocked.reported.notify_one();
                self.fetches.lock().clear();
                self.maybe_stale_before.store(self.now() + 1, Ordering::Release);
            }
        }
    }

    /// Removes a link, and discards the link's fetch in progress, if any.
    ///
    /// The result of such a fetch may be outdated.
    pub(super) fn forget(&self, key: &Key) {
        let mut fetches = self.fetches.lock();
        fetches.remove(key);
        self.entries.remove(key);
        self.weigh();
    }

    /// Returns a guard that, when dropped, removes a link from the cache.
    pub(super) fn forget_on_drop(self: &Arc<Self>, key: Key) -> ForgetOnDrop {
        ForgetOnDrop { cache: self.clone(), key }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn freshness(&self, entry: &Entry) -> Freshness {
        let lifetime = if entry.link.is_some() { self.lifetime } else { MISSING_LIFETIME.min(self.lifetime) };
        let age = Duration::from_millis(self.now().saturating_sub(entry.fetched_at));
        if age >= lifetime || entry.fetched_at < self.maybe_stale_before.load(Ordering::Acquire) {
            Freshness::Stale
        } else if entry.link.is_some() && age >= lifetime * 3 / 4 {
            Freshness::Ageing
        } else {
            Freshness::Fresh
        }
    }

    /// Fetches a link, or joins a fetch in progress.
    fn fetch(self: &Arc<Self>, key: &Key) -> Fetch {
        let mut fetches = self.fetches.lock();
        let pending =
            fetches.get(key).and_then(|Pending { start, answer, .. }| Some((*start, answer.upgrade()?)));
        if let Some((start, answer)) = pending {
            return Fetch { is_new: false, start, answer };
        }
        let (number, start) = (self.next_fetch.fetch_add(1, Ordering::Relaxed), Instant::now());
        let registration = Registration { cache: self.clone(), key: key.clone(), number };
        let answer = async move {
            let Registration { cache, key, .. } = &registration;
            let fetched_at = cache.now();
            let answer = cache.health.look_up(key).await;
            if let Ok(link) = &answer {
                let hosts = &cache.blocked.hosts;
                let verdict = link.as_ref().map_or(hosts.clear(), |link| hosts.judge(&link.doc.target));
                registration.keep(Entry::new(key, link.clone(), fetched_at, verdict));
            }
            answer
        };
        // Convert a panic into an error, so that the panic does not reach the other callers.
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let answer =
            answer.map(|answer| answer.unwrap_or_else(|_| Err(StoreError::unavailable("a lookup panicked"))));
        let answer = answer.boxed().shared();
        if let Some(answer) = answer.downgrade() {
            fetches.insert(key.clone(), Pending { number, start, answer });
        }
        Fetch { is_new: true, start, answer }
    }

    fn count(&self, result: &str) {
        self.metrics.cache_requests.with_label_values(&[result]).inc();
    }

    fn weigh(&self) {
        self.metrics.cache_bytes.set(i64::try_from(self.entries.weight()).unwrap_or(i64::MAX));
    }
}

/// A guard that, when dropped, removes a link from the cache.
pub(super) struct ForgetOnDrop {
    cache: Arc<Cache>,
    key: Key,
}

impl Drop for ForgetOnDrop {
    fn drop(&mut self) {
        self.cache.forget(&self.key);
    }
}

/// A guard that, when dropped, removes a fetch from `Cache::fetches`.
struct Registration {
    cache: Arc<Cache>,
    key: Key,
    number: u64,
}

impl Registration {
    /// Caches an entry, unless the link has changed since the fetch began.
    fn keep(&self, entry: Entry) {
        let fetches = self.cache.fetches.lock();
        if fetches.get(&self.key).is_some_and(|fetch| fetch.number == self.number) {
            self.cache.entries.insert(self.key.clone(), entry);
            self.cache.weigh();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut fetches = self.cache.fetches.lock();
        if fetches.get(&self.key).is_some_and(|fetch| fetch.number == self.number) {
            fetches.remove(&self.key);
        }
    }
}
