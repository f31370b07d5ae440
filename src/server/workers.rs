//! The threads that connections live on.
//!
//! Each thread has a runtime of its own, and a connection stays where it was put. What serves a request is then never
//! handed from one thread to another, which costs more than a redirect's own work (`cargo bench --bench cost`). The price
//! is that a thread's connections wait for each other; nothing in the service computes for long on the spot.

use std::{io, sync::Arc, thread};

use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
    sync::oneshot,
    task::AbortHandle,
};

/// Blocking calls that one thread's connections may have under way; only hashes of passwords are any.
const BLOCKING_THREADS: usize = 8;

/// Where connections may be put.
#[derive(Clone)]
pub struct Workers(Arc<[Worker]>);

struct Worker {
    runtime: Handle,
    /// Cloned for each connection that is here, which counts them.
    connections: Arc<()>,
}

/// Threads that end when this is dropped, and their connections with them.
pub struct Threads {
    workers: Workers,
    _stops: Vec<oneshot::Sender<()>>,
}

impl Threads {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// Where the system does not give a thread or what a runtime needs.
    pub fn start(count: usize) -> io::Result<Self> {
        let (mut runtimes, mut stops) = (Vec::new(), Vec::new());
        for number in 0..count {
            let runtime =
                Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
            let (stop, stopped) = oneshot::channel::<()>();
            runtimes.push(runtime.handle().clone());
            stops.push(stop);
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                // The sender is dropped, never used.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
        }
        Ok(Self { workers: Workers::on(runtimes), _stops: stops })
    }

    /// Where to put connections.
    pub fn workers(&self) -> Workers {
        self.workers.clone()
    }
}

impl Workers {
    /// Connections are served by these runtimes.
    pub fn on(runtimes: impl IntoIterator<Item = Handle>) -> Self {
        Self(runtimes.into_iter().map(|runtime| Worker { runtime, connections: Arc::default() }).collect())
    }

    /// Runs `serve` for `stream` where there are the fewest connections, and returns the means to end that.
    pub(super) fn serve<F>(
        &self,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> Option<AbortHandle>
    where
        F: Future<Output = ()> + Send,
    {
        let worker = self.0.iter().min_by_key(|worker| Arc::strong_count(&worker.connections))?;
        let place = worker.connections.clone();
        // A socket tells one runtime that it is ready, and it shall be the one that waits for it.
        let stream = stream.into_std().ok()?;
        let task = worker.runtime.spawn(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                serve(stream).await;
            }
            drop(place);
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
