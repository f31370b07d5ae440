//! Threads that own SQLite connections, and the group commit.
//!
//! A worker that writes takes all calls that wait, runs them in one transaction, and answers them once it is committed.
//! While one commit waits for the disk, the next batch gathers by itself: calls that arrive together share an fsync, and a
//! lone call waits for no other. Each read has a transaction of its own.

use std::{
    io,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::{file::DatabaseFile, is_damage};
use crate::store::StoreError;

/// Calls that may wait for a worker. Past it a call fails at once: a longer queue could not be served in time.
const QUEUE: usize = 4096;

/// Calls in one transaction at most, so that the first of them does not wait for too many others.
const BATCH: usize = 512;

/// How long a writer waits for calls to come that came together before. Without it, clients that wait for their answers
/// end up in two halves that take turns, with twice the fsyncs.
const GATHER: Duration = Duration::from_micros(100);

/// What a worker's connections do.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    Read,
    /// Writes, as long as the file is in its place.
    Write(DatabaseFile),
}

impl Mode {
    fn behavior(&self) -> TransactionBehavior {
        match self {
            Self::Read => TransactionBehavior::Deferred,
            Self::Write(_) => TransactionBehavior::Immediate,
        }
    }

    /// Checks that what is committed will be found again.
    fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Read => Ok(()),
            Self::Write(file) => file.check(),
        }
    }
}

/// One or more threads, each with a connection of its own, that serve one queue of calls.
pub(super) struct Worker {
    running: Mutex<Option<Running>>,
}

struct Running {
    queue: Sender<Box<dyn Call>>,
    threads: Vec<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread named `name` for each connection.
    pub(super) fn start(name: &str, connections: Vec<Connection>, mode: Mode) -> Result<Self, StoreError> {
        let (queue, calls) = crossbeam_channel::bounded(QUEUE);
        let threads = connections.into_iter().map(|connection| {
            let (calls, mode) = (calls.clone(), mode.clone());
            thread::Builder::new().name(name.into()).spawn(move || serve(&connection, &calls, &mode))
        });
        let threads = threads.collect::<io::Result<_>>().map_err(StoreError::unavailable)?;
        Ok(Self { running: Mutex::new(Some(Running { queue, threads })) })
    }

    /// Runs `function` in a transaction and returns what it did once that is committed. `function` may run again
    /// where another call spoils the transaction that both were in.
    pub(super) async fn call<T, F>(&self, function: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Box::new(TypedCall { function, result: None, reply }))?;
        answer.await.map_err(StoreError::unavailable)?
    }

    fn enqueue(&self, call: Box<dyn Call>) -> Result<(), StoreError> {
        let running = self.running.lock();
        let running = running.as_ref().ok_or_else(|| StoreError::unavailable("the store is closed"))?;
        running.queue.try_send(call).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::unavailable("too many calls wait for the store"),
            TrySendError::Disconnected(_) => StoreError::unavailable("the store's thread has ended"),
        })
    }

    /// Serves what is queued, then ends the threads and closes their connections.
    pub(super) async fn stop(&self) {
        let running = self.running.lock().take();
        let Some(Running { queue, threads }) = running else {
            return;
        };
        drop(queue);
        let joined = tokio::task::spawn_blocking(|| threads.into_iter().try_for_each(JoinHandle::join));
        if !matches!(joined.await, Ok(Ok(()))) {
            tracing::error!("a thread of the store has panicked");
        }
    }
}

/// A call whose type of result is hidden, so that different ones share a queue and a transaction.
trait Call: Send {
    /// Does the work and keeps the result, unless nobody waits for it any more.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Hands out the result, or why there is none.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct TypedCall<T, F> {
    function: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Call for TypedCall<T, F>
where
    T: Send,
    F: Fn(&Connection) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if !self.reply.is_closed() {
            self.result = Some((self.function)(connection)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        let answer =
            committed.and_then(|()| result.ok_or_else(|| StoreError::unavailable("the call did not run")));
        // Whoever asked may have left meanwhile; then nobody is told.
        let _ = reply.send(answer);
    }
}

fn serve(connection: &Connection, calls: &Receiver<Box<dyn Call>>, mode: &Mode) {
    let mut last_size = 0;
    while let Ok(first) = calls.recv() {
        if let Err(error) = mode.check() {
            first.answer(Err(error));
            continue;
        }
        let mut batch = vec![first];
        let committed = fill_and_commit(connection, &mut batch, calls, mode, last_size);
        last_size = batch.len();
        match committed {
            Err(error) if batch.len() > 1 && concerns_one_call(&error) => {
                for mut call in batch {
                    let committed = commit_alone(connection, &mut *call, mode);
                    call.answer(committed.map_err(StoreError::from));
                }
            }
            committed => {
                let committed = committed.map_err(StoreError::from);
                batch.into_iter().for_each(|call| call.answer(committed.clone()));
            }
        }
    }
}

/// Runs the call in `batch` and adds whatever waits behind it, all in one transaction. Where a call fails, nothing of
/// any remains. A writer that had company the last time waits a moment for it to come back.
fn fill_and_commit(
    connection: &Connection,
    batch: &mut Vec<Box<dyn Call>>,
    calls: &Receiver<Box<dyn Call>>,
    mode: &Mode,
    last_size: usize,
) -> rusqlite::Result<()> {
    let deadline = Instant::now() + GATHER;
    let transaction = Transaction::new_unchecked(connection, mode.behavior())?;
    while let Some(call) = batch.last_mut() {
        call.run(&transaction)?;
        // A transaction that reads sees the file as it was at its first read, which is too old for a later call.
        let next = if batch.len() == BATCH || matches!(mode, Mode::Read) {
            None
        } else if matches!(mode, Mode::Write(_)) && batch.len() < last_size {
            calls.recv_deadline(deadline).ok()
        } else {
            calls.try_recv().ok()
        };
        match next {
            Some(call) => batch.push(call),
            None => break,
        }
    }
    transaction.commit()
}

fn commit_alone(connection: &Connection, call: &mut dyn Call, mode: &Mode) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, mode.behavior())?;
    call.run(&transaction)?;
    transaction.commit()
}

/// Returns whether an error comes from what one call asked, or from the page it met, rather than from the whole file or
/// disk, where all calls would fail.
fn concerns_one_call(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => {
            matches!(
                code,
                ErrorCode::ConstraintViolation
                    | ErrorCode::TypeMismatch
                    | ErrorCode::TooBig
                    | ErrorCode::Unknown
            ) || is_damage(error)
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_read_sees_what_was_committed_before_it_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Connection::open(directory.path().join("file.db")).unwrap();
        let writer = open();
        writer.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE numbers (number)").unwrap();
        let count =
            |db: &Connection| db.query_row("SELECT count(*) FROM numbers", (), |row| row.get::<_, u32>(0));
        let worker = Worker::start("test", vec![open()], Mode::Read).unwrap();

        let (started, has_started) = mpsc::channel();
        let (release, is_released) = mpsc::channel();
        let slow = worker.call(move |db| {
            let counted = count(db)?;
            started.send(()).unwrap();
            is_released.recv().unwrap();
            Ok(counted)
        });
        let after = async {
            tokio::task::spawn_blocking(move || has_started.recv()).await.unwrap().unwrap();
            writer.execute("INSERT INTO numbers VALUES (1)", ()).unwrap();
            let (next, ()) = tokio::join!(biased; worker.call(count), async { release.send(()).unwrap() });
            next.unwrap()
        };
        let (slow, after) = tokio::join!(slow, after);
        assert_eq!((slow.unwrap(), after), (0, 1));
    }
}
