//! Access to links through a cache, with deadlines, metrics and a circuit breaker.
//!
//! Use cases call [`Links`], and never a [`Store`] directly. A change runs to completion even if its caller stops
//! waiting. Afterwards, the link is removed from the cache even if the change failed, because the store may still have
//! applied the change.

mod blocked;
mod cache;
mod health;

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use jiff::civil::Date;
use thiserror::Error;
use tokio::time::timeout;

use self::{blocked::Copy, cache::Cache, health::Health};
pub use self::{blocked::all_blocked_hosts, cache::Found};
use crate::{
    clicks::{DayCounts, Tally},
    config::CacheOptions,
    gate::{Full, Gate, Permit},
    link::{Key, Link, Revision},
    observability::metrics::Metrics,
    store::{
        Change, DayPurge, History, PurgedDays, Record, Secret, Store, StoreError,
        listing::{Listing, Page},
    },
};

/// The maximum number of queued searches. Most searches take a few milliseconds.
const WAITING_SEARCHES: usize = 64;

/// How long a search may wait for earlier searches.
const SEARCH_PATIENCE: Duration = Duration::from_millis(1200);

/// Access to the links in a store, through this instance's cache.
pub struct Links {
    health: Arc<Health>,
    cache: Arc<Cache>,
    blocked: Arc<Copy>,
    searches: Gate,
}

/// The error for listing links or purging counts.
#[derive(Debug, Error)]
pub enum ListError {
    /// Earlier searches took too long, or too many searches are waiting.
    #[error("too many searches")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Links {
    /// Wraps `store`. Each call times out after `deadline`.
    pub fn new(
        store: Arc<dyn Store>,
        deadline: Duration,
        cache: CacheOptions,
        metrics: Arc<Metrics>,
    ) -> Self {
        let health = Arc::new(Health::new(store, deadline, metrics.clone()));
        let blocked = Arc::<Copy>::default();
        let cache = Arc::new(Cache::new(health.clone(), blocked.clone(), cache, metrics));
        Self { health, cache, blocked, searches: Gate::new(1, WAITING_SEARCHES) }
    }

    /// Returns the name of the store's backend, such as `sqlite`.
    pub(crate) fn store_name(&self) -> &'static str {
        self.health.store().name()
    }

    /// Returns a link if it is cached, fresh and not blocked.
    ///
    /// This method never waits. If it returns `None`, the link may still exist. A caller that uses the link must count
    /// the cache hit.
    pub(crate) fn peek(&self, key: &Key) -> Option<Arc<Link>> {
        self.cache.peek(key)
    }

    /// Returns a link from the cache, or else from the store.
    ///
    /// # Errors
    /// Any [`StoreError`], if the link is not cached.
    pub async fn find(&self, key: &Key) -> Found {
        self.cache.find(key).await
    }

    /// Returns a link and its counts from the store.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let record = self.health.run("record", self.health.store().get(key)).await;
        self.health.note_damage_of(key, &record);
        record
    }

    /// Adds a link and its history, unless the key is taken.
    ///
    /// See [`Store::put_if_absent`].
    ///
    /// # Errors
    /// Any [`StoreError`]. The link may have been added.
    pub async fn put_if_absent(&self, link: Link, history: History) -> Result<bool, StoreError> {
        let key = link.key.clone();
        self.change("put", key, |store| async move { store.put_if_absent(link, history).await }).await
    }

    /// Replaces a link if its version is still `expected`. See [`Store::update`].
    ///
    /// # Errors
    /// Any [`StoreError`]. The link may have been replaced.
    pub async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError> {
        let key = link.key.clone();
        self.change("update", key, |store| async move { store.update(link, expected).await }).await
    }

    /// Removes a link if its revision is still `expected`. See [`Store::delete`].
    ///
    /// # Errors
    /// Any [`StoreError`]. The link may have been removed.
    pub async fn delete(&self, key: &Key, expected: Revision) -> Result<Change, StoreError> {
        let deleted = key.clone();
        let delete = |store: Arc<dyn Store>| async move { store.delete(&deleted, expected).await };
        self.change("delete", key.clone(), delete).await
    }

    async fn change<T, F>(
        &self,
        operation: &'static str,
        key: Key,
        change: impl FnOnce(Arc<dyn Store>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let forgets = self.cache.forget_on_drop(key);
        let change = change(self.health.store().clone());
        let change_and_forget = async move {
            let _forgets = forgets;
            change.await
        };
        self.health.run_to_end(operation, change_and_forget).await
    }

    /// Removes a link from the cache.
    pub fn forget(&self, key: &Key) {
        self.cache.forget(key);
    }

    /// Uses up one of a link's visits. See [`Store::use_visit`].
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn use_visit(&self, key: &Key) -> Result<bool, StoreError> {
        self.health.run("use_visit", self.health.store().use_visit(key)).await
    }

    /// Returns a page of links. See [`Store::list`].
    ///
    /// A search waits for earlier searches, so that the store runs only one at a time.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn list(&self, listing: &Listing) -> Result<Page, ListError> {
        let (operation, _place) = if listing.filter.is_search() {
            ("search", Some(self.turn_to_search().await?))
        } else {
            ("list", None)
        };
        let page = self.health.run(operation, self.health.store().list(listing)).await?;
        for damaged in &page.damaged {
            self.health.note_damage(&damaged.key, &damaged.error);
        }
        Ok(page)
    }

    async fn turn_to_search(&self) -> Result<Permit, ListError> {
        let turn = timeout(SEARCH_PATIENCE, self.searches.enter()).await;
        turn.map_err(|_| ListError::Busy)?.map_err(|Full| ListError::Busy)
    }

    /// Removes old daily counts from one part of the store. See [`Store::purge_days`].
    ///
    /// The removal waits in the same queue as searches.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn purge_days(&self, purge: &DayPurge) -> Result<PurgedDays, ListError> {
        let _place = self.turn_to_search().await?;
        Ok(self.health.run("purge_days", self.health.store().purge_days(purge)).await?)
    }

    /// Takes numbers from the store's counter. See [`Store::take_numbers`].
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        self.health.run("take_numbers", self.health.store().take_numbers(count)).await
    }

    /// Returns the secret that all instances share. See [`Store::secret`].
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn secret(&self, proposed: Secret) -> Result<Secret, StoreError> {
        self.health.run("secret", self.health.store().secret(proposed)).await
    }

    /// Adds clicks, and returns the links whose clicks could not be added.
    ///
    /// See [`Store::add_clicks`].
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<Vec<(Key, StoreError)>, StoreError> {
        self.health.run("add_clicks", self.health.store().add_clicks(tallies)).await
    }

    /// Returns the number of lost clicks. See [`Store::take_lost_clicks`].
    pub(crate) fn take_lost_clicks(&self) -> u64 {
        self.health.store().take_lost_clicks()
    }

    /// Returns the daily counts of a link from `first` to `last`, inclusive.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn day_counts(
        &self,
        key: &Key,
        first: Date,
        last: Date,
    ) -> Result<BTreeMap<Date, DayCounts>, StoreError> {
        self.health.run("day_counts", self.health.store().day_counts(key, first, last)).await
    }

    /// Returns the result of the last probe, without calling the store.
    ///
    /// # Errors
    /// The error from the last probe, or from the lookup that has opened the circuit breaker since then.
    pub fn status(&self) -> Result<(), StoreError> {
        self.health.status()
    }

    /// Probes the store periodically. Never returns.
    pub async fn probe_regularly(&self) {
        self.health.probe_regularly().await;
    }

    /// Applies changes made by other instances to the cache. Never returns.
    pub async fn watch_regularly(&self) {
        self.cache.watch_regularly().await;
    }

    /// Closes the store, which must not be used afterwards.
    pub async fn close(&self) {
        self.health.store().close().await;
    }
}
