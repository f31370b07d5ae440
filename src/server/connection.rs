//! The lifecycle of a connection: requests, timeouts and shutdown.

use std::time::Duration;

use hyper::{
    StatusCode,
    body::{Body, Incoming},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{activity::Activity, sliced::Sliced, socket::Socket};
use crate::{config::LimitOptions, web::HttpService};

/// The maximum size of a request head, and of buffered output, in bytes.
const BUFFER: usize = 16 << 10;

/// The response to an HTTP/2 connection preface. hyper itself sends no response.
const HTTP_2_REFUSAL: &str =
    "HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How long to wait for a client to receive [`HTTP_2_REFUSAL`].
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait for a new connection's first request during the drain.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The stage in the server's lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Serve,
    /// Finish the request in progress, then close.
    Drain,
    /// Close immediately.
    Abort,
}

/// Serves requests until the client disconnects, a deadline passes, or the server stops.
///
/// The first request must arrive within `header_timeout`, and each further request within `keep_alive`. One coarse
/// timer checks both deadlines, which is cheaper than one timer per request. A client can't extend the deadlines by
/// sending a request head byte by byte.
pub(super) async fn serve_connection(
    stream: TcpStream,
    service: HttpService,
    activity: &Activity,
    limits: LimitOptions,
    mut stage: watch::Receiver<Stage>,
) {
    // Disable Nagle's algorithm: it can hold back a small response until the client acknowledges the previous one.
    let _ = stream.set_nodelay(true);
    let tracked = service_fn(|request: hyper::Request<Incoming>| {
        let request_in_progress = activity.begin(!request.body().is_end_stream());
        let answer = service.call(request);
        async move {
            let answer = answer.await;
            drop(request_in_progress);
            answer.map(|response| response.map(Sliced::new))
        }
    });
    let mut connection = http1::Builder::new()
        .max_buf_size(BUFFER)
        .header_read_timeout(None)
        // Responses are small, so one buffer and a plain write cost less than a vectored write.
        .writev(false)
        .serve_connection(TokioIo::new(Socket::new(stream, activity, limits.request_timeout)), tracked);
    let mut deadline = std::pin::pin!(sleep_until(Instant::now() + limits.header_timeout));
    let mut seen = 0;
    let error = loop {
        tokio::select! {
            biased;
            result = Pin::new(&mut connection) => match result {
                Ok(()) => return,
                Err(error) => break error,
            },
            () = deadline.as_mut() => match activity.progress_since(&mut seen) {
                true => deadline.as_mut().reset(Instant::now() + limits.keep_alive),
                false => return,
            },
            _ = stage.changed() => match *stage.borrow_and_update() {
                Stage::Serve => {}
                Stage::Drain if activity.has_begun() => Pin::new(&mut connection).graceful_shutdown(),
                // `graceful_shutdown` would close the connection immediately, although its first request may be in
                // transit. Wait for that request: during the drain, every response closes its connection.
                Stage::Drain => deadline.as_mut().reset(Instant::now() + FIRST_REQUEST_TIMEOUT),
                Stage::Abort => return,
            },
        }
    };
    if !error.is_parse() {
        tracing::debug!(%error, "connection failed");
        return;
    }
    let mut socket = connection.into_parts().io.into_inner();
    let status = if socket.is_shut_down() {
        // hyper has already sent an error response.
        if error.is_parse_too_large() {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        } else {
            StatusCode::BAD_REQUEST
        }
    } else {
        refuse_http_2(&mut socket).await;
        StatusCode::HTTP_VERSION_NOT_SUPPORTED
    };
    service.record_malformed(status, &error);
    // The rest of the request head may still be in transit. Closing the socket before it arrives would reset the
    // connection, and the client could lose earlier responses.
    socket.linger().await;
}

async fn refuse_http_2(socket: &mut Socket<'_>) {
    let refusal = async {
        socket.write_all(HTTP_2_REFUSAL.as_bytes()).await?;
        socket.shutdown().await
    };
    // If the client does not receive the response, nothing more can be done.
    let _ = timeout(REFUSAL_TIMEOUT, refusal).await;
}
