//! Adding tallies to the counts of links.
//!
//! Adding a tally changes three database pages, and the pages for many links are scattered over the file. Large batches
//! are therefore appended to a [`journal`] first, which makes them durable at a small part of the cost. Some seconds
//! later, the journal is merged into the counts. By then, it contains several tallies for most links that were followed
//! often, and these are added as one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::{
    sync::{Mutex, Notify, RwLock},
    time,
};

use super::{
    journal,
    merge::{Merge, Step},
    pacer::Pacer,
    rows,
    worker::Worker,
};
use crate::{clicks::Tally, observability::logging::Chain, store::StoreError};

/// The maximum size of a batch that is added to the counts directly.
///
/// The statistics of a service with few visits are therefore always up to date.
const DIRECT: usize = 250;

/// The age of the journal at which it is merged.
const MERGE_AGE: Duration = Duration::from_secs(20);

/// The size of the journal, in bytes, at which it is merged early. A tally takes about 25 bytes.
const MERGE_SIZE: usize = 32 << 20;

/// The time over which a merge is spread, so that it doesn't delay requests.
const SPREAD: Duration = Duration::from_secs(10);

/// The delay from which a merge continues without pauses, so that the journal can't grow faster than it is merged.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// The maximum time for merges while the store is closed.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Adds tallies to the counts of links, directly or through the journal.
pub(super) struct TallyWriter {
    writer: Arc<Worker>,
    /// The number of bytes added to the journal since the last merge was started.
    new_bytes: AtomicUsize,
    is_large: Notify,
    /// Held during a merge.
    merging: Mutex<()>,
    /// Locked until the journal of the previous process has been merged.
    recovery: Arc<RwLock<()>>,
    is_closing: AtomicBool,
    /// The number of clicks that could not be merged.
    lost: AtomicU64,
}

impl TallyWriter {
    pub(super) fn new(writer: Arc<Worker>) -> Self {
        Self {
            writer,
            new_bytes: AtomicUsize::new(0),
            is_large: Notify::new(),
            merging: Mutex::default(),
            recovery: Arc::default(),
            is_closing: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        }
    }

    /// Makes tallies durable, and adds them to the counts now or later.
    pub(super) async fn add(self: &Arc<Self>, tallies: Vec<Tally>) -> Result<(), StoreError> {
        let is_urgent = self.writer.waiting()?;
        if tallies.len() <= DIRECT {
            return self
                .writer
                .call_in_background(move |db| add_to_counts(db, &tallies, &mut Pacer::new(&is_urgent)))
                .await;
        }
        let append = move |db: &Connection| journal::append(db, &tallies, &mut Pacer::new(&is_urgent));
        let size = self.writer.call_in_background(append).await?;
        let before = self.new_bytes.fetch_add(size, Ordering::Relaxed);
        if before == 0 {
            tokio::spawn(self.clone().merge_later());
        }
        if before < MERGE_SIZE && before + size >= MERGE_SIZE {
            self.is_large.notify_one();
        }
        Ok(())
    }

    async fn merge_later(self: Arc<Self>) {
        tokio::select! {
            () = time::sleep(MERGE_AGE) => {}
            () = self.is_large.notified() => {}
        }
        self.new_bytes.store(0, Ordering::Relaxed);
        if !self.is_closing.load(Ordering::Relaxed) {
            self.merge(SPREAD).await;
        }
    }

    /// Starts to merge what the previous process has left in the journal.
    pub(super) async fn recover(self: &Arc<Self>) {
        let (this, guard) = (self.clone(), self.recovery.clone().write_owned().await);
        tokio::spawn(async move {
            this.merge(Duration::ZERO).await;
            drop(guard);
        });
    }

    /// Waits until the counts include the journal of the previous process.
    pub(super) async fn recovered(&self) {
        let _guard = self.recovery.read().await;
    }

    /// Merges the rest of the journal, as far as possible in [`CLOSE_TIME`]. The next start merges what is left.
    pub(super) async fn close(&self) {
        // A merge in progress continues without pauses.
        self.is_closing.store(true, Ordering::Relaxed);
        let _ = time::timeout(CLOSE_TIME, self.merge(Duration::ZERO)).await;
    }

    /// Returns the number of clicks lost since the last call.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Merges the journal into the counts. If that fails, the next merge continues.
    async fn merge(&self, spread: Duration) {
        let _guard = self.merging.lock().await;
        if let Err(error) = self.merge_all(spread).await {
            tracing::warn!(error = %Chain(error.cause()), "clicks stay in the journal until the next merge");
        }
    }

    async fn merge_all(&self, spread: Duration) -> Result<(), StoreError> {
        while let Some(merge) = self.writer.call_in_background(Merge::start).await? {
            let is_resumed = merge.is_resumed;
            let is_finished = self.run(merge, spread).await?;
            if !(is_resumed && is_finished) {
                break;
            }
        }
        Ok(())
    }

    /// Runs a merge, and returns false if another process has taken it over.
    async fn run(&self, merge: Merge, spread: Duration) -> Result<bool, StoreError> {
        let merge = Arc::new(parking_lot::Mutex::new(merge));
        let start = time::Instant::now();
        loop {
            let due = start + spread.mul_f64(merge.lock().part_read());
            let is_late = due.elapsed() > MAX_DELAY;
            let is_fast = spread.is_zero() || is_late || self.is_closing.load(Ordering::Relaxed);
            if !is_fast {
                time::sleep_until(due).await;
            }
            let (step, others_wait) = (merge.clone(), self.writer.waiting()?);
            let run_step = move |db: &Connection| {
                let is_urgent = || is_fast || others_wait();
                let mut pacer = Pacer::new(&is_urgent);
                match step.lock().next_step(db, &mut pacer)? {
                    Step::Add(tallies) => add_to_counts(db, tallies, &mut pacer).map(|()| None),
                    Step::Finished => Ok(Some(true)),
                    Step::TakenOver => Ok(Some(false)),
                }
            };
            let result = self.writer.call_in_background(run_step).await;
            let mut merge = merge.lock();
            match result {
                Ok(None) => merge.finish_step(),
                Ok(Some(is_finished)) => return Ok(is_finished),
                // One damaged row must not keep the other tallies from being added.
                Err(StoreError::Corrupt(_)) if merge.reduce_step() => {}
                Err(error @ StoreError::Corrupt(_)) if !merge.step().is_empty() => {
                    self.lose(merge.step(), &error);
                    merge.finish_step();
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn lose(&self, tallies: &[Tally], error: &StoreError) {
        let count = tallies.iter().map(|tally| tally.counts.people.saturating_add(tally.counts.bots)).sum();
        self.lost.fetch_add(count, Ordering::Relaxed);
        let first_key = tallies.first().map(|tally| tracing::field::display(&tally.key));
        tracing::error!(first_key, count, error = %Chain(error), "clicks lost");
    }
}

fn add_to_counts(db: &Connection, tallies: &[Tally], pacer: &mut Pacer<'_>) -> rusqlite::Result<()> {
    let mut adder = rows::Adder::new(db)?;
    for tally in tallies {
        adder.add(tally)?;
        pacer.pause_if_due();
    }
    Ok(())
}
