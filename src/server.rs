//! Serves connections: how many at a time, for how long, and how it all ends.

mod connection;
mod workers;

use std::{io, sync::Arc, time::Duration};

use futures_util::FutureExt;
use prometheus::IntGauge;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use self::connection::{Stage, serve_connection};
pub use self::workers::{Threads, Workers};
use crate::api::HttpService;

/// What a listener does at its limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: u32,
    /// How long a new connection may take to send the head of its first request.
    pub header_timeout: Duration,
    /// How long a connection may take from one request to the next, at least; at most twice that.
    pub keep_alive: Duration,
    /// How long connections may take to finish once the listener is closed.
    pub drain_timeout: Duration,
}

/// How long the listener rests after the system could not give it a connection, for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Refusals under way at a time; what comes beyond is closed without a word.
const REFUSALS: usize = 64;

/// How long a refused client may take to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

const REFUSAL: &str = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: application/json\r\n\
    cache-control: no-store\r\nretry-after: 1\r\ncontent-length: 71\r\n\r\n\
    {\"error\":\"the service is busy, try again shortly\",\"code\":\"overloaded\"}\n";

/// Serves until `stop` is ready, then lets every connection finish what it is at, for `drain_timeout` at most.
pub async fn run(
    listener: TcpListener,
    service: HttpService,
    workers: Workers,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let mut server = Server::new(service, workers, limits);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => server.take(stream),
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // The system has greeted these clients already, in this service's name.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        server.take(stream);
    }
    drop(listener);
    server.drain().await;
}

struct Server {
    service: HttpService,
    workers: Workers,
    limits: Limits,
    /// A permit for each connection, so that having all of them means that none is left.
    connections: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    stage: watch::Sender<Stage>,
}

impl Server {
    fn new(service: HttpService, workers: Workers, limits: Limits) -> Self {
        Self {
            service,
            workers,
            limits,
            connections: Arc::new(Semaphore::new(limits.connections as usize)),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            stage: watch::Sender::new(Stage::Serve),
        }
    }

    fn take(&mut self, stream: TcpStream) {
        let Ok(peer) = stream.peer_addr() else { return };
        let Ok(permit) = self.connections.clone().try_acquire_owned() else {
            self.service.metrics().connections_rejected.inc();
            if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
                tokio::spawn(refuse(stream, permit));
            }
            return;
        };
        let place = Place::take(permit, &self.service.metrics().http_connections_open);
        let service = self.service.for_peer(peer.ip());
        let (limits, stage) = (self.limits, self.stage.subscribe());
        self.workers.serve(stream, move |stream| async move {
            serve_connection(stream, service, limits, stage).await;
            drop(place);
        });
    }

    async fn drain(self) {
        self.stage.send_replace(Stage::Drain);
        let all = self.connections.acquire_many(self.limits.connections);
        if timeout(self.limits.drain_timeout, all).await.is_err() {
            let open = self.limits.connections as usize - self.connections.available_permits();
            tracing::warn!(connections = open, "connections are cut off: they did not finish in time");
            self.stage.send_replace(Stage::Abort);
        }
    }
}

/// What an open connection takes up; given back also where its task panics.
struct Place {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl Place {
    fn take(permit: OwnedSemaphorePermit, open: &IntGauge) -> Self {
        open.inc();
        Self { _permit: permit, open: open.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// Whether only the connection that was to be accepted is lost.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Says that there are too many connections, and reads what the client sends: to close on unread data would reset
/// the connection, and the answer might never be seen.
async fn refuse(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let refusal = async {
        stream.write_all(REFUSAL.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether the client got to know makes no difference here.
    let _ = timeout(REFUSAL_TIMEOUT, refusal).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let (head, body) = REFUSAL.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
    }
}
