//! Shared test support: the service in this process, the real program, servers, and a store that fails on demand.

mod app;
mod faulty;
mod forwarder;
mod load;
mod pgbouncer;
mod postgres;
mod process;
mod prometheus;
pub(crate) mod raw;
mod redis;
mod reference;
mod server;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use reqwest::{Client, redirect::Policy};
use urlshort::{
    config::{CacheOptions, StoreOptions},
    link::{Key, Link, Target, options::Options},
    links::Links,
    observability::metrics::Metrics,
    store::{self, Store},
};

pub(crate) use self::{
    app::{TestApp, assert_error},
    faulty::{FaultyStore, Mood},
    forwarder::Forwarder,
    load::Load,
    pgbouncer::PgBouncer,
    postgres::Postgres,
    process::{PATIENCE, Process, memory},
    prometheus::{Alertmanager, Prometheus, monitoring},
    redis::{Redis, RedisCluster},
    reference::documented_messages,
    server::{RemoteServer, Server, free_port, give_away, on_free_ports, run},
};

/// The `Accept` header of a browser.
pub(crate) const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// Returns a client that does not follow redirects.
pub(crate) fn client() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

/// Opens the store at `url`.
pub(crate) async fn open(url: &str) -> Arc<dyn Store> {
    store::open(&StoreOptions::new(url.parse().unwrap())).await.unwrap()
}

/// Returns a link created in January 2026.
#[track_caller]
pub(crate) fn link(key: &str, target: &str) -> Link {
    Link::new(self::key(key), self::target(target), "2026-01-02T03:04:05.678Z".parse().unwrap())
}

/// Returns `link` with these options.
pub(crate) fn with(options: Options, mut link: Link) -> Link {
    link.doc.options = options.into();
    link
}

/// Returns uncached access to a store's links.
pub(crate) fn uncached(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Links {
    let cache = CacheOptions { cache_bytes: ByteSize(0), cache_ttl: Duration::ZERO };
    Links::new(store, Duration::from_secs(10), cache, metrics)
}

#[track_caller]
pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

#[track_caller]
pub(crate) fn target(text: &str) -> Target {
    text.parse().unwrap()
}

/// Returns the URL of an SQLite store in `directory`.
pub(crate) fn sqlite_in(directory: &Path) -> String {
    format!("sqlite:{}", directory.join("links.db").display())
}

/// Raises the limit on open files for this process and the processes it starts.
pub(crate) fn raise_open_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// The interval between two attempts.
const POLL: Duration = Duration::from_millis(10);

/// Repeats `attempt` until it returns `Ok`. Panics with the last error after `limit`.
///
/// `limit` is measured on the runtime's clock, so it also works with a paused clock.
#[track_caller]
pub(crate) fn eventually<T, E: std::fmt::Debug>(
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let start = tokio::time::Instant::now();
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(last) => {
                    assert!(start.elapsed() < limit, "{caller}: not within {limit:?}; last: {last:?}")
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Does the same as [`eventually`], but without a runtime.
#[track_caller]
pub(crate) fn eventually_blocking<T, E: std::fmt::Debug>(
    limit: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(last) => assert!(start.elapsed() < limit, "not within {limit:?}; last: {last:?}"),
        }
        std::thread::sleep(POLL);
    }
}
