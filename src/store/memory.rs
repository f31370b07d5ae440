//! Links in this process alone, gone when it ends: for tests and demonstrations.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use dashmap::{DashMap, Entry};

use super::{FIRST_NUMBER, Store, StoreError};
use crate::link::{Key, Link};

/// A map of links. As durable as the process is.
pub struct MemoryStore {
    links: DashMap<Key, Record>,
    next_number: AtomicU64,
}

struct Record {
    link: Arc<Link>,
    clicks: u64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { links: DashMap::new(), next_number: AtomicU64::new(FIRST_NUMBER) }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn put_if_absent(&self, link: Link) -> Result<bool, StoreError> {
        match self.links.entry(link.key.clone()) {
            Entry::Occupied(_) => Ok(false),
            Entry::Vacant(vacancy) => {
                vacancy.insert(Record { link: Arc::new(link), clicks: 0 });
                Ok(true)
            }
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Link>>, StoreError> {
        Ok(self.links.get(key).map(|record| record.link.clone()))
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        let first = self.next_number.fetch_add(count.into(), Ordering::Relaxed);
        Ok(first..first + u64::from(count))
    }

    async fn add_clicks(&self, clicks: Vec<(Key, u64)>) -> Result<(), StoreError> {
        for (key, count) in clicks {
            if let Some(mut record) = self.links.get_mut(&key) {
                record.clicks += count;
            }
        }
        Ok(())
    }

    async fn clicks(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        Ok(self.links.get(key).map(|record| record.clicks))
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) {}
}
