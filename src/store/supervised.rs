//! What every store gets around it: a deadline, a timer and an error count for each call, and a memory of whether the
//! last one worked.

use std::{
    ops::Range,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
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
    Change, Changed, History, Record, Store, StoreError,
    listing::{Cursor, Order},
};
use crate::{
    clicks::{DayCount, Tally},
    link::{Key, Link},
    observability::{logging::Chain, metrics::Metrics},
};

/// How often a store that works is asked whether it still does.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How often a store that fails is asked whether it works again.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// A store whose calls end in time and are measured.
///
/// While look-ups fail they are refused at once, instead of waiting out the deadline one by one; a probe finds out when
/// the store is back. Everything else is still tried, and does not count here: a full disk ends writes alone.
pub struct Supervised {
    inner: Arc<dyn Store>,
    meter: Meter,
    up: IntGauge,
    failing: AtomicBool,
}

impl Supervised {
    /// Gives each call to `inner` at most `deadline`.
    pub fn new(inner: Arc<dyn Store>, deadline: Duration, metrics: Arc<Metrics>) -> Self {
        let up = metrics.store_up.with_label_values(&[inner.name()]);
        up.set(1);
        let meter = Meter { store: inner.name(), deadline, metrics };
        Self { inner, meter, up, failing: AtomicBool::new(false) }
    }

    /// Whether the last look-up or probe failed.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Asks the store for its health, for ever.
    pub async fn probe_regularly(self: Arc<Self>) {
        loop {
            sleep(if self.is_failing() { RETRY_INTERVAL } else { PROBE_INTERVAL }).await;
            // What comes of it is remembered by the call itself.
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

    fn remember<T>(&self, result: &Result<T, StoreError>) {
        let failure = match result {
            Ok(_) | Err(StoreError::Corrupt(_)) => None,
            Err(error @ (StoreError::Unavailable(_) | StoreError::Timeout(_))) => Some(error),
        };
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match (was_failing, failure) {
            (false, Some(error)) => {
                self.up.set(0);
                tracing::error!(store = self.name(), error = %Chain(error), "the store fails");
            }
            (true, None) => {
                self.up.set(1);
                tracing::info!(store = self.name(), "the store works again");
            }
            _ => {}
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
        self.remember(&link);
        link
    }

    fn peek(&self, key: &Key) -> Option<Arc<Link>> {
        self.inner.peek(key)
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.meter.run("record", self.inner.record(key)).await
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

    async fn scan(
        &self,
        order: Order,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.meter.run("scan", self.inner.scan(order, after, limit)).await
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
        self.remember(&answer);
        answer
    }

    async fn watch(&self, changed: &(dyn Fn(Changed) + Send + Sync)) -> StoreError {
        self.inner.watch(changed).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
