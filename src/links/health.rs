//! Deadlines, metrics and a circuit breaker for a store.

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

/// How long to wait between two probes while the circuit breaker is closed.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait between two probes while the circuit breaker is open.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// The maximum number of damaged links to log. A metric counts every read of a damaged link.
const LOGGED_DAMAGE: usize = 1000;

/// A store with a deadline, metrics and a circuit breaker for its calls.
///
/// While the circuit breaker is open, lookups fail immediately instead of waiting for the deadline. The circuit breaker
/// opens when a probe fails, or when at least half of the recent lookups have failed. A single failed lookup does not
/// open it, because the cause may be a bad disk sector that affects only one link. The next successful probe closes the
/// circuit breaker. Calls other than lookups are always tried, because some failures, such as a full disk, affect only
/// writes.
pub(super) struct Health {
    store: Arc<dyn Store>,
    meter: Meter,
    up: IntGauge,
    /// The last error, while the circuit breaker is open.
    cause: Mutex<Option<StoreError>>,
    /// True while there is a `cause`. Callers can read this without waiting for the lock on `cause`.
    failing: AtomicBool,
    /// The number of times the circuit breaker has closed. If this number changes during a lookup, the lookup's result
    /// is not counted.
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

    /// Returns the result of the last probe, without calling the store.
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

    /// Runs a call with the deadline, and records its metrics.
    pub(super) async fn run<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.meter.run(operation, call).await
    }

    /// Runs a change to completion, even if its caller stops waiting.
    ///
    /// If the change's future were dropped early, the store could still apply the change, and nothing would remove the
    /// link from the cache afterwards.
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
            // The send fails only if the caller has stopped waiting.
            let _ = reply.send(result);
            if is_late {
                let _ = change.await;
            }
        });
        answer.await.unwrap_or_else(|error| Err(StoreError::unavailable(error)))
    }

    /// Looks up a link. Fails immediately while the circuit breaker is open.
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
            // A probe's error concerns the whole store, but `Corrupt` would say that one link is damaged.
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

    /// Counts a read of a damaged link, and logs each link once.
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

/// The deadline and the metrics for calls to a store.
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

/// The results of the last 32 lookups.
///
/// Each of the lower 32 bits represents one lookup, and is 1 if the lookup failed. The upper bits hold the number of
/// results.
#[derive(Default)]
struct Window(AtomicU64);

impl Window {
    const SIZE: u32 = 32;

    /// The minimum number of results for a meaningful failure rate.
    const MIN_RESULTS: u32 = 8;

    /// Adds a result, and returns whether the circuit breaker must open.
    ///
    /// It must open if there are at least [`Self::MIN_RESULTS`] results and at least half of them are failures.
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
    fn a_window_opens_the_circuit_when_half_of_its_lookups_fail() {
        let window = Window::default();
        assert!((0..7).all(|_| !window.add(true)), "a few failures say nothing yet");
        assert!(window.add(true));
        window.clear();
        assert!((0..1000).all(|n| !window.add(n % 3 == 0)), "one third is not a dead store");
        assert!((0..16).any(|_| window.add(true)), "and old successes do not hide one");
    }
}
