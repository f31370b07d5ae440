//! The service as a whole: its parts put together, its tasks beside the requests, its end.

use std::{io, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    clicks::Clicks,
    clock::Clock,
    config::Config,
    keygen::{self, Materials},
    links::{CacheOptions, Links},
    observability::metrics::Metrics,
    password::Passwords,
    policy::TargetPolicy,
    server::{self, Limits, Workers},
    shortener::Shortener,
    store::Store,
    web::{
        HttpService,
        middleware::in_flight::InFlight,
        router,
        state::{AppState, Draining, Settings},
    },
};

/// The time that the last clicks and the store's close may take after the drain.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections of the second listener: a few probes and Prometheus servers.
pub const OPERATIONS_CONNECTIONS: usize = 64;

/// What the service takes from outside, so that a test can hand in its own.
pub struct Surroundings {
    /// Where the links are.
    pub store: Arc<dyn Store>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Clock,
    /// Where keys and ids take their randomness from.
    pub rng: StdRng,
}

/// A service that is ready to serve.
pub struct App {
    state: AppState,
    limits: Limits,
    drain_delay: Duration,
}

impl App {
    /// Puts the parts together.
    ///
    /// # Errors
    /// Where a file that the configuration names can't be read.
    pub fn new(config: &Config, surroundings: Surroundings) -> io::Result<Self> {
        let Surroundings { store, metrics, clock, mut rng } = surroundings;
        let cache = CacheOptions { bytes: config.cache_bytes.as_u64(), lifetime: config.cache_ttl };
        let links = Arc::new(Links::new(store, config.store_timeout, cache, metrics.clone()));
        let mut policy = TargetPolicy::new(config.block_private_targets);
        if let Some(file) = &config.blocked_hosts {
            policy = policy.with_blocked_hosts(file.clone())?;
        }
        let settings = Settings {
            base_url: config.base_url.clone(),
            trusted_proxies: config.trusted_proxies.into(),
            rate_limit: config.rate_limit.0,
            tokens: config.api_tokens.clone().unwrap_or_default(),
            public_shorten: config.public_shorten,
            request_timeout: config.request_timeout,
            max_body: usize::try_from(config.max_body.as_u64()).unwrap_or(usize::MAX),
            separate_operations: config.metrics_addr.is_some(),
            request_id_key: std::array::from_fn(|_| rng.next_u64()),
        };
        let materials = Materials {
            key_length: config.key_length.into(),
            rng: StdRng::from_rng(&mut rng),
            links: links.clone(),
        };
        let shortener = Shortener {
            links: links.clone(),
            strategy: keygen::strategy(config.key_strategy, materials),
            strategy_name: config.key_strategy,
            policy: Arc::new(policy),
            clicks: Arc::new(Clicks::new(&metrics)),
            reserved: router::reserved_keys(),
            clock,
            passwords: Passwords::default(),
            metrics: metrics.clone(),
        };
        metrics.http_connections_limit.set(config.max_connections.into());
        metrics.http_requests_in_flight_limit.set(config.max_in_flight.into());
        let state = AppState {
            shortener: Arc::new(shortener),
            links,
            metrics,
            draining: Draining::default(),
            settings: Arc::new(settings),
            attempts: Arc::default(),
            in_flight: InFlight::new(config.max_in_flight),
        };
        let limits = Limits {
            connections: config.max_connections as usize,
            by_client: config.trusted_proxies == 0,
            header_timeout: config.header_timeout,
            keep_alive: config.keep_alive,
            stall_timeout: config.request_timeout,
            drain_timeout: config.drain_timeout,
        };
        Ok(Self { state, limits, drain_delay: config.drain_delay })
    }

    /// Returns the links as this instance sees them.
    pub fn links(&self) -> Arc<Links> {
        self.state.links.clone()
    }

    /// The service for everybody, without a listener.
    pub fn public_service(&self) -> HttpService {
        router::public(&self.state)
    }

    /// Serves on `workers` until `shutdown` is ready, then drains and flushes. `operations` is the second listener, if
    /// any. Ends within `DRAIN_DELAY` + `DRAIN_TIMEOUT` + [`FLUSH_TIMEOUT`] after `shutdown`.
    pub async fn run(
        self,
        listener: TcpListener,
        operations: Option<TcpListener>,
        workers: Workers,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut tasks = self.spawn_tasks();
        let (stop, stopped) = tokio::sync::watch::channel(());
        let stopped = || {
            let mut stopped = stopped.clone();
            async move { stopped.changed().await.unwrap_or_default() }
        };
        let Shortener { clicks, links, .. } = &*self.state.shortener;
        let writer = tokio::spawn(clicks.clone().write_regularly(links.clone(), stopped()));
        let public = server::run(listener, self.public_service(), workers.clone(), self.limits, stopped());
        let operations = async {
            if let Some(listener) = operations {
                let service = router::operations(&self.state);
                let connections = OPERATIONS_CONNECTIONS.min(self.limits.connections);
                let limits = Limits { connections, by_client: false, ..self.limits };
                server::run(listener, service, workers, limits, stopped()).await;
            }
        };
        let orders = async {
            shutdown.await;
            tracing::info!("shutting down");
            self.state.draining.begin();
            tokio::time::sleep(self.drain_delay).await;
            stop.send_replace(());
            Instant::now() + self.limits.drain_timeout
        };
        let ((), (), drained_by) = tokio::join!(public, operations, orders);
        // A change whose client has hung up has no connection any more, but it has its slot.
        if timeout_at(drained_by, self.state.in_flight.wait_for_all()).await.is_err() {
            tracing::warn!("drain timed out: requests are still in progress");
        }
        tasks.shutdown().await;
        let flush = async {
            // Its panic is in the log already.
            let _ = writer.await;
            self.flush().await;
        };
        if timeout(FLUSH_TIMEOUT, flush).await.is_err() {
            tracing::error!("the store did not take the last clicks and close in time");
        }
    }

    fn spawn_tasks(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let links = self.links();
        tasks.spawn(async move { links.probe_regularly().await });
        let links = self.links();
        tasks.spawn(async move { links.watch_regularly().await });
        let policy = self.state.shortener.policy.clone();
        tasks.spawn(async move { policy.reload_regularly().await });
        tasks
    }

    async fn flush(&self) {
        let clicks = &self.state.shortener.clicks;
        clicks.flush(&self.state.links).await;
        clicks.drop_rest();
        self.state.links.close().await;
    }
}
