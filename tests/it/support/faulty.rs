use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::civil::Date;
use tokio::{sync::watch, time::sleep};
use urlshort::{
    blocked_hosts::{BlockedHost, HostPattern},
    clicks::{DayCounts, Tally},
    link::{Key, Link, Revision},
    store::{
        Change, Changed, DayPurge, History, PurgedDays, Record, Secret, Store, StoreError,
        listing::{Listing, Page},
        memory::MemoryStore,
    },
};

/// A store that fails on demand.
///
/// A lookup of the `panic` key panics, and a lookup of a key that starts with `hang` never returns. The current
/// [`Mood`] affects every call. The change feed contains only the changes sent by [`FaultyStore::report_change`], not
/// those of the inner store.
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    mood: watch::Sender<Mood>,
    reads: AtomicUsize,
    changes: watch::Sender<Option<Changed>>,
    holds_lookups: watch::Sender<bool>,
    held: AtomicUsize,
    change_delay: Mutex<Duration>,
}

/// The behaviour of a [`FaultyStore`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Fine,
    /// Every call fails.
    Broken,
    /// Every call waits until the mood changes.
    Frozen,
}

impl Default for FaultyStore {
    fn default() -> Self {
        Self::around(Arc::new(MemoryStore::default()))
    }
}

impl FaultyStore {
    pub(crate) fn around(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            mood: watch::Sender::new(Mood::Fine),
            reads: AtomicUsize::new(0),
            changes: watch::Sender::new(None),
            holds_lookups: watch::Sender::new(false),
            held: AtomicUsize::new(0),
            change_delay: Mutex::default(),
        }
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Returns the number of lookups.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Looks up a link without counting the lookup.
    pub(crate) async fn get_uncounted(&self, key: &Key) -> Option<Record> {
        self.inner.get(key).await.unwrap()
    }

    /// Sends a change to the watchers.
    pub(crate) fn report_change(&self, changed: Changed) {
        self.changes.send_replace(Some(changed));
    }

    /// Sets whether to hold back the results of lookups.
    ///
    /// A lookup still reads the link immediately.
    pub(crate) fn hold_lookups(&self, hold: bool) {
        self.holds_lookups.send_replace(hold);
    }

    /// Sets the delay before a change returns its result.
    ///
    /// The change itself is applied immediately.
    pub(crate) fn set_change_delay(&self, delay: Duration) {
        *self.change_delay.lock().unwrap() = delay;
    }

    async fn delay_change(&self) {
        let delay = *self.change_delay.lock().unwrap();
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }

    /// Returns the number of lookups whose results were held back.
    pub(crate) fn held_lookups(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    async fn gate(&self) -> Result<(), StoreError> {
        let mut mood = self.mood.subscribe();
        match *mood.wait_for(|mood| *mood != Mood::Frozen).await.unwrap() {
            Mood::Broken => Err(StoreError::unavailable("out of order")),
            Mood::Fine | Mood::Frozen => Ok(()),
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn name(&self) -> &'static str {
        "faulty"
    }

    async fn put_if_absent(&self, link: Link, history: History) -> Result<bool, StoreError> {
        self.gate().await?;
        self.inner.put_if_absent(link, history).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.gate().await?;
        match key.as_str() {
            "panic" => panic!("requested by the test"),
            text if text.starts_with("hang") => std::future::pending().await,
            _ => {
                let found = self.inner.get(key).await;
                if *self.holds_lookups.borrow() {
                    self.held.fetch_add(1, Ordering::SeqCst);
                    self.holds_lookups.subscribe().wait_for(|hold| !hold).await.unwrap();
                }
                found
            }
        }
    }

    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError> {
        self.gate().await?;
        let change = self.inner.update(link, expected).await;
        self.delay_change().await;
        change
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Change, StoreError> {
        self.gate().await?;
        let change = self.inner.delete(key, expected).await;
        self.delay_change().await;
        change
    }

    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError> {
        self.gate().await?;
        self.inner.use_visit(key).await
    }

    async fn list(&self, listing: &Listing) -> Result<Page, StoreError> {
        self.gate().await?;
        self.inner.list(listing).await
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        self.gate().await?;
        self.inner.take_numbers(count).await
    }

    async fn secret(&self, proposed: Secret) -> Result<Secret, StoreError> {
        self.gate().await?;
        self.inner.secret(proposed).await
    }

    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<Vec<(Key, StoreError)>, StoreError> {
        self.gate().await?;
        self.inner.add_clicks(tallies).await
    }

    async fn day_counts(
        &self,
        key: &Key,
        first: Date,
        last: Date,
    ) -> Result<BTreeMap<Date, DayCounts>, StoreError> {
        self.gate().await?;
        self.inner.day_counts(key, first, last).await
    }

    async fn block_host(&self, entry: BlockedHost, max: u32) -> Result<bool, StoreError> {
        self.gate().await?;
        let is_done = self.inner.block_host(entry, max).await;
        self.delay_change().await;
        is_done
    }

    async fn unblock_host(&self, host: &HostPattern) -> Result<bool, StoreError> {
        self.gate().await?;
        self.inner.unblock_host(host).await
    }

    async fn blocked_hosts(
        &self,
        from: Bound<&HostPattern>,
        limit: usize,
    ) -> Result<Vec<BlockedHost>, StoreError> {
        self.gate().await?;
        self.inner.blocked_hosts(from, limit).await
    }

    async fn blocked_hosts_revision(&self) -> Result<u64, StoreError> {
        self.gate().await?;
        self.inner.blocked_hosts_revision().await
    }

    async fn purge_days(&self, purge: &DayPurge) -> Result<PurgedDays, StoreError> {
        self.gate().await?;
        self.inner.purge_days(purge).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.gate().await
    }

    async fn watch(&self, changed: &(dyn Fn(Changed) + Send + Sync)) -> StoreError {
        let mut changes = self.changes.subscribe();
        while changes.changed().await.is_ok() {
            if let Some(change) = changes.borrow_and_update().clone() {
                changed(change);
            }
        }
        StoreError::unavailable("the change feed has ended")
    }

    async fn close(&self) {}
}
