//! One connection, from its first request to its end.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until},
};

use super::Limits;
use crate::api::HttpService;

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// What the server wishes from its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Go on.
    Serve,
    /// Finish the request that is being answered, and close.
    Drain,
    /// Close at once.
    Abort,
}

/// Serves requests until the client leaves, takes too long, or the server ends.
///
/// Two deadlines, both checked coarsely by one timer so that a request costs none: the first request has to come
/// within `header_timeout`, each further one within `keep_alive`. A head that comes drop by drop therefore holds its
/// connection no longer than silence would.
pub(super) async fn serve_connection(
    stream: TcpStream,
    service: HttpService,
    limits: Limits,
    mut stage: watch::Receiver<Stage>,
) {
    // Without it, a small answer may wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let activity = Activity::default();
    let tracked = service_fn(|request: hyper::Request<Incoming>| {
        let busy = activity.begin();
        let answer = service.call(request);
        async move {
            let answer = answer.await;
            drop(busy);
            answer
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .pipeline_flush(true)
        .header_read_timeout(None)
        // Answers are small: one buffer and a plain write cost less than a list of buffers.
        .writev(false)
        .serve_connection(TokioIo::new(stream), tracked);
    let mut connection = std::pin::pin!(connection);
    let mut deadline = std::pin::pin!(sleep_until(Instant::now() + limits.header_timeout));
    let mut seen = 0;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection failed");
                }
                return;
            }
            () = deadline.as_mut() => match activity.progress_since(&mut seen) {
                true => deadline.as_mut().reset(Instant::now() + limits.keep_alive),
                false => return,
            },
            _ = stage.changed() => match *stage.borrow_and_update() {
                Stage::Serve => {}
                Stage::Drain => connection.as_mut().graceful_shutdown(),
                Stage::Abort => return,
            },
        }
    }
}

/// Counts the beginnings and ends of requests, so that an odd number means that one is being answered. Only the
/// connection itself counts, so it takes no more than a load and a store.
#[derive(Default)]
struct Activity(AtomicU64);

impl Activity {
    /// A request begins; it ends when the value is dropped.
    fn begin(&self) -> Busy<'_> {
        self.count();
        Busy(self)
    }

    fn count(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Whether a request is being answered, or one has been since `seen`.
    fn progress_since(&self, seen: &mut u64) -> bool {
        let now = self.0.load(Ordering::Relaxed);
        let progress = now % 2 == 1 || now != *seen;
        *seen = now;
        progress
    }
}

struct Busy<'a>(&'a Activity);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.count();
    }
}
