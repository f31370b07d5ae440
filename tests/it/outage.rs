//! Store outages, during which known links keep redirecting.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::{Client, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{PATIENCE, Postgres, Process, Redis, RedisCluster, RemoteServer, client, eventually};

/// The `STORE_TIMEOUT` of the process under test.
const DEADLINE: Duration = Duration::from_secs(2);

/// The number of redirects per phase.
///
/// It is so high that a few slow redirects don't affect the 99th percentile.
const PER_PHASE: usize = 4000;

async fn shorten(client: &Client, url: &str) -> Option<(String, String)> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let target = format!("https://{}.example/", NUMBER.fetch_add(1, Ordering::Relaxed));
    let request = client.post(url).json(&json!({ "url": target }));
    let response = request.send().await.unwrap();
    match response.status() {
        StatusCode::CREATED => {
            let link: Value = response.json().await.unwrap();
            Some((link["key"].as_str().unwrap().to_owned(), target))
        }
        StatusCode::SERVICE_UNAVAILABLE => None,
        other => panic!("{other}"),
    }
}

/// Clients that continuously follow known links and time each redirect.
struct Load {
    durations: Arc<Mutex<Vec<Duration>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(process: &Process, links: &HashMap<String, String>) -> Self {
        let (durations, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let clients = (0..4)
            .map(|_| {
                let links: Vec<_> = links
                    .iter()
                    .map(|(key, target)| (process.url(&format!("/{key}")), target.clone()))
                    .collect();
                let (durations, stop, client) = (durations.clone(), stop.clone(), client());
                tokio::spawn(async move {
                    for (url, target) in links.iter().cycle() {
                        let start = Instant::now();
                        let response = client.get(url).send().await.unwrap();
                        assert_eq!(response.status(), 302, "a known link fails");
                        assert_eq!(response.headers()[header::LOCATION], target.as_str());
                        durations.lock().unwrap().push(start.elapsed());
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                })
            })
            .collect();
        Self { durations, stop, clients }
    }

    /// Waits for enough redirects, and returns the 99th percentile of their durations.
    async fn p99(&self) -> Duration {
        eventually(PATIENCE * 2, async || {
            assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client has failed");
            let followed = self.durations.lock().unwrap().len();
            if followed < PER_PHASE { Err(followed) } else { Ok(()) }
        })
        .await;
        let mut phase = std::mem::take(&mut *self.durations.lock().unwrap());
        phase.sort_unstable();
        phase[phase.len() * 99 / 100]
    }

    fn begin_phase(&self) {
        self.durations.lock().unwrap().clear();
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.clients).await.into_iter().for_each(Result::unwrap);
    }
}

async fn wait_for_readiness(client: &Client, process: &Process, expected: u16) -> Value {
    let response = eventually(PATIENCE, async || {
        let response = client.get(process.url("/readyz")).send().await.unwrap();
        if response.status() == expected { Ok(response) } else { Err(response.status()) }
    });
    response.await.json().await.unwrap()
}

/// Requests a key that has never been requested before.
async fn request_unknown(client: &Client, process: &Process) -> Response {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let key = format!("/unknown-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    client.get(process.url(&key)).send().await.unwrap()
}

/// Asserts that a request for an unknown key promptly gets a 503.
///
/// The response must have a `Retry-After` header.
async fn assert_unknown_is_unavailable(client: &Client, process: &Process) {
    let start = Instant::now();
    let response = request_unknown(client, process).await;
    let took = start.elapsed();
    assert!(took < DEADLINE * 5, "{took:?}");
    assert_eq!(response.status(), 503);
    let seconds: u32 = response.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!(seconds > 0);
}

async fn known_links_survive_every_outage(mut server: impl RemoteServer, url: &str, name: &str) {
    let process = Process::start(&[("STORE_URL", url), ("STORE_TIMEOUT", "2s"), ("CACHE_TTL", "1s")]);
    let (client, shorten_url) = (client(), process.url("/shorten"));
    let mut links = HashMap::new();
    for _ in 0..20 {
        links.extend(shorten(&client, &shorten_url).await);
    }
    assert!(!links.is_empty());
    let load = Load::start(&process, &links);
    // After this wait, all links are cached.
    load.p99().await;

    for (outage, end) in [
        (RemoteServer::kill as fn(&mut _), RemoteServer::restart as fn(&mut _)),
        (RemoteServer::freeze, RemoteServer::thaw),
    ] {
        outage(&mut server);
        load.begin_phase();
        assert_unknown_is_unavailable(&client, &process).await;
        let unready = wait_for_readiness(&client, &process, 503).await;
        assert_eq!(unready["store"]["name"], name);
        assert_eq!(client.get(process.url("/healthz")).send().await.unwrap().status(), 200);
        for _ in 0..20 {
            assert_unknown_is_unavailable(&client, &process).await;
        }
        let during = load.p99().await;
        assert!(during < DEADLINE / 2, "known links wait for the store: p99 is {during:?}");
        end(&mut server);
        wait_for_readiness(&client, &process, 200).await;
        eventually(PATIENCE, async || match request_unknown(&client, &process).await.status() {
            StatusCode::NOT_FOUND => Ok(()),
            other => Err(other),
        })
        .await;
        // The first write on a lost connection fails, so retry.
        let (key, target) =
            eventually(PATIENCE, async || shorten(&client, &shorten_url).await.ok_or("unavailable")).await;
        let response = client.get(process.url(&format!("/{key}"))).send().await.unwrap();
        assert_eq!(response.headers()[header::LOCATION], target.as_str());
    }
    load.stop().await;
    assert!(process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn known_links_survive_an_outage_of_postgres() {
    let server = Postgres::start();
    let url = server.url();
    known_links_survive_every_outage(server, &url, "postgres").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_links_survive_an_outage_of_redis() {
    let server = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let url = server.url();
    known_links_survive_every_outage(server, &url, "redis").await;
}

/// Writers that continuously create links and record the acknowledged ones.
struct Writers {
    stop: Arc<AtomicBool>,
    created: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<HashMap<String, String>>>,
}

impl Writers {
    fn start(process: &Process) -> Self {
        let (stop, created) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..16)
            .map(|_| {
                let (stop, created, url) = (stop.clone(), created.clone(), process.url("/shorten"));
                tokio::spawn(async move {
                    let (client, mut links) = (client(), HashMap::new());
                    while !stop.load(Ordering::Relaxed) {
                        if let Some((key, target)) = shorten(&client, &url).await {
                            links.insert(key, target);
                            created.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    links
                })
            })
            .collect();
        Self { stop, created, tasks }
    }

    /// Waits until `count` more links have been created.
    async fn wait_for(&self, count: usize) {
        let goal = self.created.load(Ordering::Relaxed) + count;
        eventually(PATIENCE * 2, async || {
            let created = self.created.load(Ordering::Relaxed);
            if created < goal { Err(created) } else { Ok(()) }
        })
        .await;
    }

    async fn stop(self) -> HashMap<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.tasks).await.into_iter().flat_map(Result::unwrap).collect()
    }
}

async fn assert_all_redirect(process: &Process, links: &HashMap<String, String>) {
    let client = client();
    for (key, target) in links {
        let response = eventually(PATIENCE, async || {
            let response = client.get(process.url(&format!("/{key}"))).send().await.unwrap();
            if response.status() == 503 { Err("a node is still down") } else { Ok(response) }
        });
        let response = response.await;
        assert_eq!(response.status(), 302, "{key} was acknowledged");
        assert_eq!(response.headers()[header::LOCATION], target.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_killed_under_writers_loses_no_acknowledged_link() {
    let mut server = Postgres::start();
    let variables = [("STORE_URL", &*server.url()), ("CACHE_BYTES", "0")];
    let process = Process::start(&variables);
    let writers = Writers::start(&process);
    for _ in 0..3 {
        writers.wait_for(200).await;
        server.kill();
        server.restart();
    }
    writers.wait_for(200).await;
    let links = writers.stop().await;
    assert_all_redirect(&process, &links).await;
}

/// With `wait_replicas=1`, an acknowledged link is on two nodes, so it survives the loss of one node.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_loses_a_master_recovers_and_keeps_replicated_links() {
    let mut cluster = RedisCluster::start();
    let url = format!("{}?wait_replicas=1", cluster.url());
    let process = Process::start(&[("STORE_URL", &url), ("CACHE_BYTES", "0"), ("STORE_TIMEOUT", "1s")]);
    let writers = Writers::start(&process);
    writers.wait_for(500).await;
    cluster.kill_a_master();
    cluster.wait_until_healthy();
    wait_for_readiness(&client(), &process, 200).await;
    // The promoted replica has no replica of its own, so links in its slots are created but not acknowledged.
    writers.wait_for(500).await;
    let links = writers.stop().await;
    assert_all_redirect(&process, &links).await;
}
