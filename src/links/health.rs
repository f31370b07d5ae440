//! The deadlines, metrics and circuit breaker of a store.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::Found;
use crate::{
    link::Key,
    observability::{logging::Chain, metrics::Metrics},
    store::{Store, StoreError},
};

/// Pause between two probes while the circuit breaker is closed.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Pause between two probes while the circuit breaker is open.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// The limit on damaged links that are logged. A metric counts all of them.
const LOGGED_DAMAGE: usize = 1000;

/// A store with a deadline, metrics and a circuit breaker for its calls.
///
/// While the circuit breaker is open, look-ups fail at once instead of waiting for the deadline. A failed probe opens
/// it, and so do look-ups of which at least half fail. A single failure does not: it may be a bad sector under one
/// link. The next probe that succeeds closes it. Other calls are always tried, because a full disk, for example, fails
/// only writes.
pub(super) struct Health {
    store: Arc<dyn Store>,
    meter: Meter,
    up: IntGauge,
    /// The last failure, while the circuit breaker is open.
    cause: Mutex<Option<StoreError>>,
    /// Whether there is a cause, for callers that must not wait for the lock.
    failing: AtomicBool,
    /// Counts how often the circuit breaker closed. The result of a look-up from before that does not count.
    recoveries: AtomicU64,
    look_ups: Window,
    damaged: Mutex<HashSet<String>>,
}

impl Health {
    /// Wraps `store`. Each call times out after `deadline`.
    pub(super) fn new(store: Arc<dyn Store>, deadline: Duration, metrics: Arc<Metrics>) -> Self {
        let up = metrics.store_up.with_label_values(&[store.name()]);
        up.set(1);
        let meter = Meter { store: store.name(), deadline, metrics };
        Self {
            store,
            meter,
            up,
            cause: Mutex::default(),
            failing: AtomicBool::new(false),
            recoveries: AtomicU64::new(0),
            look_ups: Window::default(),
            damaged: Mutex::default(),
        }
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns whether the circuit breaker is open.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Returns the result of the last probe, without a call.
    pub(super) fn status(&self) -> Result<(), StoreError> {
        self.cause.lock().clone().map_or(Ok(()), Err)
    }

    /// Probes the store periodically. Never returns.
    pub(super) async fn probe_regularly(&self) {
        loop {
            sleep(if self.is_failing() { RETRY_INTERVAL } else { PROBE_INTERVAL }).await;
            self.check().await;
        }
    }

    /// Runs a call within the deadline, and records its metrics.
    pub(super) async fn run<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.meter.run(operation, call).await
    }

    /// Runs a change to its end, even if its caller leaves or times out.
    ///
    /// The store may still make a change whose future is dropped, and then nothing would drop the link from the cache.
    pub(super) async fn run_to_end<T: Send + 'static>(
        &self,
        operation: &'static str,
        change: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let meter = self.meter.clone();
        tokio::spawn(async move {
            let mut change = pin!(change);
            let start = Instant::now();
            let in_time = timeout(meter.deadline, &mut change).await;
            let is_late = in_time.is_err();
            let result = in_time.unwrap_or(Err(StoreError::Timeout(meter.deadline)));
            meter.observe(operation, start, &result);
            // The caller may have left.
            let _ = reply.send(result);
            if is_late {
                let _ = change.await;
            }
        });
        answer.await.unwrap_or_else(|error| Err(StoreError::unavailable(error)))
    }

    /// Looks up a link. Fails at once while the circuit breaker is open.
    pub(super) async fn look_up(&self, key: &Key) -> Found {
        if self.is_failing() {
            self.status()?;
        }
        let recoveries = self.recoveries.load(Ordering::Relaxed);
        let found = self.run("get", self.store.find(key)).await;
        self.note_damage_of(key, &found);
        let failure = match &found {
            Ok(_) | Err(StoreError::Corrupt(_)) => None,
            Err(error @ (StoreError::Unavailable(_) | StoreError::Timeout(_))) => Some(error),
        };
        let is_current = self.recoveries.load(Ordering::Relaxed) == recoveries;
        let most_fail = is_current && self.look_ups.add(failure.is_some());
        if let Some(error) = failure.filter(|_| most_fail) {
            self.open_circuit(error);
        }
        found
    }

    /// Probes the store, and opens or closes the circuit breaker.
    async fn check(&self) {
        match self.run("check", self.store.check()).await {
            Ok(()) => self.close_circuit(),
            Err(error) => self.open_circuit(&error),
        }
    }

    fn open_circuit(&self, error: &StoreError) {
        let mut cause = self.cause.lock();
        if cause.is_none() {
            self.failing.store(true, Ordering::Relaxed);
            self.up.set(0);
            tracing::error!(store = self.store.name(), error = %Chain(error.cause()), "store unavailable");
        }
        *cause = Some(match error {
            // It is about the store, while look-ups report one about a link.
            StoreError::Corrupt(source) => StoreError::Unavailable(source.clone()),
            error => error.clone(),
        });
    }

    fn close_circuit(&self) {
        let mut cause = self.cause.lock();
        if cause.take().is_some() {
            self.recoveries.fetch_add(1, Ordering::Relaxed);
            self.look_ups.clear();
            self.failing.store(false, Ordering::Relaxed);
            self.up.set(1);
            tracing::info!(store = self.store.name(), "store available again");
        }
    }

    /// Counts a damaged link, and logs it once.
    pub(super) fn note_damage(&self, key: &str, error: &StoreError) {
        self.meter.metrics.store_corrupt_links.inc();
        let mut damaged = self.damaged.lock();
        if damaged.len() < LOGGED_DAMAGE && damaged.insert(key.to_owned()) {
            tracing::error!(store = self.store.name(), key, error = %Chain(error), "link damaged");
        }
    }

    pub(super) fn note_damage_of<T>(&self, key: &Key, result: &Result<T, StoreError>) {
        if let Err(error @ StoreError::Corrupt(_)) = result {
            self.note_damage(key.as_str(), error);
        }
    }
}

/// The deadline and the metrics of a store's calls.
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

/// The results of the last 32 look-ups.
///
/// The lower 32 bits have a one for each failure. The upper bits have the number of results.
#[derive(Default)]
struct Window(AtomicU64);

impl Window {
    const SIZE: u32 = 32;

    /// The number of results below which the failure rate means nothing.
    const MIN_RESULTS: u32 = 8;

    /// Adds a result, and returns whether at least half have failed.
    fn add(&self, failed: bool) -> bool {
        let add = |window: u64| {
            let count = ((window >> Self::SIZE) + 1).min(u64::from(Self::SIZE));
            let results = (window << 1 | u64::from(failed)) & u64::from(u32::MAX);
            count << Self::SIZE | results
        };
        let window = add(self.0.update(Ordering::Relaxed, Ordering::Relaxed, add));
        let (count, failures) = (window >> Self::SIZE, (window & u64::from(u32::MAX)).count_ones());
        count >= u64::from(Self::MIN_RESULTS) && u64::from(failures) * 2 >= count
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
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
