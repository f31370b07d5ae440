//! Hosts that links must not point to.
//!
//! They come from two sources: the list in the store, which all instances share, and the file named by `BLOCKED_HOSTS`.
//! Blocking a host does not modify any link. While an entry matches a link's target, requests for the link get a 410
//! response. Once no entry matches, the link redirects again.

mod host;
mod set;

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
};

use jiff::Timestamp;
use parking_lot::RwLock;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

pub use self::{
    host::{HostPattern, InvalidHostPattern},
    set::{HostSet, InvalidHostFile},
};
use crate::link::{Creator, Target, options::printable, parsed};

/// The maximum number of blocked hosts in the store.
pub(crate) const MAX_BLOCKED_HOSTS: u32 = 100_000;

/// An entry in the store's list of blocked hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedHost {
    /// The pattern, which is unique within a store.
    pub host: HostPattern,
    #[serde(default)]
    pub reason: Option<Reason>,
    pub blocked_by: Creator,
    /// The time at which the host was blocked, with millisecond precision.
    pub blocked_at: Timestamp,
}

/// The reason for blocking a host, shown to people who manage links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason(Box<str>);

/// The error for an invalid reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a reason is 1 to {} characters without control characters", Reason::MAX_CHARS)]
pub struct InvalidReason;

impl Reason {
    /// The maximum length, in Unicode scalar values.
    pub(crate) const MAX_CHARS: usize = 255;

    /// Returns the reason without leading or trailing whitespace.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reason {
    type Err = InvalidReason;

    fn from_str(text: &str) -> Result<Self, InvalidReason> {
        printable(text, Self::MAX_CHARS).map(Self).ok_or(InvalidReason)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

/// This instance's copy of the blocked hosts.
///
/// It holds the hosts from the store and from the file.
#[derive(Default)]
pub struct BlockedHosts {
    sources: RwLock<Sources>,
    generation: AtomicU32,
}

#[derive(Default)]
struct Sources {
    file: HostSet,
    store: HostSet,
}

/// A decision on whether a target is blocked.
///
/// It records the generation of the block list that it's based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    generation: u32,
    pub is_blocked: bool,
}

impl BlockedHosts {
    /// Returns an entry that blocks `target`, if any.
    pub fn find(&self, target: &Target) -> Option<HostPattern> {
        let sources = self.sources.read();
        sources.file.find(target.host()).or_else(|| sources.store.find(target.host()))
    }

    /// Returns whether any entry blocks a target.
    pub fn blocks(&self, target: &Target) -> bool {
        let sources = self.sources.read();
        let contains = |set: &HostSet| !set.is_empty() && set.contains(target.host());
        contains(&sources.file) || contains(&sources.store)
    }

    /// Decides whether a target is blocked.
    pub(crate) fn judge(&self, target: &Target) -> Verdict {
        // Read the generation first, so that any change after this line makes the verdict outdated.
        let generation = self.generation.load(Ordering::Acquire);
        Verdict { generation, is_blocked: self.blocks(target) }
    }

    /// Returns a verdict for a target that the current list doesn't block.
    pub fn clear(&self) -> Verdict {
        Verdict { generation: self.generation.load(Ordering::Acquire), is_blocked: false }
    }

    /// Returns whether a verdict is based on the current list.
    pub(crate) fn is_current(&self, verdict: Verdict) -> bool {
        verdict.generation == self.generation.load(Ordering::Acquire)
    }

    /// Replaces the copy of the file's hosts.
    pub(crate) fn set_file(&self, hosts: HostSet) {
        self.change(|sources| sources.file = hosts);
    }

    /// Replaces the copy of the store's list.
    pub(crate) fn set_stored(&self, hosts: HostSet) {
        self.change(|sources| sources.store = hosts);
    }

    /// Adds a host to the copy of the store's list.
    pub(crate) fn add_stored(&self, host: &HostPattern) {
        self.change(|sources| sources.store.insert(host));
    }

    /// Removes a host from the copy of the store's list.
    pub(crate) fn remove_stored(&self, host: &HostPattern) {
        self.change(|sources| sources.store.remove(host));
    }

    fn change(&self, change: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources.write();
        change(&mut sources);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl fmt::Debug for BlockedHosts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.sources.read();
        formatter
            .debug_struct("BlockedHosts")
            .field("file", &sources.file.len())
            .field("store", &sources.store.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_outdated_after_each_change_of_either_source() {
        let hosts = BlockedHosts::default();
        let target: Target = "https://evil.example/".parse().unwrap();
        let pattern: HostPattern = ".example".parse().unwrap();
        let file = || HostSet::parse("evil.example").unwrap();
        let changes: [(&dyn Fn(), bool); 4] = [
            (&|| hosts.add_stored(&pattern), true),
            (&|| hosts.set_file(file()), true),
            (&|| hosts.remove_stored(&pattern), true),
            (&|| hosts.set_file(HostSet::default()), false),
        ];
        for (number, (change, is_blocked)) in changes.into_iter().enumerate() {
            let before = hosts.judge(&target);
            assert!(hosts.is_current(before));
            change();
            assert!(!hosts.is_current(before), "change {number}");
            assert_eq!(hosts.judge(&target).is_blocked, is_blocked, "change {number}");
            assert_eq!(hosts.judge(&target) == hosts.clear(), !is_blocked);
            assert_eq!(hosts.find(&target).is_some(), is_blocked);
        }
    }
}
