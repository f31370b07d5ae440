//! Worker threads that serve connections.
//!
//! Each thread has its own single-threaded runtime, and a connection stays on one thread. A hand-over between threads
//! costs more than a redirect itself (`cargo bench --bench cost`). The connections of a thread therefore wait for each
//! other, so long computations must run elsewhere.

use std::{io, sync::Arc, thread};

use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
    sync::oneshot,
    task::AbortHandle,
};

/// The limit on blocking calls per worker.
///
/// Password hashes, QR codes and the decoding of bodies make such calls.
const BLOCKING_THREADS: usize = 8;

/// The runtimes that serve connections.
#[derive(Clone)]
pub struct Workers(Arc<[Worker]>);

struct Worker {
    runtime: Handle,
    /// Cloned for each connection; the reference count is the number of connections.
    connections: Arc<()>,
}

/// The worker threads. On drop, they stop and close their connections.
pub struct Threads {
    workers: Workers,
    _stops: Vec<oneshot::Sender<()>>,
}

impl Threads {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// The I/O error of starting a thread or a runtime.
    pub fn start(count: usize) -> io::Result<Self> {
        let (mut runtimes, mut stops) = (Vec::new(), Vec::new());
        for number in 0..count {
            let runtime =
                Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
            let (stop, stopped) = oneshot::channel::<()>();
            runtimes.push(runtime.handle().clone());
            stops.push(stop);
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                // The stop signal is the drop of the sender.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
        }
        Ok(Self { workers: Workers::on(runtimes), _stops: stops })
    }

    /// Returns the runtimes of the threads.
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
    /// Returns a handle that aborts it.
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
        // A socket belongs to the reactor of one runtime, so it must be registered again on the worker's.
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
    async fn connections_go_where_there_are_the_fewest() {
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
                // Stays until its client leaves.
                let _ = stream.read(&mut [0]).await;
            });
        }
        drop(names);
        let mut places: Vec<_> = named.iter().take(6).collect();
        places.sort();
        assert_eq!(places, ["worker-0", "worker-0", "worker-0", "worker-1", "worker-1", "worker-1"]);
    }
}
