//! The blocked hosts in Redis.
//!
//! The three Redis keys share a hash slot, so that a script can change the sorted set, the entries and the revision
//! atomically.

use std::ops::Bound;

use redis::{Cmd, Script};

use super::RedisStore;
use crate::{
    blocked_hosts::{BlockedHost, HostPattern},
    store::{BLOCKED_HOSTS_CHANGED, StoreError, redis::layout::CHANNEL},
};

/// A sorted set of hosts. All scores are 0, so the hosts sort as strings.
const HOSTS: &str = "urlshort:{blocked}:hosts";

/// A hash that maps each host to its entry in JSON.
const ENTRIES: &str = "urlshort:{blocked}:entries";

/// The number of changes to the blocked hosts so far.
const REVISION: &str = "urlshort:{blocked}:revision";

pub(super) struct Scripts {
    block: Script,
    unblock: Script,
    list: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            block: Script::new(include_str!("block_host.lua")),
            unblock: Script::new(include_str!("unblock_host.lua")),
            list: Script::new(include_str!("blocked_hosts.lua")),
        }
    }
}

/// Adds or replaces an entry.
///
/// Returns false if there are already `max` other entries.
pub(super) async fn put(store: &RedisStore, entry: &BlockedHost, max: u32) -> Result<bool, StoreError> {
    let json = serde_json::to_string(entry).map_err(StoreError::corrupt)?;
    let mut script = store.scripts.blocked.block.prepare_invoke();
    script.key(HOSTS).key(ENTRIES).key(REVISION);
    script.arg(entry.host.as_str()).arg(json).arg(max).arg(CHANNEL).arg(BLOCKED_HOSTS_CHANGED);
    store.connection.run_durably(&script).await
}

/// Removes an entry, and returns whether it existed.
pub(super) async fn delete(store: &RedisStore, host: &HostPattern) -> Result<bool, StoreError> {
    let mut script = store.scripts.blocked.unblock.prepare_invoke();
    script.key(HOSTS).key(ENTRIES).key(REVISION);
    script.arg(host.as_str()).arg(CHANNEL).arg(BLOCKED_HOSTS_CHANGED);
    store.run(&script).await
}

/// Returns at most `limit` entries starting at `from`, sorted by host.
pub(super) async fn list(
    store: &RedisStore,
    from: Bound<&HostPattern>,
    limit: usize,
) -> Result<Vec<BlockedHost>, StoreError> {
    let start = match from {
        Bound::Unbounded => "-".into(),
        Bound::Included(host) => format!("[{host}"),
        Bound::Excluded(host) => format!("({host}"),
    };
    let mut script = store.scripts.blocked.list.prepare_invoke();
    script.key(HOSTS).key(ENTRIES).arg(start).arg(limit);
    let entries: Vec<String> = store.run(&script).await?;
    entries.iter().map(|entry| serde_json::from_str(entry).map_err(StoreError::corrupt)).collect()
}

/// Returns the number of changes made so far.
pub(super) async fn revision(store: &RedisStore) -> Result<u64, StoreError> {
    let revision: Option<u64> = store.query(&Cmd::get(REVISION)).await?;
    Ok(revision.unwrap_or_default())
}
