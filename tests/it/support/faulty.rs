use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use urlshort::{
    link::{Key, Link},
    store::{Store, StoreError, memory::MemoryStore},
};

/// A store in memory that fails on demand: for the keys `panic` and `hang`, and in all it does while it is broken.
#[derive(Default)]
pub(crate) struct FaultyStore {
    inner: MemoryStore,
    broken: AtomicBool,
}

impl FaultyStore {
    pub(crate) fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    fn fail_if_broken(&self) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) { Err(StoreError::unavailable("out of order")) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn name(&self) -> &'static str {
        "faulty"
    }

    async fn put_if_absent(&self, link: Link) -> Result<bool, StoreError> {
        self.fail_if_broken()?;
        self.inner.put_if_absent(link).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Link>>, StoreError> {
        self.fail_if_broken()?;
        match key.as_str() {
            "panic" => panic!("as the test wished"),
            "hang" => std::future::pending().await,
            _ => self.inner.get(key).await,
        }
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        self.fail_if_broken()?;
        self.inner.take_numbers(count).await
    }

    async fn add_clicks(&self, clicks: Vec<(Key, u64)>) -> Result<(), StoreError> {
        self.fail_if_broken()?;
        self.inner.add_clicks(clicks).await
    }

    async fn clicks(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        self.fail_if_broken()?;
        self.inner.clicks(key).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.fail_if_broken()
    }

    async fn close(&self) {}
}
