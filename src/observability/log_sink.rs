//! A log sink for standard output that never blocks the threads that log.
//!
//! Lines are buffered in memory, and a separate thread writes them in batches. If the reader of standard output is slow
//! or has stopped, lines are dropped and counted, but no other thread waits for the reader.

use std::{
    io::{self, Write},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

use crate::priority;

/// The maximum number of buffered bytes. Lines that do not fit are dropped.
const CAPACITY: usize = 4 << 20;

/// The number of buffered bytes at which the writer stops waiting for more.
const FULL_WRITE: usize = 64 << 10;

/// How long the writer waits for further lines before it writes a smaller batch.
const GATHER: Duration = Duration::from_millis(20);

/// The sending end of a log sink. It is cheap to clone.
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
    /// Set when the sink is closed, and never unset. The writer then exits as soon as the queue is empty.
    closed: bool,
    /// Set when the writer has written all lines and is about to exit.
    finished: bool,
}

impl LogSink {
    /// Starts a thread that writes to `output`. `dropped` counts dropped lines.
    ///
    /// # Errors
    /// An I/O error if the thread can't be started.
    pub fn start(output: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new(), dropped });
        let sink = Self { shared: shared.clone() };
        thread::Builder::new().name("log".into()).spawn(move || {
            // Log lines can wait in memory, but requests can't.
            priority::lower();
            shared.write_to(output);
        })?;
        Ok(sink)
    }

    /// Appends one line, which must end in a line feed.
    ///
    /// If the line does not fit, it is dropped and counted.
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

    /// Stops accepting lines, and waits until the buffered lines are written.
    ///
    /// This method waits no longer than `patience`.
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
            // Writing fails if the reader has closed standard output. Count the lines as dropped.
            if output.write_all(&batch).and_then(|()| output.flush()).is_err() {
                let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.inc_by(lines as u64);
            }
        }
    }

    /// Waits for lines, and moves them into `batch`.
    ///
    /// Returns false once the sink is closed and empty.
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

/// Used by the formatters of `tracing-subscriber`, which write each event in one call.
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

    /// A writer that passes each write on to the test.
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
    fn closing_writes_buffered_lines_and_drops_later_ones() {
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
    fn a_stopped_reader_causes_dropped_lines_and_no_waiting() {
        let (writes, _stopped) = mpsc::sync_channel(0);
        let dropped = counter();
        let sink = LogSink::start(Outlet(writes), dropped.clone()).unwrap();
        let line = [b'x'; 1 << 20];
        for _ in 0..20 {
            sink.append(&line);
        }
        // One batch is stuck in the writer, and another one fills the queue.
        assert!((12..20).contains(&dropped.get()), "{}", dropped.get());
        sink.close(Duration::ZERO);
    }
}
