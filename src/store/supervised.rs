//! What every store gets around it: a deadline, a timer and an error count for each call.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, timeout};

use super::{Store, StoreError};
use crate::{
    link::{Key, Link},
    observability::metrics::Metrics,
};

/// A store whose calls end in time and are measured.
pub struct Supervised {
    inner: Arc<dyn Store>,
    deadline: Duration,
    metrics: Arc<Metrics>,
}

impl Supervised {
    /// Gives each call to `inner` at most `deadline`.
    pub fn new(inner: Arc<dyn Store>, deadline: Duration, metrics: Arc<Metrics>) -> Self {
        Self { inner, deadline, metrics }
    }

    async fn supervise<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let labels = [self.inner.name(), operation];
        let start = Instant::now();
        let result =
            timeout(self.deadline, call).await.unwrap_or_else(|_| Err(StoreError::Timeout(self.deadline)));
        let duration = self.metrics.store_operation_duration.with_label_values(&labels);
        duration.observe(start.elapsed().as_secs_f64());
        if result.is_err() {
            self.metrics.store_errors.with_label_values(&labels).inc();
        }
        result
    }
}

#[async_trait]
impl Store for Supervised {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn put_if_absent(&self, link: Link) -> Result<bool, StoreError> {
        self.supervise("put_if_absent", self.inner.put_if_absent(link)).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Link>>, StoreError> {
        self.supervise("get", self.inner.get(key)).await
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        self.supervise("take_numbers", self.inner.take_numbers(count)).await
    }

    async fn add_clicks(&self, clicks: Vec<(Key, u64)>) -> Result<(), StoreError> {
        self.supervise("add_clicks", self.inner.add_clicks(clicks)).await
    }

    async fn clicks(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        self.supervise("clicks", self.inner.clicks(key)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.supervise("check", self.inner.check()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
