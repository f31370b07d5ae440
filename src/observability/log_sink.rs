//! A way to standard output that never makes anyone wait.
//!
//! Lines gather in memory, and a thread of the sink's own writes what has gathered in one go. A reader that is slow or
//! has stopped costs lines, which are counted, and never time.

use std::{
    io::{self, Write},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;
use rustix::process::setpriority_process;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait for the reader; past it lines are dropped.
const CAPACITY: usize = 4 << 20;

/// With this many bytes waiting, they are written at once.
const FULL_WRITE: usize = 64 << 10;

/// The longest time that the writer waits for further lines before it writes fewer bytes.
const GATHER: Duration = Duration::from_millis(20);

/// The nice value of the thread, see setpriority(2).
const NICE: i32 = 3;

/// The sending end, cheap to clone.
#[derive(Clone)]
pub struct LogSink {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Set once; the writer ends when nothing waits any more.
    closed: bool,
    /// The writer has written everything and ended.
    finished: bool,
}

impl LogSink {
    /// Starts a thread that writes to `output`. Lines that are given up add to `dropped`.
    ///
    /// # Errors
    /// The reason why the thread can't be started.
    pub fn start(output: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new(), dropped });
        let sink = Self { shared: shared.clone() };
        thread::Builder::new().name("log".into()).spawn(move || {
            // Lines wait in memory, requests don't. On Linux, the nice value belongs to the thread.
            let _ = setpriority_process(None, NICE);
            shared.write_to(output);
        })?;
        Ok(sink)
    }

    /// Takes one line, its line feed included, or drops and counts it.
    pub fn append(&self, line: &[u8]) {
        let mut queue = self.shared.queue.lock();
        if queue.closed || queue.bytes.len() + line.len() > CAPACITY {
            drop(queue);
            self.shared.dropped.inc();
            return;
        }
        let before = queue.bytes.len();
        queue.bytes.extend_from_slice(line);
        let after = queue.bytes.len();
        drop(queue);
        if before == 0 || (before < FULL_WRITE && after >= FULL_WRITE) {
            self.shared.changed.notify_all();
        }
    }

    /// Takes no more lines and waits for those it has to be written, but no longer than `patience`.
    pub fn close(&self, patience: Duration) {
        let mut queue = self.shared.queue.lock();
        queue.closed = true;
        self.shared.changed.notify_all();
        self.shared.changed.wait_while_for(&mut queue, |queue| !queue.finished, patience);
    }
}

impl Shared {
    fn write_to(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        while self.next_batch(&mut batch) {
            // A closed standard output has no reader left.
            if output.write_all(&batch).and_then(|()| output.flush()).is_err() {
                let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.inc_by(lines as u64);
            }
        }
    }

    /// Waits for lines and moves them into `batch`; false once the sink is closed and empty.
    fn next_batch(&self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        let idle = |queue: &mut Queue| queue.bytes.is_empty() && !queue.closed;
        let mut queue = self.queue.lock();
        self.changed.wait_while(&mut queue, idle);
        let few = |queue: &mut Queue| queue.bytes.len() < FULL_WRITE && !queue.closed;
        self.changed.wait_while_for(&mut queue, few, GATHER);
        std::mem::swap(batch, &mut queue.bytes);
        queue.finished = queue.closed && batch.is_empty();
        if queue.finished {
            self.changed.notify_all();
        }
        !batch.is_empty()
    }
}

/// For the formatters of `tracing-subscriber`, which write each event in one call.
impl Write for LogSink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.append(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogSink {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands each write over to a test.
    struct Outlet(mpsc::SyncSender<Vec<u8>>);

    impl Write for Outlet {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "dropped").unwrap()
    }

    #[test]
    fn closing_writes_what_was_taken_and_takes_no_more() {
        let (writes, written) = mpsc::sync_channel(100);
        let dropped = counter();
        let sink = LogSink::start(Outlet(writes), dropped.clone()).unwrap();
        sink.append(b"one\n");
        sink.append(b"two\n");
        sink.close(Duration::from_secs(60));
        sink.append(b"three\n");
        assert_eq!(written.try_iter().flatten().collect::<Vec<_>>(), b"one\ntwo\n");
        assert_eq!(dropped.get(), 1);
    }

    #[test]
    fn a_reader_that_has_stopped_costs_lines_that_are_counted_and_no_time() {
        let (writes, _stopped) = mpsc::sync_channel(0);
        let dropped = counter();
        let sink = LogSink::start(Outlet(writes), dropped.clone()).unwrap();
        let line = [b'x'; 1 << 20];
        for _ in 0..20 {
            sink.append(&line);
        }
        // One batch is stuck in the writer, another fills the queue.
        assert!((12..20).contains(&dropped.get()), "{}", dropped.get());
        sink.close(Duration::ZERO);
    }
}
