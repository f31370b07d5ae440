//! A connection's activity: its requests in progress, and its idle time.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The request activity of one connection.
pub(super) struct Activity {
    opened_at: Instant,
    /// The number of times that a request has begun or ended. It is odd while a request is in progress. Only the
    /// connection's own thread changes it, so a separate load and store suffice.
    changes: AtomicU64,
    /// The end of the last request, in microseconds since `opened_at`.
    idle_since: AtomicU64,
    /// Set if the last request had a body. The client may still be sending an unread part of that body.
    has_body: AtomicBool,
}

impl Activity {
    pub(super) fn start() -> Self {
        Self {
            opened_at: Instant::now(),
            changes: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            has_body: AtomicBool::new(false),
        }
    }

    /// Marks the beginning of a request. Dropping the guard marks its end.
    pub(super) fn begin(&self, has_body: bool) -> InProgress<'_> {
        self.has_body.store(has_body, Ordering::Relaxed);
        self.count_change();
        InProgress(self)
    }

    /// Returns whether the connection has received a request.
    pub(super) fn has_begun(&self) -> bool {
        self.changes.load(Ordering::Relaxed) > 0
    }

    /// Returns whether the client may still be sending its last request body.
    pub(super) fn may_be_sending(&self) -> bool {
        self.has_body.load(Ordering::Relaxed)
    }

    /// Returns the start of the idle period, or `None` during a request.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.changes.load(Ordering::Relaxed).is_multiple_of(2);
        is_idle.then(|| self.opened_at + Duration::from_micros(self.idle_since.load(Ordering::Relaxed)))
    }

    /// Returns whether a request has been in progress since the previous check.
    ///
    /// `seen` keeps the state between checks.
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

/// A guard for a request in progress.
pub(super) struct InProgress<'a>(&'a Activity);

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        let elapsed = u64::try_from(self.0.opened_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.idle_since.store(elapsed, Ordering::Relaxed);
        self.0.count_change();
    }
}
