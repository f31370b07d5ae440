//! When a connection last did something.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The requests of one connection.
pub(super) struct Activity {
    opened_at: Instant,
    /// Counts the beginnings and ends of requests: it is odd while one is in progress. Only the connection's own thread
    /// writes, so a load and a store are enough.
    changes: AtomicU64,
    /// When the last request ended, in milliseconds since `opened_at`.
    idle_since: AtomicU64,
}

impl Activity {
    pub(super) fn start() -> Self {
        Self { opened_at: Instant::now(), changes: AtomicU64::new(0), idle_since: AtomicU64::new(0) }
    }

    /// Begins a request, which ends when the returned guard is dropped.
    pub(super) fn begin(&self) -> InProgress<'_> {
        self.count_change();
        InProgress(self)
    }

    /// Returns when the connection became idle; `None` while it has a request in progress.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.changes.load(Ordering::Relaxed).is_multiple_of(2);
        is_idle.then(|| self.opened_at + Duration::from_millis(self.idle_since.load(Ordering::Relaxed)))
    }

    /// Returns whether a request is in progress or has been since `seen`, which it updates.
    pub(super) fn progress_since(&self, seen: &mut u64) -> bool {
        let now = self.changes.load(Ordering::Relaxed);
        let progress = now % 2 == 1 || now != *seen;
        *seen = now;
        progress
    }

    fn count_change(&self) {
        self.changes.store(self.changes.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// A request in progress.
pub(super) struct InProgress<'a>(&'a Activity);

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        let elapsed = u64::try_from(self.0.opened_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.idle_since.store(elapsed, Ordering::Relaxed);
        self.0.count_change();
    }
}
