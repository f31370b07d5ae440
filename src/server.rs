//! The HTTP/1.1 server: connection limits, timeouts and graceful shutdown.

mod activity;
mod connection;
mod connections;
mod sliced;
mod socket;
mod workers;

use std::{io, mem, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

pub use self::workers::{Threads, Workers};
use self::{
    connection::{Stage, serve_connection},
    connections::Connections,
};
use crate::{
    config::LimitOptions,
    web::{HttpService, extract::client::client_network},
};

/// A listening socket, with information on how clients connect to it.
pub struct Listener {
    pub socket: TcpListener,
    /// True if clients connect directly, not through proxies. In that case, each client gets only a share of the
    /// connections, and at the limit, a new connection replaces the connection that has been idle longest.
    pub is_direct: bool,
}

/// How long to pause after `accept` fails.
///
/// A likely cause is a lack of file descriptors or memory, which other connections may soon release.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The maximum number of connections that can be sent a refusal at the same time.
///
/// Any others are closed without a response.
const REFUSALS: usize = 64;

/// How long to wait for a refused client to read the response.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

const REFUSAL: &str = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: application/json\r\n\
    cache-control: no-store\r\nretry-after: 1\r\ncontent-length: 71\r\n\r\n\
    {\"error\":\"the service is busy; try again shortly\",\"code\":\"overloaded\"}\n";

/// Serves connections until `stop` completes, then drains them.
///
/// During the drain, each connection can finish its current request within `drain_timeout`.
pub async fn run(
    listener: Listener,
    service: HttpService,
    workers: Workers,
    limits: LimitOptions,
    stop: impl Future<Output = ()>,
) {
    let Listener { socket, is_direct } = listener;
    let server = Server::new(service, workers, limits, is_direct);
    let mut stop = std::pin::pin!(stop);
    let mut is_failing = false;
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => {
                    server.serve(stream);
                    if mem::take(&mut is_failing) {
                        tracing::info!("accepting connections again");
                    }
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    if !mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "can't accept connections");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Also serve the clients that have already completed the TCP handshake.
    while let Some(Ok((stream, _))) = socket.accept().now_or_never() {
        server.serve(stream);
    }
    drop(socket);
    server.drain().await;
}

struct Server {
    service: HttpService,
    workers: Workers,
    limits: LimitOptions,
    connections: Connections,
    refusals: Arc<Semaphore>,
    stage: watch::Sender<Stage>,
}

impl Server {
    fn new(service: HttpService, workers: Workers, limits: LimitOptions, is_direct: bool) -> Self {
        let gauge = service.metrics().http_connections_open.clone();
        Self {
            connections: Connections::new(limits.max_connections as usize, is_direct, gauge),
            service,
            workers,
            limits,
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            stage: watch::Sender::new(Stage::Serve),
        }
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(peer) = stream.peer_addr() else { return };
        let Some(slot) = self.connections.admit(client_network(peer.ip())) else {
            self.service.metrics().connections_rejected.inc();
            if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
                tokio::spawn(refuse(stream, permit));
            }
            return;
        };
        let service = self.service.for_peer(peer.ip());
        let (limits, stage, eviction) = (self.limits, self.stage.subscribe(), slot.eviction());
        let task = self.workers.serve(stream, move |stream| async move {
            serve_connection(stream, service, slot.activity(), limits, stage).await;
        });
        eviction.aborts(task);
    }

    async fn drain(self) {
        self.stage.send_replace(Stage::Drain);
        if timeout(self.limits.drain_timeout, self.connections.wait_for_all()).await.is_err() {
            tracing::warn!(connections = self.connections.count(), "drain timed out: closing connections");
            self.stage.send_replace(Stage::Abort);
        }
    }
}

/// Returns whether an error concerns only the connection being accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Responds with 503, and discards the client's input.
///
/// Closing a socket with unread input would reset the connection, and the client could lose the response.
async fn refuse(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let refusal = async {
        stream.write_all(REFUSAL.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // If the client does not receive the response, nothing more can be done.
    let _ = timeout(REFUSAL_TIMEOUT, refusal).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_has_the_right_content_length() {
        let (head, body) = REFUSAL.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
    }
}
