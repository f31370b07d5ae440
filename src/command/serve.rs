//! `urlshort` alone: serve until told to stop.

use std::{error::Error, io, net::SocketAddr, num::NonZero, sync::Arc, thread, time::Duration};

use rand::{
    SeedableRng,
    rngs::{StdRng, SysRng},
};
use rustix::process::{Resource, getrlimit, setrlimit};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    app::{App, Surroundings},
    clock::Clock,
    config::Config,
    observability::{
        log_sink::LogSink,
        logging,
        metrics::{Metrics, VERSION},
    },
    server::{Threads, Workers},
    store::{self, OpenOptions, StoreError},
};

/// How long the last log lines may take to be read.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// The service could not start.
#[derive(Debug, Error)]
enum StartError {
    #[error("STORE_URL: the {0:?} store can't be opened")]
    Store(store::StoreUrl, #[source] StoreError),
    #[error("BLOCKED_HOSTS can't be read")]
    BlockedHosts(#[source] io::Error),
    #[error("{variable}: {address} can't be listened on")]
    Listen { variable: &'static str, address: SocketAddr, source: io::Error },
}

/// Starts the runtime and serves.
///
/// # Errors
/// What kept the service from starting.
pub fn run(config: Config) -> Result<(), Box<dyn Error>> {
    raise_open_file_limit();
    let metrics = Arc::new(Metrics::new());
    let sink = LogSink::start(io::stdout(), metrics.log_lines_dropped.clone())?;
    tracing::subscriber::set_global_default(logging::subscriber(
        config.log_level.clone(),
        config.log_format,
        sink.clone(),
    ))?;
    logging::log_panics();
    // This thread takes connections and looks after what goes on beside them; others serve them.
    let threads = Threads::start(thread::available_parallelism().map_or(1, NonZero::get))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(&config, metrics, threads.workers()));
    sink.close(LOG_PATIENCE);
    result
}

async fn serve(config: &Config, metrics: Arc<Metrics>, workers: Workers) -> Result<(), Box<dyn Error>> {
    let options = OpenOptions { connections: config.store_connections, deadline: config.store_timeout };
    let store = store::open(&config.store_url, &options)
        .await
        .map_err(|error| StartError::Store(config.store_url.clone(), error))?;
    let surroundings =
        Surroundings { store, metrics, clock: Clock::system(), rng: StdRng::try_from_rng(&mut SysRng)? };
    let app = App::new(config, surroundings).map_err(StartError::BlockedHosts)?;

    let listener = listen("HOST and PORT", SocketAddr::new(config.host, config.port)).await?;
    let operations = match config.metrics_addr {
        Some(address) => Some(listen("METRICS_ADDR", address).await?),
        None => None,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let address = listener.local_addr()?;
    let operations_address = operations.as_ref().map(TcpListener::local_addr).transpose()?;
    tracing::info!(
        version = VERSION,
        store = ?config.store_url,
        key_strategy = config.key_strategy.as_str(),
        address = %address,
        metrics_address = operations_address.map(tracing::field::display),
        "listening"
    );
    app.run(listener, operations, workers, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(variable: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { variable, address, source })
}

/// Each connection is an open file, and the usual soft limit of 1,024 is there for programs that use `select`.
fn raise_open_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer files than MAX_CONNECTIONS the listener pauses and says so.
    let _ = setrlimit(Resource::Nofile, limit);
}
