//! Links in this process alone, gone when it ends: for tests and demonstrations.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ahash::RandomState;
use async_trait::async_trait;
use dashmap::{DashMap, Entry, mapref::one::RefMut};
use jiff::civil::Date;

use super::{
    Change, FIRST_NUMBER, History, Record, Scan, Store, StoreError,
    listing::{Cursor, Order},
};
use crate::{
    clicks::{DayCount, Facet, Tally},
    link::{Key, Link},
};

/// A map of links. As durable as the process is.
pub struct MemoryStore {
    links: DashMap<Key, Kept, RandomState>,
    next_number: AtomicU64,
}

struct Kept {
    link: Arc<Link>,
    clicks: u64,
    visits: u64,
    days: HashMap<(Date, Facet), u64>,
}

impl Kept {
    fn record(&self) -> Record {
        Record { link: self.link.clone(), clicks: self.clicks, visits: self.visits }
    }

    fn count(&mut self, counted: DayCount) {
        *self.days.entry((counted.day, counted.facet)).or_default() += counted.count;
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { links: DashMap::default(), next_number: AtomicU64::new(FIRST_NUMBER) }
    }
}

impl MemoryStore {
    /// The link for a change, or why there can be none.
    fn claim(&self, key: &Key, expected: Option<u32>) -> Result<RefMut<'_, Key, Kept>, Change> {
        let kept = self.links.get_mut(key).ok_or(Change::Missing)?;
        if expected.is_some_and(|version| version != kept.link.version) {
            Err(Change::Conflict)
        } else {
            Ok(kept)
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn put_with_history(&self, link: Link, history: History) -> Result<bool, StoreError> {
        match self.links.entry(link.key.clone()) {
            Entry::Occupied(_) => Ok(false),
            Entry::Vacant(vacancy) => {
                let mut kept = Kept {
                    link: Arc::new(link),
                    clicks: history.clicks(),
                    visits: history.visits,
                    days: HashMap::new(),
                };
                history.days.into_iter().for_each(|counted| kept.count(counted));
                vacancy.insert(kept);
                Ok(true)
            }
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Link>>, StoreError> {
        Ok(self.links.get(key).map(|kept| kept.link.clone()))
    }

    fn peek(&self, key: &Key) -> Option<Arc<Link>> {
        Some(self.links.get(key)?.link.clone())
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        Ok(self.links.get(key).map(|kept| kept.record()))
    }

    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError> {
        Ok(match self.claim(&link.key, Some(expected)) {
            Ok(mut kept) => {
                kept.link = Arc::new(link);
                Change::Done
            }
            Err(change) => change,
        })
    }

    async fn delete(&self, key: &Key, expected: Option<u32>) -> Result<Change, StoreError> {
        let Entry::Occupied(kept) = self.links.entry(key.clone()) else { return Ok(Change::Missing) };
        if expected.is_some_and(|version| version != kept.get().link.version) {
            return Ok(Change::Conflict);
        }
        kept.remove();
        Ok(Change::Done)
    }

    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError> {
        let Ok(mut kept) = self.claim(key, None) else { return Ok(false) };
        let left = kept.link.max_visits.is_none_or(|limit| kept.visits < limit.get().into());
        kept.visits += u64::from(left);
        Ok(left)
    }

    async fn scan(&self, order: Order, after: Option<Cursor>, limit: usize) -> Result<Scan, StoreError> {
        let mut found: Vec<_> = self
            .links
            .iter()
            .filter(|kept| order != Order::MostClicked || kept.clicks > 0)
            .map(|kept| (order.cursor(&kept.record()), kept.record()))
            .filter(|(cursor, _)| match order {
                Order::Oldest => after.as_ref().is_none_or(|after| cursor > after),
                Order::Newest | Order::MostClicked => after.as_ref().is_none_or(|after| cursor < after),
            })
            .collect();
        found.sort_unstable_by(|(one, _), (other, _)| match order {
            Order::Oldest => one.cmp(other),
            Order::Newest | Order::MostClicked => other.cmp(one),
        });
        found.truncate(limit);
        let records = found.into_iter().map(|(_, record)| record).collect();
        Ok(Scan { records, damaged: Vec::new() })
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        let first = self.next_number.fetch_add(count.into(), Ordering::Relaxed);
        Ok(first..first + u64::from(count))
    }

    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<(), StoreError> {
        for Tally { key, counted } in tallies {
            if let Some(mut kept) = self.links.get_mut(&key) {
                kept.clicks += if counted.facet == Facet::People { counted.count } else { 0 };
                kept.count(counted);
            }
        }
        Ok(())
    }

    async fn day_counts(&self, key: &Key, first: Date, last: Date) -> Result<Vec<DayCount>, StoreError> {
        let Some(kept) = self.links.get(key) else { return Ok(Vec::new()) };
        let within = kept.days.iter().filter(|((day, _), _)| (first..=last).contains(day));
        let counts =
            within.map(|((day, facet), count)| DayCount { day: *day, facet: facet.clone(), count: *count });
        Ok(counts.collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) {}
}
