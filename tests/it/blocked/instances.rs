//! Blocked hosts when three instances of the real program share a store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Client, Method};
use serde_json::json;
use urlshort::store::{Store, memory::MemoryStore};

use super::{TOKENS, WRITE, block, create, path_of, unblock};
use crate::support::{
    FaultyStore, PATIENCE, Postgres, Process, Redis, RedisCluster, TestApp, client, eventually, sqlite_in,
};

/// The time within which every instance must apply a change.
const SOON: Duration = Duration::from_secs(2);

struct Instances {
    processes: Vec<Process>,
    client: Client,
}

impl Instances {
    fn start(store: &str) -> Self {
        let start = |_| Process::start(&[("STORE_URL", store), ("API_TOKENS", TOKENS)]);
        let client = client();
        Self { processes: (0..3).map(start).collect(), client }
    }

    async fn status(&self, instance: usize, path: &str) -> u16 {
        let response = self.client.get(self.processes[instance].url(path)).send().await;
        response.unwrap().status().as_u16()
    }

    /// Changes the blocked hosts on one instance.
    ///
    /// Returns the time until all instances respond with the `expected` status.
    async fn time_until_all_return(
        &self,
        instance: usize,
        change: (Method, &str),
        expected: u16,
    ) -> Duration {
        let (method, host) = change;
        let request = self.client.request(method, self.processes[instance].url(&path_of(host)));
        let response = request.bearer_auth(WRITE).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.status());
        let start = Instant::now();
        assert_eq!(self.status(instance, "/k").await, expected, "immediately where it was changed");
        for instance in 0..3 {
            eventually(PATIENCE, async || match self.status(instance, "/k").await {
                status if status == expected => Ok(()),
                other => Err((instance, other)),
            })
            .await;
        }
        start.elapsed()
    }
}

async fn a_change_is_seen_on_every_instance_within_two_seconds(store: &str) {
    let instances = Instances::start(store);
    let url = instances.processes[0].url("/shorten");
    let created = instances.client.post(url).json(&json!({ "key": "k", "url": "https://www.evil.example/" }));
    assert_eq!(created.send().await.unwrap().status(), 201);
    for instance in 0..3 {
        // The second request is served from the cache.
        for _ in 0..2 {
            assert_eq!(instances.status(instance, "/k").await, 302);
        }
    }
    for round in 0..3 {
        let blocked = instances.time_until_all_return(round, (Method::PUT, ".evil.example"), 410).await;
        let other = (round + 1) % 3;
        let unblocked = instances.time_until_all_return(other, (Method::DELETE, ".evil.example"), 302).await;
        eprintln!("{}: blocked after {blocked:?}, unblocked after {unblocked:?}", &store[..5]);
        assert!(blocked < SOON && unblocked < SOON, "{blocked:?} {unblocked:?}");
    }
    let put = instances.client.put(instances.processes[0].url(&path_of("evil.example"))).bearer_auth(WRITE);
    assert_eq!(put.send().await.unwrap().status(), 200);
    let late = Process::start(&[("STORE_URL", store), ("API_TOKENS", TOKENS)]);
    let new = instances.client.post(late.url("/shorten")).form(&[("url", "https://evil.example/")]);
    assert_eq!(new.send().await.unwrap().status(), 403, "the list is loaded before the first request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_sqlite_is_seen_within_two_seconds() {
    let directory = tempfile::tempdir().unwrap();
    a_change_is_seen_on_every_instance_within_two_seconds(&sqlite_in(directory.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_postgres_is_seen_within_two_seconds() {
    let server = Postgres::start();
    a_change_is_seen_on_every_instance_within_two_seconds(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_redis_is_seen_within_two_seconds() {
    let server = Redis::start();
    a_change_is_seen_on_every_instance_within_two_seconds(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_a_redis_cluster_is_seen_within_two_seconds() {
    let cluster = RedisCluster::start();
    a_change_is_seen_on_every_instance_within_two_seconds(&cluster.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_change_feed_a_change_is_seen_within_two_seconds() {
    let shared: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let editor = TestApp::start_on(shared.clone(), &["--api-tokens", TOKENS]).await;
    // This instance receives no change notifications.
    let isolated = TestApp::start_on(Arc::new(FaultyStore::around(shared)), &[]).await;
    create(&editor, json!({ "url": "https://evil.example/", "key": "k" })).await;
    assert_eq!(isolated.get("/k").await.status(), 302);
    for expected in [410, 302] {
        match expected {
            410 => block(&editor, "evil.example").await,
            _ => unblock(&editor, "evil.example").await,
        }
        let start = Instant::now();
        eventually(PATIENCE, async || match isolated.get("/k").await.status().as_u16() {
            status if status == expected => Ok(()),
            other => Err(other),
        })
        .await;
        eprintln!("without a feed: {expected} after {:?}", start.elapsed());
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }
}
