//! A deadline, metrics and a circuit breaker around every store.

use std::{
    collections::HashSet,
    ops::Range,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::civil::Date;
use prometheus::IntGauge;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::{
    Change, Changed, History, Record, Scan, Store, StoreError,
    listing::{Cursor, Order},
};
use crate::{
    clicks::{DayCount, Tally},
    link::{Key, Link},
    observability::{logging::Chain, metrics::Metrics},
};

/// Pause between two probes of a store that works.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Pause between two probes of a store that fails.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Damaged links that are logged, each once. All are counted.
const LOGGED_DAMAGE: usize = 1000;

/// A store whose calls are measured and end within a deadline.
///
/// While it fails, look-ups are refused at once instead of waiting for the deadline one by one. A failed probe opens
/// this circuit breaker, and so do look-ups of which at least half fail; one alone may have met a bad sector that
/// concerns no other link. The next probe that succeeds closes it. Other calls are always tried: a full disk fails
/// writes alone.
pub struct Supervised {
    inner: Arc<dyn Store>,
    meter: Meter,
    up: IntGauge,
    failing: AtomicBool,
    look_ups: Window,
    damaged: Mutex<HashSet<String>>,
}

impl Supervised {
    /// Gives each call to `inner` at most `deadline`.
    pub fn new(inner: Arc<dyn Store>, deadline: Duration, metrics: Arc<Metrics>) -> Self {
        let up = metrics.store_up.with_label_values(&[inner.name()]);
        up.set(1);
        let meter = Meter { store: inner.name(), deadline, metrics };
        Self {
            inner,
            meter,
            up,
            failing: AtomicBool::new(false),
            look_ups: Window::default(),
            damaged: Mutex::default(),
        }
    }

    /// Returns whether the circuit breaker is open.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Probes the store until the end of the program.
    pub async fn probe_regularly(self: Arc<Self>) {
        loop {
            sleep(if self.is_failing() { RETRY_INTERVAL } else { PROBE_INTERVAL }).await;
            // `check` itself acts on the result.
            let _ = self.check().await;
        }
    }

    /// Runs a change to its end, even if its caller stops waiting or the deadline passes.
    ///
    /// A change that is dropped halfway may still be made by the store, and nobody would then forget what the cache
    /// knows of the link. `change` gets the store and does what has to follow.
    pub(super) async fn run_to_end<T, F>(
        &self,
        operation: &'static str,
        change: impl FnOnce(Arc<dyn Store>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let (change, meter) = (change(self.inner.clone()), self.meter.clone());
        tokio::spawn(async move {
            let mut change = pin!(change);
            let start = Instant::now();
            let in_time = timeout(meter.deadline, &mut change).await;
            let is_late = in_time.is_err();
            let result = in_time.unwrap_or(Err(StoreError::Timeout(meter.deadline)));
            meter.observe(operation, start, &result);
            // The caller may have gone.
            let _ = reply.send(result);
            if is_late {
                let _ = change.await;
            }
        });
        answer.await.unwrap_or_else(|error| Err(StoreError::unavailable(error)))
    }

    fn open_circuit(&self, error: &StoreError) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            self.up.set(0);
            tracing::error!(store = self.name(), error = %Chain(error), "store unavailable");
        }
    }

    fn close_circuit(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            self.look_ups.clear();
            self.up.set(1);
            tracing::info!(store = self.name(), "store available again");
        }
    }

    /// Counts a link that the store can't read, and logs it the first time.
    fn note_damage(&self, key: &str, error: &StoreError) {
        self.meter.metrics.store_corrupt_links.inc();
        // A panic can't leave the set half changed, so a poisoned lock is still good.
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if damaged.len() < LOGGED_DAMAGE && damaged.insert(key.to_owned()) {
            tracing::error!(store = self.name(), key, error = %Chain(error), "link damaged");
        }
    }

    fn note_damage_of<T>(&self, key: &Key, result: &Result<T, StoreError>) {
        if let Err(error @ StoreError::Corrupt(_)) = result {
            self.note_damage(key.as_str(), error);
        }
    }
}

/// The deadline of a store's calls, and the metrics of how they end.
#[derive(Clone)]
struct Meter {
    store: &'static str,
    deadline: Duration,
    metrics: Arc<Metrics>,
}

impl Meter {
    async fn run<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let result = timeout(self.deadline, call).await.unwrap_or(Err(StoreError::Timeout(self.deadline)));
        self.observe(operation, start, &result);
        result
    }

    fn observe<T>(&self, operation: &'static str, start: Instant, result: &Result<T, StoreError>) {
        let labels = [self.store, operation];
        let duration = self.metrics.store_operation_duration.with_label_values(&labels);
        duration.observe(start.elapsed().as_secs_f64());
        if result.is_err() {
            self.metrics.store_errors.with_label_values(&labels).inc();
        }
    }
}

/// The results of the last 32 look-ups: a bit for each that failed, and above them how many there were.
#[derive(Default)]
struct Window(AtomicU64);

impl Window {
    const SIZE: u32 = 32;

    /// Look-ups before their ratio says anything.
    const LEAST: u32 = 8;

    /// Adds a result, and returns whether at least half of the last ones are failures.
    fn add(&self, failed: bool) -> bool {
        let add = |window: u64| {
            let count = ((window >> Self::SIZE) + 1).min(u64::from(Self::SIZE));
            let results = (window << 1 | u64::from(failed)) & u64::from(u32::MAX);
            count << Self::SIZE | results
        };
        let window = add(self.0.update(Ordering::Relaxed, Ordering::Relaxed, add));
        let (count, failures) = (window >> Self::SIZE, (window & u64::from(u32::MAX)).count_ones());
        count >= u64::from(Self::LEAST) && u64::from(failures) * 2 >= count
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[async_trait]
impl Store for Supervised {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn put_with_history(&self, link: Link, history: History) -> Result<bool, StoreError> {
        let put = |store: Arc<dyn Store>| async move { store.put_with_history(link, history).await };
        self.run_to_end("put", put).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Link>>, StoreError> {
        if self.is_failing() {
            return Err(StoreError::unavailable("not asked: it failed a moment ago"));
        }
        let link = self.meter.run("get", self.inner.get(key)).await;
        self.note_damage_of(key, &link);
        let failure = match &link {
            Ok(_) | Err(StoreError::Corrupt(_)) => None,
            Err(error @ (StoreError::Unavailable(_) | StoreError::Timeout(_))) => Some(error),
        };
        let most_fail = self.look_ups.add(failure.is_some());
        if let Some(error) = failure.filter(|_| most_fail) {
            self.open_circuit(error);
        }
        link
    }

    fn peek(&self, key: &Key) -> Option<Arc<Link>> {
        self.inner.peek(key)
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let record = self.meter.run("record", self.inner.record(key)).await;
        self.note_damage_of(key, &record);
        record
    }

    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError> {
        let update = |store: Arc<dyn Store>| async move { store.update(link, expected).await };
        self.run_to_end("update", update).await
    }

    async fn delete(&self, key: &Key, expected: Option<u32>) -> Result<Change, StoreError> {
        let key = key.clone();
        let delete = |store: Arc<dyn Store>| async move { store.delete(&key, expected).await };
        self.run_to_end("delete", delete).await
    }

    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError> {
        self.meter.run("use_visit", self.inner.use_visit(key)).await
    }

    async fn scan(&self, order: Order, after: Option<Cursor>, limit: usize) -> Result<Scan, StoreError> {
        let scan = self.meter.run("scan", self.inner.scan(order, after, limit)).await?;
        for damaged in &scan.damaged {
            self.note_damage(&damaged.key, &damaged.error);
        }
        Ok(scan)
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        self.meter.run("take_numbers", self.inner.take_numbers(count)).await
    }

    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<(), StoreError> {
        self.meter.run("add_clicks", self.inner.add_clicks(tallies)).await
    }

    async fn day_counts(&self, key: &Key, first: Date, last: Date) -> Result<Vec<DayCount>, StoreError> {
        self.meter.run("day_counts", self.inner.day_counts(key, first, last)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let answer = self.meter.run("check", self.inner.check()).await;
        match &answer {
            Ok(()) => self.close_circuit(),
            Err(error) => self.open_circuit(error),
        }
        answer
    }

    async fn watch(&self, changed: &(dyn Fn(Changed) + Send + Sync)) -> StoreError {
        self.inner.watch(changed).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_the_circuit_when_half_of_its_look_ups_fail() {
        let window = Window::default();
        assert!((0..7).all(|_| !window.add(true)), "a few failures say nothing yet");
        assert!(window.add(true));
        window.clear();
        assert!((0..1000).all(|n| !window.add(n % 3 == 0)), "one third is not a dead store");
        assert!((0..16).any(|_| window.add(true)), "and old successes do not hide one");
    }
}
