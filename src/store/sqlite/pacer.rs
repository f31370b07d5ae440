//! Pauses in long work on the writer's thread, so that it doesn't delay requests.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long the thread works between two pauses.
///
/// During a pause, other threads on the same core serve requests. Without pauses, the scheduler would let the writer run
/// for milliseconds.
const SLICE: Duration = Duration::from_micros(100);

/// The length of a pause.
const PAUSE: Duration = Duration::from_micros(50);

/// The maximum time for pauses in one transaction. Other processes wait that long for the file's lock.
const MAX_PAUSES: Duration = Duration::from_millis(5);

/// Divides the work of one transaction into slices.
pub(super) struct Pacer<'a> {
    is_urgent: &'a dyn Fn() -> bool,
    slice_start: Instant,
    paused: Duration,
}

impl<'a> Pacer<'a> {
    /// Starts the first slice. There are no pauses while `is_urgent` returns true.
    pub(super) fn new(is_urgent: &'a dyn Fn() -> bool) -> Self {
        Self { is_urgent, slice_start: Instant::now(), paused: Duration::ZERO }
    }

    /// Pauses if the current slice is over.
    ///
    /// Call this between pieces of work that take much less time than a slice.
    pub(super) fn pause_if_due(&mut self) {
        if self.slice_start.elapsed() < SLICE || self.paused >= MAX_PAUSES || (self.is_urgent)() {
            return;
        }
        let start = Instant::now();
        thread::sleep(PAUSE);
        self.slice_start = Instant::now();
        self.paused += self.slice_start - start;
    }
}
