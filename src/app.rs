//! The whole service: its components, background tasks and shutdown.

use std::{sync::Arc, time::Duration};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    clicks::Clicks,
    clock::Clock,
    config::{ClickOptions, Config, LimitOptions},
    keygen,
    links::Links,
    observability::metrics::Metrics,
    password::Passwords,
    policy::TargetPolicy,
    retention::Retention,
    server::{self, Listener, Workers},
    shortener::Shortener,
    store::{Secret, Store},
    watched_file::InvalidFile,
    web::{
        HttpService,
        extract::ids::RequestIds,
        middleware::{in_flight::InFlight, rate_limit::CreateLimits, token_failures::TokenFailures},
        router,
        routes::qr::Drawing,
        state::{AppState, Draining},
        ui::session::Sessions,
    },
};

/// The time limit for flushing clicks and closing the store.
///
/// It applies after the drain.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum number of connections to the listener at `METRICS_ADDR`.
pub(crate) const OPERATIONS_CONNECTIONS: u32 = 64;

/// Dependencies that tests can replace.
pub struct Dependencies {
    pub store: Arc<dyn Store>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    /// The random number generator for keys and ids.
    pub rng: StdRng,
}

/// The assembled service, ready to run.
pub struct App {
    pub(crate) state: AppState,
}

impl App {
    /// Assembles the service from its components.
    ///
    /// # Errors
    /// [`InvalidFile`] if a file named by an option can't be used.
    pub fn new(config: &Config, dependencies: Dependencies) -> Result<Self, InvalidFile> {
        let Dependencies { store, metrics, clock, mut rng } = dependencies;
        let invalid = |source| InvalidFile { variable: "API_TOKENS_FILE", source };
        let tokens = config.access.load_tokens().map_err(invalid)?;
        let links = Arc::new(Links::new(store, config.store.store_timeout, config.cache, metrics.clone()));
        let policy = TargetPolicy::new(&config.policy, links.blocked_hosts().clone())?;
        let strategy = keygen::strategy(&config.keys, StdRng::from_rng(&mut rng), links.clone());
        let shortener = Shortener {
            links: links.clone(),
            strategy,
            strategy_name: config.keys.key_strategy,
            policy: Arc::new(policy),
            fallbacks: config.fallbacks.clone(),
            clicks: Arc::new(Clicks::new(&metrics)),
            reserved: router::reserved_keys(),
            clock,
            passwords: Passwords::default(),
            metrics: metrics.clone(),
        };
        metrics.http_connections_limit.set(config.limits.max_connections.into());
        metrics.http_requests_in_flight_limit.set(config.limits.max_in_flight.into());
        let state = AppState {
            shortener: Arc::new(shortener),
            links,
            metrics: metrics.clone(),
            draining: Draining::default(),
            config: Arc::new(config.clone()),
            attempts: Arc::default(),
            live_tokens: Arc::new(tokens),
            create_limits: Arc::new(CreateLimits::new(&config.limits, metrics.clone())),
            token_failures: Arc::new(TokenFailures::new(metrics)),
            request_ids: Arc::new(RequestIds::new(std::array::from_fn(|_| rng.next_u64()))),
            in_flight: InFlight::new(config.limits.max_in_flight),
            sessions: Arc::new(Sessions::new(Secret(rng.random()))),
            drawing: Drawing::default(),
        };
        Ok(Self { state })
    }

    /// Returns this instance's view of the links.
    pub fn links(&self) -> Arc<Links> {
        self.state.links.clone()
    }

    /// Returns the public HTTP service, without a listener.
    pub fn public_service(&self) -> HttpService {
        router::public(&self.state)
    }

    /// Serves requests on `workers` until `shutdown` completes, then drains and flushes.
    ///
    /// `operations` is the listener at `METRICS_ADDR`, if that is set. This method returns within `DRAIN_DELAY` +
    /// `DRAIN_TIMEOUT` + [`FLUSH_TIMEOUT`] after `shutdown` completes.
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
        let Config { server, limits, clicks: ClickOptions { flush_interval }, .. } = &*self.state.config;
        let write = clicks.clone().write_regularly(links.clone(), *flush_interval, stopped());
        let writer = tokio::spawn(write);
        let listener = Listener { socket: listener, is_direct: server.trusted_proxies == 0 };
        let public = server::run(listener, self.public_service(), workers.clone(), *limits, stopped());
        let operations = async {
            if let Some(listener) = operations {
                let service = router::operations(&self.state);
                let listener = Listener { socket: listener, is_direct: false };
                let max_connections = OPERATIONS_CONNECTIONS.min(limits.max_connections);
                let limits = LimitOptions { max_connections, ..*limits };
                server::run(listener, service, workers, limits, stopped()).await;
            }
        };
        let begin_drain = async {
            shutdown.await;
            tracing::info!("shutting down");
            self.state.draining.begin();
            tokio::time::sleep(limits.drain_delay).await;
            stop.send_replace(());
            Instant::now() + limits.drain_timeout
        };
        let ((), (), drained_by) = tokio::join!(public, operations, begin_drain);
        // A change continues even after its client disconnects, so also wait for requests whose connections are closed.
        if timeout_at(drained_by, self.state.in_flight.wait_for_all()).await.is_err() {
            tracing::warn!("drain timed out: changes are still in progress");
        }
        tasks.shutdown().await;
        let flush = async {
            // If the writer panicked, the panic hook has already logged it.
            let _ = writer.await;
            clicks.flush(links).await;
            clicks.drop_rest();
            links.close().await;
        };
        if timeout(FLUSH_TIMEOUT, flush).await.is_err() {
            tracing::error!(timeout = ?FLUSH_TIMEOUT, "the store did not close in time");
            clicks.drop_rest();
        }
        let Metrics { clicks_written, clicks_dropped, .. } = &*self.state.metrics;
        tracing::info!(clicks_written = clicks_written.get(), clicks_lost = clicks_dropped.get(), "stopped");
    }

    fn spawn_tasks(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let links = self.links();
        tasks.spawn(async move { links.probe_regularly().await });
        let links = self.links();
        tasks.spawn(async move { links.watch_regularly().await });
        let links = self.links();
        tasks.spawn(async move { links.follow_blocked_hosts().await });
        let policy = self.state.shortener.policy.clone();
        tasks.spawn(async move { policy.reload_regularly().await });
        let tokens = self.state.live_tokens.clone();
        tasks.spawn(async move { tokens.reload_regularly().await });
        let retention = Retention {
            options: self.state.config.retention,
            links: self.links(),
            clock: self.state.shortener.clock.clone(),
            metrics: self.state.metrics.clone(),
        };
        tasks.spawn(async move { retention.sweep_regularly().await });
        tasks
    }
}
