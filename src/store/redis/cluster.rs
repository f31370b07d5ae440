//! A connection to a Redis cluster, replaced when the cluster goes silent.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use parking_lot::Mutex;
use redis::{RedisResult, cluster::ClusterClient, cluster_async::ClusterConnection};

/// The number of consecutive timeouts after which the connection is replaced.
///
/// The driver itself drops a dead node. After some failovers, however, it stops sending to all nodes and never
/// recovers.
const TIMEOUTS: u32 = 16;

/// Connections to all nodes of a cluster.
pub(super) struct Cluster {
    client: ClusterClient,
    connection: Mutex<ClusterConnection>,
    /// The number of timeouts since a node last responded.
    timeouts: AtomicU32,
    is_replacing: AtomicBool,
}

impl Cluster {
    pub(super) async fn connect(client: ClusterClient) -> RedisResult<Arc<Self>> {
        let connection = Mutex::new(client.get_async_connection().await?);
        Ok(Arc::new(Self {
            client,
            connection,
            timeouts: AtomicU32::new(0),
            is_replacing: AtomicBool::new(false),
        }))
    }

    /// Makes a call, and replaces the connection after too many timeouts.
    pub(super) async fn run<T>(
        self: &Arc<Self>,
        call: impl AsyncFnOnce(&mut ClusterConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let mut connection = self.connection.lock().clone();
        let result = call(&mut connection).await;
        if !matches!(&result, Err(error) if error.is_timeout()) {
            self.timeouts.store(0, Ordering::Relaxed);
        } else if self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS {
            self.replace();
        }
        result
    }

    /// Reconnects in the background.
    fn replace(self: &Arc<Self>) {
        if self.is_replacing.swap(true, Ordering::Relaxed) {
            return;
        }
        let cluster = self.clone();
        tokio::spawn(async move {
            // If no node is reachable, the next timeout triggers another attempt.
            if let Ok(connection) = cluster.client.get_async_connection().await {
                *cluster.connection.lock() = connection;
                cluster.timeouts.store(0, Ordering::Relaxed);
                tracing::warn!("the cluster did not respond; connections replaced");
            }
            cluster.is_replacing.store(false, Ordering::Relaxed);
        });
    }
}
