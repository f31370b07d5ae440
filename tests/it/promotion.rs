//! Failover: a replica is promoted, and the address that the service uses moves to it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Forwarder, PATIENCE, Postgres, Process, Redis, RemoteServer, client, eventually};

/// The maximum time after the address has moved until links can be created again.
const RECOVERY: Duration = Duration::from_secs(10);

/// Clients that continuously create links and record the acknowledged ones.
struct Writers {
    stop: Arc<AtomicBool>,
    created: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<HashMap<String, String>>>,
}

impl Writers {
    fn start(process: &Process) -> Self {
        let (stop, created) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let writer = |writer: usize| {
            let (stop, created, url) = (stop.clone(), created.clone(), process.url("/shorten"));
            async move {
                let (client, mut links) = (client(), HashMap::new());
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let target = format!("https://{writer}.example/{n}");
                    let response = client.post(&url).json(&json!({ "url": target })).send().await.unwrap();
                    if response.status() == StatusCode::CREATED {
                        let link: Value = response.json().await.unwrap();
                        links.insert(link["key"].as_str().unwrap().to_owned(), target);
                        created.fetch_add(1, Ordering::Relaxed);
                    }
                }
                links
            }
        };
        let tasks = (0..8).map(|number| tokio::spawn(writer(number))).collect();
        Self { stop, created, tasks }
    }

    /// Waits until 100 more links have been created.
    async fn wait_for_progress(&self, limit: Duration) {
        let goal = self.created.load(Ordering::Relaxed) + 100;
        eventually(limit, async || match self.created.load(Ordering::Relaxed) {
            created if created >= goal => Ok(()),
            created => Err((created, goal)),
        })
        .await;
    }

    async fn stop(self) -> HashMap<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.tasks).await.into_iter().flat_map(Result::unwrap).collect()
    }
}

async fn assert_nothing_is_lost(process: &Process, links: &HashMap<String, String>) {
    let client = client();
    let mut lost = Vec::new();
    for (key, target) in links {
        let response = client.get(process.url(&format!("/{key}"))).send().await.unwrap();
        if response.headers().get("location").is_none_or(|location| location != target.as_str()) {
            lost.push((key, response.status()));
        }
    }
    assert!(lost.is_empty(), "{} of {} acknowledged links: {lost:?}", lost.len(), links.len());
}

async fn wait_for_readiness(process: &Process, expected: u16, limit: Duration) {
    let client = client();
    eventually(limit, async || {
        let status = client.get(process.url("/readyz")).send().await.unwrap().status().as_u16();
        if status == expected { Ok(()) } else { Err(status) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_promotion_of_redis_links_can_be_created_again_and_none_is_lost() {
    // Start a full synchronization without delay.
    let durable = ["--appendonly", "yes", "--repl-diskless-sync-delay", "0"];
    let (primary, replica) = (Redis::start_with(&durable), Redis::start_with(&durable));
    let port = |server: &Redis| server.port.to_string();
    replica.cli(&["REPLICAOF", "127.0.0.1", &port(&primary)]);
    eventually(PATIENCE, async || {
        let info = replica.cli(&["INFO", "replication"]);
        if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
    })
    .await;
    let forwarder = Forwarder::start(primary.port).await;
    let url = format!("redis://127.0.0.1:{}?wait_replicas=1", forwarder.port);
    let process = Process::start(&[("STORE_URL", &url), ("CACHE_BYTES", "0"), ("STORE_TIMEOUT", "1s")]);
    let writers = Writers::start(&process);
    writers.wait_for_progress(PATIENCE).await;

    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    primary.cli(&["REPLICAOF", "127.0.0.1", &port(&replica)]);
    // The address still leads to the old primary, which responds but doesn't accept writes.
    wait_for_readiness(&process, 503, PATIENCE).await;
    forwarder.move_to(replica.port);
    assert_recovers(&process, writers).await;
}

/// Waits until link creation works on every connection in the pool.
async fn wait_until_all_creates_work(process: &Process, limit: Duration) {
    let client = client();
    let create = || async {
        let request = client.post(process.url("/shorten")).json(&json!({ "url": "https://example.com" }));
        request.send().await.unwrap().status()
    };
    eventually(limit, async || {
        let created = join_all((0..200).map(|_| create())).await;
        match created.into_iter().find(|status| *status != StatusCode::CREATED) {
            None => Ok(()),
            Some(status) => Err(status),
        }
    })
    .await;
}

/// Starts a standby, and waits until it follows `primary` synchronously.
async fn standby_of(primary: &Postgres) -> Postgres {
    let conninfo = format!(
        "primary_conninfo=host=127.0.0.1 port={} user=postgres password='{}'",
        primary.port,
        Postgres::PASSWORD
    );
    let standby = primary.standby(vec![conninfo]);
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&primary.url()).await.unwrap();
    let following = async || {
        let state: Option<String> = sqlx::query_scalar("SELECT sync_state FROM pg_stat_replication")
            .fetch_optional(&mut admin)
            .await
            .unwrap();
        if state.as_deref() == Some("sync") { Ok(()) } else { Err(state) }
    };
    eventually(PATIENCE, following).await;
    standby
}

/// Waits until the service has used several connections to a server.
async fn wait_until_used(server: &Postgres) {
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&server.url()).await.unwrap();
    let mut processes = std::collections::HashSet::new();
    eventually(PATIENCE, async || {
        let used: Vec<i32> = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .fetch_all(&mut admin)
        .await
        .unwrap();
        processes.extend(used);
        if processes.len() >= 4 { Ok(()) } else { Err(processes.len()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_promotion_of_postgres_links_can_be_created_again_and_none_is_lost() {
    let mut primary =
        Postgres::start_with(|_| vec!["synchronous_standby_names=*".into(), "wal_level=replica".into()]);
    let standby = standby_of(&primary).await;
    let forwarder = Forwarder::start(primary.port).await;
    let url = forwarder.replace_in(&primary.url(), primary.port);
    let process = Process::start(&[("STORE_URL", &url), ("CACHE_BYTES", "0"), ("STORE_TIMEOUT", "1s")]);
    let writers = Writers::start(&process);
    writers.wait_for_progress(PATIENCE).await;

    primary.kill();
    standby.promote();
    // The old primary comes back as a standby, and the address still leads to it.
    primary.restart_as_standby();
    // The service now connects to this standby. If it didn't check the server's role, it would keep these connections.
    wait_until_used(&primary).await;
    wait_for_readiness(&process, 503, PATIENCE).await;
    forwarder.move_to(standby.port);
    assert_recovers(&process, writers).await;
}

/// Asserts that the service recovers in time without losing acknowledged links.
async fn assert_recovers(process: &Process, writers: Writers) {
    let start = Instant::now();
    writers.wait_for_progress(RECOVERY).await;
    wait_for_readiness(process, 200, RECOVERY.saturating_sub(start.elapsed())).await;
    wait_until_all_creates_work(process, RECOVERY.saturating_sub(start.elapsed())).await;
    assert_nothing_is_lost(process, &writers.stop().await).await;
}
