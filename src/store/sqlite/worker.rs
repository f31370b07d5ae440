//! Threads that own SQLite connections, and group commit.
//!
//! The writer takes all queued calls, runs them in one transaction, and sends their results after the commit. While a
//! commit waits for the disk, the next batch builds up. Concurrent calls therefore share an fsync, and a single call is
//! not delayed. A reader also runs several queued calls in one transaction, so that they share its locks.

use std::{
    io, iter,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::{runtime::Handle, sync::oneshot};

use super::{DatabaseFile, is_damage};
use crate::{priority, store::StoreError};

/// The maximum number of queued calls. A longer queue could not be served in time, so further calls fail immediately.
const QUEUE: usize = 4096;

/// The maximum number of writes per transaction. It bounds the latency of the first write.
const BATCH: usize = 512;

/// The maximum number of reads per transaction. It leaves the rest of the queue to other readers.
const READS: usize = 16;

/// How long to collect answers to reads before they are sent together. Reads from a slow disk are answered one by one.
const MAX_WAIT: Duration = Duration::from_micros(100);

/// How long to wait for a batch to reach the size of the previous one.
///
/// Without this wait, clients split into two groups that take turns, which doubles the number of fsyncs.
const GATHER: Duration = Duration::from_micros(100);

/// The kind of transaction that a worker runs.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    Read,
    /// Write, as long as the path still refers to the open file.
    Write(DatabaseFile),
}

/// Threads that serve one queue, each with its own connection.
pub(super) struct Worker {
    running: Mutex<Option<Running>>,
    /// Held by a call for which no request waits.
    background: tokio::sync::Mutex<()>,
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
        let running = Mutex::new(Some(Running { queue, threads }));
        Ok(Self { running, background: tokio::sync::Mutex::default() })
    }

    /// Runs `function` in a transaction, and returns its result after the commit.
    ///
    /// If another call makes the shared transaction fail, `function` runs a second time.
    pub(super) async fn call<T, F>(&self, function: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Box::new(TypedCall { function, result: None, reply, runtime: Handle::current() }))?;
        answer.await.map_err(StoreError::unavailable)?
    }

    /// Does the same as [`Self::call`] for a function for which no request waits.
    ///
    /// Such functions are queued one at a time, so that none of them sees another one [waiting](Self::waiting).
    pub(super) async fn call_in_background<T, F>(&self, function: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let _turn = self.background.lock().await;
        self.call(function).await
    }

    fn enqueue(&self, call: Box<dyn Call>) -> Result<(), StoreError> {
        let running = self.running.lock();
        let running = running.as_ref().ok_or_else(closed)?;
        running.queue.try_send(call).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::unavailable("too many calls wait for the store"),
            TrySendError::Disconnected(_) => StoreError::unavailable("the store's thread has ended"),
        })
    }

    /// Returns a function that tells whether calls are queued.
    pub(super) fn waiting(&self) -> Result<impl Fn() -> bool + Send + 'static, StoreError> {
        let running = self.running.lock();
        let queue = running.as_ref().ok_or_else(closed)?.queue.clone();
        Ok(move || !queue.is_empty())
    }

    /// Serves the queued calls, then stops the threads and closes their connections.
    pub(super) async fn stop(&self) {
        let running = self.running.lock().take();
        let Some(Running { queue, threads }) = running else {
            return;
        };
        drop(queue);
        let joined = tokio::task::spawn_blocking(|| threads.into_iter().try_for_each(JoinHandle::join));
        if !matches!(joined.await, Ok(Ok(()))) {
            tracing::error!("store thread panicked");
        }
    }
}

fn closed() -> StoreError {
    StoreError::unavailable("the store is closed")
}

/// A type-erased call, so that calls with different result types can share a queue.
trait Call: Send {
    /// Runs the call and keeps its result, unless the caller has stopped waiting.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Sends the result or the error to the caller.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
    /// Returns the caller's runtime.
    fn runtime(&self) -> &Handle;
}

struct TypedCall<T, F> {
    function: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    runtime: Handle,
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
        // The send fails only if the caller has stopped waiting.
        let _ = reply.send(answer);
    }

    fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// A call that has run, and its result.
type Answer = (Box<dyn Call>, Result<(), StoreError>);

/// Answers that are sent together.
///
/// It takes a system call to wake another thread's runtime, but none to wake a task from its own runtime. Each runtime
/// is therefore woken once, and sends the answers to its tasks itself.
#[derive(Default)]
struct Answers(Vec<(Handle, Vec<Answer>)>);

impl Answers {
    fn add(&mut self, call: Box<dyn Call>, result: Result<(), StoreError>) {
        let id = call.runtime().id();
        match self.0.iter_mut().find(|(runtime, _)| runtime.id() == id) {
            Some((_, answers)) => answers.push((call, result)),
            None => self.0.push((call.runtime().clone(), vec![(call, result)])),
        }
    }

    fn send(&mut self) {
        for (runtime, answers) in self.0.drain(..) {
            runtime.spawn(async move { answers.into_iter().for_each(|(call, result)| call.answer(result)) });
        }
    }
}

fn serve(connection: &Connection, calls: &Receiver<Box<dyn Call>>, mode: &Mode) {
    match mode {
        Mode::Read => serve_reads(connection, calls),
        Mode::Write(file) => serve_writes(connection, calls, file),
    }
}

/// Runs reads in batches, with one transaction per batch.
///
/// A batch is taken from the queue before its transaction begins. The snapshot therefore includes everything that was
/// committed before the reads were queued.
fn serve_reads(connection: &Connection, calls: &Receiver<Box<dyn Call>>) {
    while let Ok(first) = calls.recv() {
        let batch: Vec<_> = iter::once(first).chain(calls.try_iter().take(READS - 1)).collect();
        match Transaction::new_unchecked(connection, TransactionBehavior::Deferred) {
            Ok(transaction) => {
                let (mut answers, mut last_sent) = (Answers::default(), Instant::now());
                for mut call in batch {
                    let result = call.run(&transaction);
                    answers.add(call, result.map_err(StoreError::from));
                    if last_sent.elapsed() > MAX_WAIT {
                        answers.send();
                        last_sent = Instant::now();
                    }
                }
                answers.send();
            }
            Err(error) => answer_all(batch, &Err(StoreError::from(error))),
        }
    }
}

fn serve_writes(connection: &Connection, calls: &Receiver<Box<dyn Call>>, file: &DatabaseFile) {
    // Most redirects don't wait for the writer.
    priority::lower();
    let mut last_size = 0;
    while let Ok(first) = calls.recv() {
        // Don't commit to a file that a restarted process would not find at its path.
        if let Err(error) = file.check() {
            first.answer(Err(error));
            continue;
        }
        let mut batch = vec![first];
        let committed = fill_and_commit(connection, &mut batch, calls, last_size);
        last_size = batch.len();
        match committed {
            Err(error) if batch.len() > 1 && concerns_one_call(&error) => {
                for mut call in batch {
                    let committed = commit_alone(connection, &mut *call);
                    call.answer(committed.map_err(StoreError::from));
                }
            }
            committed => answer_all(batch, &committed.map_err(StoreError::from)),
        }
    }
}

fn answer_all(batch: Vec<Box<dyn Call>>, result: &Result<(), StoreError>) {
    let mut answers = Answers::default();
    batch.into_iter().for_each(|call| answers.add(call, result.clone()));
    answers.send();
}

/// Runs the call in `batch` and further queued calls in one transaction.
///
/// If one call fails, the whole transaction is rolled back. The writer waits up to [`GATHER`] for the batch to reach
/// the size of the previous one.
fn fill_and_commit(
    connection: &Connection,
    batch: &mut Vec<Box<dyn Call>>,
    calls: &Receiver<Box<dyn Call>>,
    last_size: usize,
) -> rusqlite::Result<()> {
    let deadline = Instant::now() + GATHER;
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    while let Some(call) = batch.last_mut() {
        call.run(&transaction)?;
        let next = match batch.len() {
            BATCH.. => None,
            size if size < last_size => calls.recv_deadline(deadline).ok(),
            _ => calls.try_recv().ok(),
        };
        match next {
            Some(call) => batch.push(call),
            None => break,
        }
    }
    transaction.commit()
}

fn commit_alone(connection: &Connection, call: &mut dyn Call) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    call.run(&transaction)?;
    transaction.commit()
}

/// Returns whether an error concerns one call or page, not the whole file.
///
/// If the error concerns the whole file or the disk, the other calls in the batch would fail as well.
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
    async fn a_read_sees_everything_committed_before_it_was_queued() {
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
