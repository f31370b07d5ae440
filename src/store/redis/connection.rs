//! Connections to a server or a cluster.

use std::{fs, slice, str::FromStr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    Pipeline, RedisError, RedisFuture, RedisResult, ScriptInvocation, ServerErrorKind, TlsCertificates,
    Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, PubSub},
    cluster::ClusterClient,
    io::tcp::TcpSettings,
};
use tokio::sync::watch;
use url::Url;

use super::cluster::Cluster;
use crate::store::{StoreError, StoreOptions};

/// A parsed store URL.
#[derive(Clone)]
pub(super) struct RedisUrl {
    /// The nodes to connect to. There is at least one.
    nodes: Vec<ConnectionInfo>,
    root_certificate: Option<Vec<u8>>,
    /// The number of replicas that must confirm a new link.
    wait_replicas: u32,
}

impl FromStr for RedisUrl {
    type Err = StoreError;

    /// Parses a URL with one or more hosts, and reads its certificate file.
    ///
    /// The form is `redis://USER:PASSWORD@HOST:PORT,HOST:PORT…/DATABASE?sslrootcert=FILE&wait_replicas=N`, with
    /// `rediss` for TLS.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let (before, hosts, after) = split_hosts(text);
        let urls = hosts.split(',').map(|host| Url::parse(&format!("{before}{host}{after}")));
        let urls = urls.collect::<Result<Vec<_>, _>>().map_err(StoreError::unavailable)?;
        let (mut root_certificate, mut wait_replicas) = (None, 0);
        for (name, value) in urls.iter().take(1).flat_map(|url| url.query_pairs()) {
            match &*name {
                "sslrootcert" => root_certificate = Some(fs::read(&*value).map_err(StoreError::unavailable)?),
                "wait_replicas" => {
                    let invalid =
                        |_| StoreError::unavailable("wait_replicas takes a whole number, such as 1");
                    wait_replicas = value.parse().map_err(invalid)?;
                }
                _ => return Err(StoreError::unavailable(format!("unknown parameter {name}"))),
            }
        }
        let nodes = urls.into_iter().map(|mut url| {
            url.set_query(None);
            Ok(url.into_connection_info()?.set_tcp_settings(tcp_settings()))
        });
        Ok(Self { nodes: nodes.collect::<RedisResult<_>>()?, root_certificate, wait_replicas })
    }
}

/// Splits a URL into its prefix, its hosts and its suffix.
fn split_hosts(text: &str) -> (&str, &str, &str) {
    let authority = text.find("://").map_or(0, |at| at + 3);
    let end = text[authority..].find(['/', '?']).map_or(text.len(), |at| authority + at);
    let hosts = text[authority..end].rfind('@').map_or(authority, |at| authority + at + 1);
    (&text[..hosts], &text[hosts..end], &text[end..])
}

/// How long a connection may be unresponsive before it is closed.
///
/// This is the `TCP_USER_TIMEOUT` of the socket.
const SILENCE: Duration = Duration::from_secs(10);

/// The number of reconnection attempts that a call waits for.
///
/// With more attempts, the call would reach its deadline instead of failing, and it would be unclear whether the server
/// had run the command.
const RECONNECTS: usize = 1;

fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true).set_user_timeout(SILENCE)
}

impl RedisUrl {
    fn client(&self, node: &ConnectionInfo) -> RedisResult<Client> {
        match &self.root_certificate {
            None => Client::open(node.clone()),
            Some(_) => Client::build_with_tls(node.clone(), self.certificates()),
        }
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates { client_tls: None, root_cert: self.root_certificate.clone() }
    }

    /// Subscribes to `channel` on the first node that responds.
    ///
    /// One subscription is enough, because a cluster forwards messages to all nodes.
    pub(super) async fn subscribe(&self, channel: &str) -> RedisResult<PubSub> {
        let mut last = None;
        for node in &self.nodes {
            match self.client(node)?.get_async_pubsub().await {
                Ok(mut subscription) => {
                    subscription.subscribe(channel).await?;
                    return Ok(subscription);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("a URL names at least one node"))
    }
}

/// A shared connection that reconnects after a failure. It is cheap to clone.
#[derive(Clone)]
pub(super) struct Connection {
    to: To,
    /// The connection for calls that may wait for replicas. If `wait_replicas` is not 0, this is a separate connection,
    /// because `WAIT` blocks all other calls on the same connection.
    durable: To,
    wait_replicas: u32,
    deadline: Duration,
    replaced: watch::Sender<()>,
}

#[derive(Clone)]
enum To {
    Server(Arc<Server>),
    Cluster(Arc<Cluster>),
}

impl Connection {
    /// Connects to the first node that responds, or to its whole cluster.
    pub(super) async fn open(url: &RedisUrl, options: &StoreOptions) -> Result<Self, StoreError> {
        let (mut last, replaced) = (None, watch::Sender::new(()));
        for node in &url.nodes {
            match connect(url, node, options, &replaced).await {
                Ok(to) => {
                    let wait_replicas = url.wait_replicas;
                    let durable = if wait_replicas > 0 {
                        connect(url, node, options, &replaced).await?
                    } else {
                        to.clone()
                    };
                    let deadline = options.call_deadline();
                    return Ok(Self { to, durable, wait_replicas, deadline, replaced });
                }
                Err(error) => last = Some((node.addr(), error)),
            }
        }
        let (address, error) = last.expect("a URL names at least one node");
        let hint = hint(address, &error).unwrap_or_default();
        Err(StoreError::unavailable(format!("can't connect to {address}: {error}{hint}")))
    }

    /// Converts the error from a call.
    ///
    /// The server's address is added to a network error. After a timeout, the server may still run the command.
    pub(super) fn failure(&self, error: RedisError) -> StoreError {
        match &self.to {
            _ if error.is_timeout() => StoreError::Timeout(self.deadline),
            To::Server(server) if error.is_io_error() => {
                let address = server.client.get_connection_info().addr();
                StoreError::unavailable(format!("{address}: {error}"))
            }
            _ => error.into(),
        }
    }

    /// Returns the number of replicas that must confirm a new link.
    pub(super) fn wait_replicas(&self) -> u32 {
        self.wait_replicas
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Returns the cluster connection, or `None` for a single server.
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        match &self.to {
            To::Server(_) => None,
            To::Cluster(cluster) => Some(cluster),
        }
    }

    /// Replaces the connections to a server that was demoted.
    ///
    /// The address may already lead to another server, so the next call opens a new connection.
    pub(super) fn replace(&self) {
        for to in [&self.to, &self.durable] {
            if let To::Server(server) = to {
                server.replace(server.current().0);
            }
        }
    }

    /// Returns a receiver that is notified when a connection is replaced.
    pub(super) fn replaced(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// Runs a script, and waits for `wait_replicas` replicas.
    pub(super) async fn run_durably(&self, script: &ScriptInvocation<'_>) -> Result<bool, StoreError> {
        let mut connection = Self { to: self.durable.clone(), ..self.clone() };
        if self.wait_replicas == 0 {
            return Ok(script.invoke_async(&mut connection).await?);
        }
        // `WAIT` covers only earlier writes on the same connection, so send the script and `WAIT` in one pipeline.
        // `WAIT` must time out before the call itself does.
        let timeout = u64::try_from(self.deadline.as_millis() / 2).unwrap_or(u64::MAX);
        let mut pipeline = redis::pipe();
        pipeline.invoke_script(script).cmd("WAIT").arg(self.wait_replicas).arg(timeout);
        let (done, replicas): (bool, u32) = match pipeline.query_async(&mut connection).await {
            Err(error) if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoScript) => {
                script.load_async(&mut connection).await?;
                pipeline.query_async(&mut connection).await?
            }
            result => result?,
        };
        if done && replicas < self.wait_replicas {
            return Err(StoreError::unavailable(format!(
                "{replicas} replicas have the link, not {}",
                self.wait_replicas
            )));
        }
        Ok(done)
    }
}

/// Returns advice if the error may be due to the wrong URL scheme.
fn hint(address: &ConnectionAddr, error: &RedisError) -> Option<&'static str> {
    match address {
        // A server without TLS mistakes the TLS handshake for an incomplete command, and waits for the rest.
        ConnectionAddr::TcpTls { .. } if error.is_timeout() => {
            Some("; use redis:// if the server has no TLS")
        }
        ConnectionAddr::Tcp(..) if error.is_connection_dropped() && !error.is_connection_refusal() => {
            Some("; use rediss:// if the server expects TLS")
        }
        _ => None,
    }
}

async fn connect(
    url: &RedisUrl,
    node: &ConnectionInfo,
    options: &StoreOptions,
    replaced: &watch::Sender<()>,
) -> RedisResult<To> {
    let client = url.client(node)?;
    let deadline = options.call_deadline();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(deadline))
        .set_response_timeout(Some(deadline));
    let mut first = client.get_multiplexed_async_connection_with_config(&config).await?;
    let info: String = redis::cmd("INFO").arg("cluster").query_async(&mut first).await?;
    if info.contains("cluster_enabled:1") {
        let mut cluster = ClusterClient::builder(url.nodes.clone())
            .connection_timeout(deadline)
            .response_timeout(deadline)
            .tcp_settings(tcp_settings());
        if url.root_certificate.is_some() {
            cluster = cluster.certs(url.certificates());
        }
        return Ok(To::Cluster(Cluster::connect(cluster.build()?).await?));
    }
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(deadline))
        .set_response_timeout(Some(deadline))
        .set_number_of_retries(RECONNECTS)
        .set_max_delay(Duration::from_millis(500));
    let manager = ConnectionManager::new_with_config(client.clone(), config.clone()).await?;
    let manager = Mutex::new((0, manager));
    Ok(To::Server(Arc::new(Server { client, config, manager, replaced: replaced.clone() })))
}

/// A connection to a single server.
struct Server {
    client: Client,
    config: ConnectionManagerConfig,
    /// The generation, which counts replacements, and the connection manager.
    ///
    /// The manager itself reconnects after it loses its connection, but not if the server is silent or demoted.
    manager: Mutex<(u64, ConnectionManager)>,
    replaced: watch::Sender<()>,
}

impl Server {
    fn current(&self) -> (u64, ConnectionManager) {
        self.manager.lock().clone()
    }

    /// Replaces the connection, unless another call has already replaced it.
    ///
    /// The next call opens the new connection.
    fn replace(&self, generation: u64) {
        let mut current = self.manager.lock();
        if current.0 == generation {
            match ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone()) {
                Ok(manager) => *current = (generation + 1, manager),
                Err(error) => tracing::error!(%error, "can't reconnect to the store"),
            }
            self.replaced.send_replace(());
        }
    }

    /// Makes a call.
    ///
    /// If the server is read-only or silent, the connection is replaced.
    async fn run<T>(
        &self,
        call: impl AsyncFnOnce(&mut ConnectionManager) -> RedisResult<T>,
        values: impl Fn(&T) -> &[Value],
    ) -> RedisResult<T> {
        let (generation, mut manager) = self.current();
        let result = call(&mut manager).await;
        let must_replace = match &result {
            // In a pipeline, each command has its own result.
            Ok(reply) => values(reply).iter().any(|value| {
                matches!(value, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::ReadOnly))
            }),
            Err(error) => error.is_timeout() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly),
        };
        if must_replace {
            self.replace(generation);
        }
        result
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.to {
            To::Server(server) => server
                .run(async move |manager| manager.req_packed_command(command).await, slice::from_ref)
                .boxed(),
            To::Cluster(cluster) => {
                cluster.run(async move |cluster| cluster.req_packed_command(command).await).boxed()
            }
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.to {
            To::Server(server) => server
                .run(
                    async move |manager| manager.req_packed_commands(pipeline, offset, count).await,
                    Vec::as_slice,
                )
                .boxed(),
            To::Cluster(cluster) => cluster
                .run(async move |cluster| cluster.req_packed_commands(pipeline, offset, count).await)
                .boxed(),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.to {
            To::Server(server) => server.current().1.get_db(),
            To::Cluster(_) => 0,
        }
    }
}
