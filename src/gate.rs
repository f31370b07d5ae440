//! Admission control for CPU-bound work.
//!
//! A few tasks run concurrently, a limited number wait in a queue, and further tasks are refused immediately.

use std::sync::Arc;

use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

/// A limit on concurrent tasks, with a bounded queue.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Permits for running and queued tasks.
    admitted: Arc<Semaphore>,
    /// Permits for running tasks.
    running: Arc<Semaphore>,
}

/// A permit to run one task, released on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    _running: OwnedSemaphorePermit,
    _admitted: OwnedSemaphorePermit,
}

/// The error for a full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the queue is full")]
pub(crate) struct Full;

/// The error for work that a [`Gate`] did not complete.
#[derive(Debug, Error)]
pub(crate) enum WorkError {
    /// The work did not start.
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the work panicked")]
    Panic(#[source] tokio::task::JoinError),
}

impl Gate {
    /// Creates a gate for `at_a_time` running and `waiting` queued tasks.
    pub(crate) fn new(at_a_time: usize, waiting: usize) -> Self {
        Self {
            admitted: Arc::new(Semaphore::new(at_a_time + waiting)),
            running: Arc::new(Semaphore::new(at_a_time)),
        }
    }

    /// Waits for a permit, in order of arrival.
    ///
    /// # Errors
    /// [`Full`] if the queue is full.
    pub(crate) async fn enter(&self) -> Result<Permit, Full> {
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| Full)?;
        let running = self.running.clone().acquire_owned().await.map_err(|_| Full)?;
        Ok(Permit { _running: running, _admitted: admitted })
    }

    /// Runs `work` on a blocking thread.
    ///
    /// Once started, the work runs to completion and keeps its permit, even if the caller stops waiting.
    ///
    /// # Errors
    /// See [`WorkError`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let permit = self.enter().await?;
        let task = spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        task.await.map_err(WorkError::Panic)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread};

    use super::*;

    #[tokio::test]
    async fn work_runs_on_another_thread() {
        let other = Gate::new(1, 0).run(|| thread::current().id()).await.unwrap();
        assert_ne!(other, thread::current().id());
    }

    #[tokio::test]
    async fn work_beyond_the_queue_is_refused_and_running_work_keeps_its_permit() {
        let gate = Arc::new(Gate::new(1, 1));
        let (finish, finished) = channel::<()>();
        let work = move || finished.recv().is_ok();
        let first = tokio::spawn({
            let gate = gate.clone();
            async move { gate.run(work).await }
        });
        while gate.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn({
            let gate = gate.clone();
            async move { gate.run(|| 2).await }
        });
        while gate.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(gate.run(|| 3).await, Err(WorkError::Full(Full))));
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert_eq!(gate.running.available_permits(), 0, "the work continues");
        finish.send(()).unwrap();
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert!(matches!(gate.run(|| panic!("as the test wants")).await, Err::<(), _>(WorkError::Panic(_))));
        assert_eq!(gate.admitted.available_permits(), 2);
    }
}
