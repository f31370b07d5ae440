//! One connection, from its first request to its end.

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

/// The largest request head, and the most output buffered before a body continues, in bytes.
const BUFFER: usize = 16 << 10;

/// The answer to the HTTP/2 preface, which hyper leaves unanswered.
const HTTP_2_REFUSAL: &str =
    "HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How long a client may take to receive that answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The phase that the server is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Go on.
    Serve,
    /// Finish the request in progress, then close.
    Drain,
    /// Close at once.
    Abort,
}

/// Serves requests until the client leaves, a deadline passes, or the server ends.
///
/// One timer checks two deadlines coarsely, so that a request costs no timer of its own: the first request must arrive
/// within `header_timeout`, each further one within `keep_alive`. A head sent byte by byte gains no time by that.
pub(super) async fn serve_connection(
    stream: TcpStream,
    service: HttpService,
    activity: &Activity,
    limits: LimitOptions,
    mut stage: watch::Receiver<Stage>,
) {
    // Otherwise a small answer may wait for the acknowledgement of the one before.
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
        // Answers are small: one buffer and a plain write cost less than a list of buffers.
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
                Stage::Drain => Pin::new(&mut connection).graceful_shutdown(),
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
        // hyper has answered.
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
    // The rest of the head may still be on its way, and a reset would take earlier answers with it.
    socket.linger().await;
}

async fn refuse_http_2(socket: &mut Socket<'_>) {
    let refusal = async {
        socket.write_all(HTTP_2_REFUSAL.as_bytes()).await?;
        socket.shutdown().await
    };
    // It makes no difference to the server whether the client receives the answer.
    let _ = timeout(REFUSAL_TIMEOUT, refusal).await;
}
