//! The blocked hosts of the store, and their copy in this instance.

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

/// The interval between checks for changes by other instances. The change feed reports most of them earlier.
const INTERVAL: Duration = Duration::from_secs(1);

/// The minimum pause between two loads. Many changes at a time then cost few loads.
const PAUSE: Duration = Duration::from_millis(200);

/// Entries in one call of the store.
const PAGE: usize = 5000;

/// The copy of the store's blocked hosts, and its revision.
#[derive(Default)]
pub(super) struct Copy {
    pub(super) hosts: Arc<BlockedHosts>,
    /// The revision of the store from before the last load; `None` before the first one.
    revision: Mutex<Option<u64>>,
    /// Notified when the change feed reports a change.
    pub(super) reported: Notify,
}

impl Links {
    /// Returns the blocked hosts as this instance knows them.
    pub fn blocked_hosts(&self) -> &Arc<BlockedHosts> {
        &self.blocked.hosts
    }

    /// Returns the moment `now`, for the states of links.
    pub fn moment(&self, now: Timestamp) -> Moment {
        Moment { now, blocked: self.blocked.hosts.clone() }
    }

    /// Adds a blocked host, or replaces the entry with the same host.
    ///
    /// Returns false, and changes nothing, if there are [`MAX_BLOCKED_HOSTS`] others. On return the host is blocked on this
    /// instance. Other instances follow within two seconds.
    ///
    /// # Errors
    /// Those of the store. The host may have been added.
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

    /// Removes a blocked host, and returns whether there was an entry.
    ///
    /// # Errors
    /// Those of the store. The host may have been removed.
    pub async fn unblock_host(&self, host: HostPattern) -> Result<bool, StoreError> {
        let (store, copy) = (self.health.store().clone(), self.blocked.clone());
        let unblock = async move {
            let is_done = store.unblock_host(&host).await?;
            copy.hosts.remove_stored(&host);
            Ok(is_done)
        };
        self.health.run_to_end("unblock_host", unblock).await
    }

    /// Returns blocked hosts of the store in order. See [`Store::blocked_hosts`].
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list_blocked_hosts(
        &self,
        from: Bound<&HostPattern>,
        limit: usize,
    ) -> Result<Vec<BlockedHost>, StoreError> {
        self.health.run("blocked_hosts", self.health.store().blocked_hosts(from, limit)).await
    }

    /// Loads the blocked hosts of the store, unless they are as they were at the last load.
    ///
    /// # Errors
    /// Those of the store. The list stays as it was.
    pub async fn load_blocked_hosts(&self) -> Result<(), StoreError> {
        self.blocked.load(&self.health).await
    }

    /// Follows the changes of the store's blocked hosts. Never returns.
    ///
    /// While the store can't be read, the list stays as it is.
    pub async fn follow_blocked_hosts(&self) {
        let mut has_failed = false;
        loop {
            // Either way it is time to look.
            let _ = timeout(INTERVAL, self.blocked.reported.notified()).await;
            if self.health.is_failing() {
                continue;
            }
            match self.load_blocked_hosts().await {
                Ok(()) if mem::take(&mut has_failed) => tracing::info!("blocked hosts are being read again"),
                Err(error) if !mem::replace(&mut has_failed, true) => {
                    let error = Chain(error.cause());
                    tracing::error!(%error, "blocked hosts can't be read from the store; the current list stays");
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
        // It is read first: a change during the load makes another load follow.
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

/// Returns all blocked hosts of a store.
///
/// # Errors
/// Those of the store.
pub async fn all_blocked_hosts(store: &dyn Store) -> Result<HostSet, StoreError> {
    all(|last| async move {
        let from = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        store.blocked_hosts(from, PAGE).await
    })
    .await
}

/// Collects the pages that `page` returns. It gets the last host of the previous page.
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
