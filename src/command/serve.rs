//! `urlshort` without a command: serves until a signal arrives.

use std::{error::Error, io, net::SocketAddr, num::NonZero, sync::Arc, thread, time::Duration};

use rand::{
    SeedableRng,
    rngs::{StdRng, SysRng},
};
use rustix::process::{Resource, getrlimit, setrlimit};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::memory;
use crate::{
    app::{App, Dependencies, OPERATIONS_CONNECTIONS},
    clock::Clock,
    config::{Config, Warning, warnings},
    observability::{
        log_sink::LogSink,
        logging::{self, Chain},
        metrics::{Metrics, VERSION},
    },
    server::{Threads, Workers},
    store::{self, StoreError},
};

/// The time limit for writing the final log lines.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The number of file descriptors for everything except public connections.
///
/// The number covers the standard streams, the runtimes, the listeners, the second listener's connections, connections
/// that are being refused, and SQLite's files.
const RESERVED_FILES: u64 = 128 + OPERATIONS_CONNECTIONS as u64;

/// An error that prevented the service from starting.
#[derive(Debug, Error)]
enum StartError {
    #[error("STORE_URL: the blocked hosts can't be read")]
    BlockedHosts(#[source] StoreError),
    #[error("{variable}: can't listen on {address}")]
    Listen { variable: &'static str, address: SocketAddr, source: io::Error },
}

/// Starts the runtime and serves.
///
/// # Errors
/// An error that prevented the service from starting or draining.
pub fn run(mut config: Config) -> Result<(), Box<dyn Error>> {
    let open_files = raise_open_file_limit();
    let metrics = Arc::new(Metrics::new());
    let sink = LogSink::start(io::stdout(), metrics.log_lines_dropped.clone())?;
    tracing::subscriber::set_global_default(logging::subscriber(&config.logs, sink.clone()))?;
    logging::log_panics();
    if let Some(open_files) = open_files {
        limit_connections(&mut config, open_files);
    }
    // This thread accepts connections and runs background tasks. The worker threads serve the connections.
    let threads = Threads::start(thread::available_parallelism().map_or(1, NonZero::get))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(&config, metrics, threads.workers()));
    // Don't wait for blocking calls: a call may never return, for example if a file system has disappeared.
    runtime.shutdown_background();
    sink.close(LOG_FLUSH_TIMEOUT);
    result
}

/// Serves until a signal arrives.
///
/// The signal handlers are installed first. Otherwise, if the program ran as process 1, the kernel would ignore SIGTERM
/// while the store is being opened.
async fn serve(config: &Config, metrics: Arc<Metrics>, workers: Workers) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let store = tokio::select! {
        opened = store::open_for_operator(&config.store) => opened?,
        () = signals.next() => {
            tracing::info!("stopped before the store was open");
            return Ok(());
        }
    };
    let dependencies =
        Dependencies { store, metrics, clock: Clock::system(), rng: StdRng::try_from_rng(&mut SysRng)? };
    let app = App::new(config, dependencies)?;
    let has_token = app.state.tokens().allow_writing(app.state.shortener.clock.now());
    warnings(config, has_token, memory::limit()).iter().for_each(Warning::log);
    load_blocked_hosts(&app).await?;

    let listener = listen("HOST and PORT", SocketAddr::new(config.server.host, config.server.port)).await?;
    let operations = match config.server.metrics_addr {
        Some(address) => Some(listen("METRICS_ADDR", address).await?),
        None => None,
    };
    let address = listener.local_addr()?;
    let operations_address = operations.as_ref().map(TcpListener::local_addr).transpose()?;
    tracing::info!(
        version = VERSION,
        store = ?config.store.store_url,
        key_strategy = config.keys.key_strategy.as_str(),
        address = %address,
        metrics_address = operations_address.map(tracing::field::display),
        "listening"
    );
    let (stop, stopped) = oneshot::channel::<()>();
    let run = app.run(listener, operations, workers, async {
        // Dropping the sender stops the service.
        let _ = stopped.await;
    });
    let second_signal = async {
        signals.next().await;
        drop(stop);
        signals.next().await;
    };
    tokio::select! {
        () = run => Ok(()),
        () = second_signal => Err(DrainInterrupted.into()),
    }
}

/// Loads the blocked hosts before the first request.
///
/// A damaged list does not prevent startup, because the links may be intact.
async fn load_blocked_hosts(app: &App) -> Result<(), StartError> {
    match app.links().load_blocked_hosts().await {
        Err(error @ StoreError::Corrupt(_)) => {
            tracing::error!(error = %Chain(&error), "blocked hosts are damaged: links to them redirect");
            Ok(())
        }
        loaded => loaded.map_err(StartError::BlockedHosts),
    }
}

/// The error for a second signal during the drain.
#[derive(Debug, Error)]
#[error("stopped immediately by a second signal")]
struct DrainInterrupted;

/// The signals that stop the service.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn listen(variable: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { variable, address, source })
}

/// Raises the soft limit on open files to the hard limit, and returns it.
///
/// Each connection is an open file, and the usual soft limit of 1,024 exists for programs that use `select`.
fn raise_open_file_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If this fails, the old soft limit still applies.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current
}

/// Lowers `MAX_CONNECTIONS` to leave file descriptors for the store.
///
/// The store must be able to open files and connections even when all public connections are in use.
fn limit_connections(config: &mut Config, open_files: u64) {
    let reserved = RESERVED_FILES + u64::from(config.store.store_connections);
    let available = open_files.saturating_sub(reserved).max(open_files / 2).max(1);
    if available < config.limits.max_connections.into() {
        tracing::warn!(
            open_files,
            max_connections = config.limits.max_connections,
            connections = available,
            "fewer connections than MAX_CONNECTIONS: the limit of open files is too low"
        );
        config.limits.max_connections = u32::try_from(available).unwrap_or(u32::MAX);
    }
}
