//! Admission to work that takes a whole thread: a few at a time, a bounded number in line, the rest refused at once.

use std::sync::Arc;

use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

/// Lets a bounded number of tasks in at a time, and a bounded number wait.
#[derive(Debug)]
pub struct Gate {
    present: Arc<Semaphore>,
    inside: Arc<Semaphore>,
}

/// A place inside a [`Gate`], given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    _inside: OwnedSemaphorePermit,
    _present: OwnedSemaphorePermit,
}

/// Too many are waiting already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too much work is waiting already")]
pub struct Full;

/// Work behind a [`Gate`] was not done.
#[derive(Debug, Error)]
pub enum WorkError {
    /// It did not begin.
    #[error(transparent)]
    Full(#[from] Full),
    /// It panicked.
    #[error("the work panicked")]
    Panic(#[source] tokio::task::JoinError),
}

impl Gate {
    /// A gate for `at_a_time` tasks, behind which `waiting` more may wait.
    pub fn new(at_a_time: usize, waiting: usize) -> Self {
        Self {
            present: Arc::new(Semaphore::new(at_a_time + waiting)),
            inside: Arc::new(Semaphore::new(at_a_time)),
        }
    }

    /// Waits for a place, in the order of arrival.
    ///
    /// # Errors
    /// [`Full`] where too many wait already.
    pub async fn enter(&self) -> Result<Place, Full> {
        let present = self.present.clone().try_acquire_owned().map_err(|_| Full)?;
        let inside = self.inside.clone().acquire_owned().await.map_err(|_| Full)?;
        Ok(Place { _inside: inside, _present: present })
    }

    /// Does `work` on a thread for blocking work. Once begun it keeps its place to its end, even if nobody waits for it
    /// any more.
    ///
    /// # Errors
    /// See [`WorkError`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let place = self.enter().await?;
        let task = spawn_blocking(move || {
            let _place = place;
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
    async fn work_leaves_the_connections_thread() {
        let other = Gate::new(1, 0).run(|| thread::current().id()).await.unwrap();
        assert_ne!(other, thread::current().id());
    }

    #[tokio::test]
    async fn past_the_queue_work_is_refused_and_work_under_way_keeps_its_place() {
        let gate = Arc::new(Gate::new(1, 1));
        let (finish, finished) = channel::<()>();
        let work = move || finished.recv().is_ok();
        let first = tokio::spawn({
            let gate = gate.clone();
            async move { gate.run(work).await }
        });
        while gate.inside.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn({
            let gate = gate.clone();
            async move { gate.run(|| 2).await }
        });
        while gate.present.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(gate.run(|| 3).await, Err(WorkError::Full(Full))));
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert_eq!(gate.inside.available_permits(), 0, "the work goes on");
        finish.send(()).unwrap();
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert!(matches!(gate.run(|| panic!("as the test wants")).await, Err::<(), _>(WorkError::Panic(_))));
        assert_eq!(gate.present.available_permits(), 2);
    }
}
