//! Worker threads that serve connections.
//!
//! Each thread has its own single-threaded runtime, and a connection stays on one thread. Handing a request over to
//! another thread would cost more than the redirect itself (`cargo bench --bench cost`). Connections on the same thread
//! wait for each other, so long computations must run on other threads.

use std::{io, sync::Arc, thread};

use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
    sync::oneshot,
    task::AbortHandle,
};

/// The maximum number of concurrent blocking calls per worker.
///
/// Blocking calls hash passwords, create QR codes and decode request bodies.
const BLOCKING_THREADS: usize = 8;

/// The runtimes that serve connections.
#[derive(Clone)]
pub struct Workers(Arc<[Worker]>);

struct Worker {
    runtime: Handle,
    /// Cloned for each connection, so that the reference count grows with the number of connections.
    connections: Arc<()>,
}

/// The worker threads. When dropped, they stop and close their connections.
pub struct Threads {
    workers: Workers,
    _stops: Vec<oneshot::Sender<()>>,
}

impl Threads {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// An I/O error if a thread or its runtime can't be started.
    pub fn start(count: usize) -> io::Result<Self> {
        let (mut runtimes, mut stops) = (Vec::new(), Vec::new());
        for number in 0..count {
            let runtime =
                Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
            let (stop, stopped) = oneshot::channel::<()>();
            runtimes.push(runtime.handle().clone());
            stops.push(stop);
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                // Dropping the sender is the stop signal.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
        }
        Ok(Self { workers: Workers::on(runtimes), _stops: stops })
    }

    /// Returns the threads' runtimes.
    pub fn workers(&self) -> Workers {
        self.workers.clone()
    }
}

impl Workers {
    /// Creates workers on existing runtimes.
    pub fn on(runtimes: impl IntoIterator<Item = Handle>) -> Self {
        Self(runtimes.into_iter().map(|runtime| Worker { runtime, connections: Arc::default() }).collect())
    }

    /// Serves `stream` on the worker with the fewest connections.
    ///
    /// Returns a handle that aborts the connection.
    pub(super) fn serve<F>(
        &self,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> Option<AbortHandle>
    where
        F: Future<Output = ()> + Send,
    {
        let worker = self.0.iter().min_by_key(|worker| Arc::strong_count(&worker.connections))?;
        let counted = worker.connections.clone();
        // A socket belongs to the reactor of one runtime, so register this socket with the worker's runtime.
        let stream = stream.into_std().ok()?;
        let task = worker.runtime.spawn(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                serve(stream).await;
            }
            drop(counted);
        });
        Some(task.abort_handle())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn a_connection_goes_to_the_worker_with_the_fewest_connections() {
        let threads = Threads::start(2).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (names, named) = channel();
        let mut clients = Vec::new();
        for _ in 0..6 {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (stream, _) = listener.accept().await.unwrap();
            let names = names.clone();
            threads.workers().serve(stream, |mut stream| async move {
                names.send(thread::current().name().unwrap().to_owned()).unwrap();
                // Keep the connection open until the client closes it.
                let _ = stream.read(&mut [0]).await;
            });
        }
        drop(names);
        let mut places: Vec<_> = named.iter().take(6).collect();
        places.sort();
        assert_eq!(places, ["worker-0", "worker-0", "worker-0", "worker-1", "worker-1", "worker-1"]);
    }
}
