//! A database that goes silent: connections stay open but carry no data.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::time::timeout;
use urlshort::{
    link::Link,
    store::{Change, History},
};

use crate::support::{
    Forwarder, PATIENCE, Postgres, Process, Redis, RemoteServer, client, eventually, link, open,
};

async fn create(client: &Client, process: &Process) -> StatusCode {
    let request = client.post(process.url("/shorten")).json(&json!({ "url": "https://example.com" }));
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_dropped_on_silent_connections_do_not_use_up_the_pool() {
    let server = Postgres::start();
    let forwarder = Forwarder::start(server.port).await;
    let url = forwarder.replace_in(&server.url(), server.port);
    let token = "reader-0123456789";
    let tokens = format!("ci:{token}:read");
    let process = Process::start(&[("STORE_URL", &url), ("STORE_TIMEOUT", "2s"), ("API_TOKENS", &tokens)]);
    let client = client();
    // Each listing still holds its own database connection when it is cancelled.
    let list = || client.get(process.url("/api/v1/links")).bearer_auth(token).send();
    for _ in 0..3 {
        let listed = join_all((0..64).map(|_| list())).await;
        assert!(listed.iter().all(|listed| listed.as_ref().unwrap().status() == StatusCode::OK));
        forwarder.silence();
        let dropped = (0..64).map(|_| timeout(Duration::from_millis(100), list()));
        assert!(join_all(dropped).await.iter().any(Result::is_err));
        eventually(Duration::from_secs(10), async || match create(&client, &process).await {
            StatusCode::CREATED => Ok(()),
            status => Err(status),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_store_call_frees_its_connection() {
    let server = Postgres::start();
    let forwarder = Forwarder::start(server.port).await;
    let url = forwarder.replace_in(&server.url(), server.port);
    let store = open(&url).await;
    let day = jiff::civil::date(2026, 6, 1);
    let key = crate::support::key("k");
    for _ in 0..3 {
        let count = || store.day_counts(&key, day, day);
        assert!(join_all((0..64).map(|_| count())).await.iter().all(Result::is_ok));
        forwarder.silence();
        let dropped = (0..64).map(|_| timeout(Duration::from_millis(100), count()));
        assert!(join_all(dropped).await.iter().any(Result::is_err));
        eventually(Duration::from_secs(10), async || count().await.map_err(|error| error.to_string())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_with_a_frozen_database_meets_its_deadline() {
    const DRAIN: Duration = Duration::from_secs(2);
    let mut server = Postgres::start();
    let variables = [("STORE_URL", &*server.url()), ("STORE_TIMEOUT", "1s"), ("DRAIN_TIMEOUT", "2s")];
    let process = Process::start(&variables);
    let client = client();
    let created = join_all((0..64).map(|_| create(&client, &process))).await;
    assert!(created.iter().all(|status| *status == StatusCode::CREATED), "{created:?}");
    server.freeze();
    let dropped = (0..64).map(|_| timeout(Duration::from_millis(20), create(&client, &process)));
    join_all(dropped).await;
    let start = Instant::now();
    process.signal(rustix::process::Signal::TERM);
    let ended = tokio::task::spawn_blocking(|| process.wait());
    let ended = timeout(PATIENCE, ended).await.expect("it exits").unwrap();
    assert!(ended.success());
    assert!(start.elapsed() < DRAIN + Duration::from_secs(8), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_store_with_a_frozen_database_returns() {
    let mut server = Postgres::start();
    let store = open(&server.url()).await;
    assert!(join_all((0..64).map(|_| store.check())).await.iter().all(Result::is_ok));
    server.freeze();
    let dropped = (0..64).map(|_| timeout(Duration::from_millis(50), store.check()));
    assert!(join_all(dropped).await.iter().all(Result::is_err));
    timeout(Duration::from_secs(10), store.close()).await.expect("it returns");
}

/// Asserts that an instance replaces a silent change feed.
///
/// The replacement must happen well before cache entries expire.
async fn a_silent_change_feed_is_replaced(url: &str, port: u16) {
    let forwarder = Forwarder::start(port).await;
    let there = forwarder.replace_in(url, port);
    let process = Process::start(&[("STORE_URL", &there), ("CACHE_TTL", "1h")]);
    let editor = open(url).await;
    let client = client();
    let location = async || {
        let response = client.get(process.url("/k")).send().await.unwrap();
        response.headers().get("location").map(|location| location.to_str().unwrap().to_owned())
    };
    assert!(editor.put_if_absent(link("k", "https://example.com/1"), History::default()).await.unwrap());
    for version in 1..4 {
        let expected = format!("https://example.com/{version}");
        eventually(PATIENCE / 2, async || match location().await {
            Some(location) if location == expected => Ok(()),
            other => Err(other),
        })
        .await;
        forwarder.silence();
        let edited =
            Link { version: version + 1, ..link("k", &format!("https://example.com/{}", version + 1)) };
        assert_eq!(editor.update(edited, version).await.unwrap(), Change::Done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_change_feed_of_postgres_is_replaced() {
    let server = Postgres::start();
    a_silent_change_feed_is_replaced(&server.url(), server.port).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_change_feed_of_redis_is_replaced() {
    let server = Redis::start();
    a_silent_change_feed_is_replaced(&server.url(), server.port).await;
}
