//! The store's blocked hosts, and this instance's copy of them.

use std::{mem, ops::Bound, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{Links, health::Health};
use crate::{
    blocked_hosts::{BlockedHost, BlockedHosts, HostPattern, HostSet, MAX_BLOCKED_HOSTS},
    observability::logging::Chain,
    store::{Moment, Store, StoreError},
};

/// How often to check for changes made by other instances. The change feed reports most changes earlier.
const INTERVAL: Duration = Duration::from_secs(1);

/// The minimum pause between two loads. Without it, a burst of changes would cause a load for each change.
const PAUSE: Duration = Duration::from_millis(200);

/// The maximum number of entries to load per store call.
const PAGE: usize = 5000;

/// A copy of the store's blocked hosts, with its revision.
#[derive(Default)]
pub(super) struct Copy {
    pub(super) hosts: Arc<BlockedHosts>,
    /// The store's revision just before the last load, or `None` before the first load.
    revision: Mutex<Option<u64>>,
    /// Notified when the change feed reports a change.
    pub(super) reported: Notify,
}

impl Links {
    /// Returns the blocked hosts known to this instance.
    pub fn blocked_hosts(&self) -> &Arc<BlockedHosts> {
        &self.blocked.hosts
    }

    /// Returns a [`Moment`] for evaluating the states of links at `now`.
    pub fn moment(&self, now: Timestamp) -> Moment {
        Moment { now, blocked: self.blocked.hosts.clone() }
    }

    /// Adds a blocked host, or replaces its existing entry.
    ///
    /// Returns false without changing anything if there are [`MAX_BLOCKED_HOSTS`] other entries. When it returns true,
    /// the host is blocked on this instance. Other instances block it within two seconds.
    ///
    /// # Errors
    /// Any [`StoreError`]. The host may have been added.
    pub async fn block_host(&self, entry: BlockedHost) -> Result<bool, StoreError> {
        let (store, copy) = (self.health.store().clone(), self.blocked.clone());
        let block = async move {
            let host = entry.host.clone();
            let is_done = store.block_host(entry, MAX_BLOCKED_HOSTS).await?;
            if is_done {
                copy.hosts.add_stored(&host);
            }
            Ok(is_done)
        };
        self.health.run_to_end("block_host", block).await
    }

    /// Removes a blocked host, and returns whether it had an entry.
    ///
    /// # Errors
    /// Any [`StoreError`]. The host may have been removed.
    pub async fn unblock_host(&self, host: HostPattern) -> Result<bool, StoreError> {
        let (store, copy) = (self.health.store().clone(), self.blocked.clone());
        let unblock = async move {
            let is_done = store.unblock_host(&host).await?;
            copy.hosts.remove_stored(&host);
            Ok(is_done)
        };
        self.health.run_to_end("unblock_host", unblock).await
    }

    /// Returns the store's blocked hosts in order. See [`Store::blocked_hosts`].
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub(crate) async fn list_blocked_hosts(
        &self,
        from: Bound<&HostPattern>,
        limit: usize,
    ) -> Result<Vec<BlockedHost>, StoreError> {
        self.health.run("blocked_hosts", self.health.store().blocked_hosts(from, limit)).await
    }

    /// Loads the store's blocked hosts if they have changed since the last load.
    ///
    /// # Errors
    /// Any [`StoreError`]. This instance then keeps its current copy.
    pub async fn load_blocked_hosts(&self) -> Result<(), StoreError> {
        self.blocked.load(&self.health).await
    }

    /// Follows changes to the store's blocked hosts. Never returns.
    ///
    /// While the store can't be read, this instance keeps its current copy.
    pub(crate) async fn follow_blocked_hosts(&self) {
        let mut has_failed = false;
        loop {
            // Check the store after a notification, or after the interval if no notification arrives.
            let _ = timeout(INTERVAL, self.blocked.reported.notified()).await;
            if self.health.is_failing() {
                continue;
            }
            match self.load_blocked_hosts().await {
                Ok(()) if mem::take(&mut has_failed) => tracing::info!("blocked hosts are being read again"),
                Err(error) if !mem::replace(&mut has_failed, true) => {
                    let error = Chain(error.cause());
                    tracing::error!(%error, "blocked hosts can't be read from the store; keeping the current list");
                }
                Ok(()) | Err(_) => {}
            }
            sleep(PAUSE).await;
        }
    }
}

impl Copy {
    async fn load(&self, health: &Health) -> Result<(), StoreError> {
        let store = &**health.store();
        // Read the revision first, so that a change during the load causes another load.
        let revision = health.run("blocked_hosts_revision", store.blocked_hosts_revision()).await?;
        if *self.revision.lock() == Some(revision) {
            return Ok(());
        }
        let hosts = all(|last| async move {
            let from = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            health.run("blocked_hosts", store.blocked_hosts(from, PAGE)).await
        })
        .await?;
        self.hosts.set_stored(hosts);
        *self.revision.lock() = Some(revision);
        Ok(())
    }
}

/// Returns all blocked hosts in a store.
///
/// # Errors
/// Any [`StoreError`].
pub async fn all_blocked_hosts(store: &dyn Store) -> Result<HostSet, StoreError> {
    all(|last| async move {
        let from = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        store.blocked_hosts(from, PAGE).await
    })
    .await
}

/// Collects all pages of blocked hosts.
///
/// `page` receives the last host of the previous page, and returns the next one.
async fn all<F>(page: impl Fn(Option<HostPattern>) -> F) -> Result<HostSet, StoreError>
where
    F: Future<Output = Result<Vec<BlockedHost>, StoreError>>,
{
    let (mut hosts, mut last) = (HostSet::default(), None);
    loop {
        let entries = page(last).await?;
        entries.iter().for_each(|entry| hosts.insert(&entry.host));
        match entries.into_iter().last() {
            Some(entry) => last = Some(entry.host),
            None => return Ok(hosts),
        }
    }
}
