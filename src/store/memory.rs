//! An in-memory store for tests and demonstrations. Its links are lost when the process ends.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use ahash::RandomState;
use async_trait::async_trait;
use dashmap::{DashMap, Entry};
use jiff::civil::Date;
use parking_lot::RwLock;

use super::{
    Change, DayPurge, FIRST_NUMBER, History, PurgedDays, Record, Secret, Store, StoreError,
    listing::{Cursor, Listing, Order, Page},
};
use crate::{
    blocked_hosts::{BlockedHost, HostPattern},
    clicks::{DayCounts, Tally, increase},
    link::{Key, Link, Revision},
};

/// A store in memory. It is not durable.
pub struct MemoryStore {
    links: DashMap<Key, Stored, RandomState>,
    next_number: AtomicU64,
    secret: OnceLock<Secret>,
    blocked: RwLock<BTreeMap<HostPattern, BlockedHost>>,
    blocked_revision: AtomicU64,
}

struct Stored {
    record: Record,
    days: BTreeMap<Date, DayCounts>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            links: DashMap::default(),
            next_number: AtomicU64::new(FIRST_NUMBER),
            secret: OnceLock::new(),
            blocked: RwLock::default(),
            blocked_revision: AtomicU64::default(),
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn put_if_absent(&self, link: Link, history: History) -> Result<bool, StoreError> {
        match self.links.entry(link.key.clone()) {
            Entry::Occupied(_) => Ok(false),
            Entry::Vacant(vacancy) => {
                let (clicks, visits) = (history.clicks(), history.visits);
                let record = Record { link: Arc::new(link), clicks, visits };
                vacancy.insert(Stored { record, days: history.days });
                Ok(true)
            }
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        Ok(self.links.get(key).map(|stored| stored.record.clone()))
    }

    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError> {
        let Some(mut stored) = self.links.get_mut(&link.key) else { return Ok(Change::Missing) };
        if stored.record.link.revision() != (Revision { version: expected, ..link.revision() }) {
            return Ok(Change::Conflict);
        }
        stored.record.link = Arc::new(link);
        Ok(Change::Done)
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Change, StoreError> {
        let Entry::Occupied(stored) = self.links.entry(key.clone()) else { return Ok(Change::Missing) };
        if stored.get().record.link.revision() != expected {
            return Ok(Change::Conflict);
        }
        stored.remove();
        Ok(Change::Done)
    }

    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError> {
        let Some(mut stored) = self.links.get_mut(key) else { return Ok(false) };
        let is_left = !stored.record.is_used_up();
        stored.record.visits += u64::from(is_left);
        Ok(is_left)
    }

    async fn list(&self, listing: &Listing) -> Result<Page, StoreError> {
        let Listing { order, after, limit, filter, search_time: _ } = listing;
        let is_after = |cursor: &Cursor| match (order, after) {
            (_, None) => true,
            (Order::Oldest, Some(after)) => cursor > after,
            (Order::Newest | Order::MostClicked, Some(after)) => cursor < after,
        };
        let mut found: Vec<_> = self
            .links
            .iter()
            .filter(|stored| *order != Order::MostClicked || stored.record.clicks > 0)
            .map(|stored| (order.cursor(&stored.record), stored.record.clone()))
            .filter(|(cursor, record)| is_after(cursor) && filter.matches(record))
            .collect();
        found.sort_unstable_by(|(one, _), (other, _)| match order {
            Order::Oldest => one.cmp(other),
            Order::Newest | Order::MostClicked => other.cmp(one),
        });
        let next =
            if found.len() > *limit { found.get(limit - 1).map(|(cursor, _)| cursor.clone()) } else { None };
        found.truncate(*limit);
        let records = found.into_iter().map(|(_, record)| record).collect();
        Ok(Page { records, next, ..Page::default() })
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        let first = self.next_number.fetch_add(count.into(), Ordering::Relaxed);
        Ok(first..first + u64::from(count))
    }

    async fn secret(&self, proposed: Secret) -> Result<Secret, StoreError> {
        Ok(*self.secret.get_or_init(|| proposed))
    }

    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<Vec<(Key, StoreError)>, StoreError> {
        for Tally { key, created_at, day, counts } in tallies {
            if let Some(mut stored) = self.links.get_mut(&key)
                && stored.record.link.created_at == created_at
            {
                increase(&mut stored.record.clicks, counts.people);
                stored.days.entry(day).or_default().add(counts);
            }
        }
        Ok(Vec::new())
    }

    async fn day_counts(
        &self,
        key: &Key,
        first: Date,
        last: Date,
    ) -> Result<BTreeMap<Date, DayCounts>, StoreError> {
        let Some(stored) = self.links.get(key) else { return Ok(BTreeMap::new()) };
        // Don't use `BTreeMap::range`, which panics if `first` is after `last`.
        let days = stored.days.iter().filter(|(day, _)| (first..=last).contains(day));
        Ok(days.map(|(day, counts)| (*day, counts.clone())).collect())
    }

    async fn block_host(&self, entry: BlockedHost, max: u32) -> Result<bool, StoreError> {
        let mut blocked = self.blocked.write();
        if blocked.len() >= max as usize && !blocked.contains_key(&entry.host) {
            return Ok(false);
        }
        blocked.insert(entry.host.clone(), entry);
        self.blocked_revision.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    async fn unblock_host(&self, host: &HostPattern) -> Result<bool, StoreError> {
        let removed = self.blocked.write().remove(host);
        self.blocked_revision.fetch_add(removed.is_some().into(), Ordering::Relaxed);
        Ok(removed.is_some())
    }

    async fn blocked_hosts(
        &self,
        from: Bound<&HostPattern>,
        limit: usize,
    ) -> Result<Vec<BlockedHost>, StoreError> {
        let blocked = self.blocked.read();
        Ok(blocked.range((from, Bound::Unbounded)).take(limit).map(|(_, entry)| entry.clone()).collect())
    }

    async fn blocked_hosts_revision(&self) -> Result<u64, StoreError> {
        Ok(self.blocked_revision.load(Ordering::Relaxed))
    }

    async fn purge_days(&self, purge: &DayPurge) -> Result<PurgedDays, StoreError> {
        let mut days = 0;
        for mut stored in self.links.iter_mut() {
            let kept = stored.days.split_off(&purge.before);
            days += stored.days.len() as u64;
            if purge.dry_run {
                stored.days.extend(kept);
            } else {
                stored.days = kept;
            }
        }
        Ok(PurgedDays { days, next: None })
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) {}
}
