//! Alerting end to end: a real Prometheus and Alertmanager watch the real service while its store fails.
//!
//! Prometheus and Alertmanager use this repository's rules and routes, with shortened durations.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    routing::post,
};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    monitoring::dashboard_expressions,
    support::{Alertmanager, PATIENCE, Postgres, Process, Prometheus, RemoteServer, client, eventually},
};

/// A stand-in for the pager and the issue tracker. It records each notification as `receiver alertname status`.
#[derive(Clone, Default)]
struct Receivers(Arc<Mutex<Vec<String>>>);

impl Receivers {
    /// Starts listening and returns the address.
    async fn start(&self) -> String {
        async fn record(
            State(Receivers(received)): State<Receivers>,
            Path(receiver): Path<String>,
            notification: String,
        ) {
            let notification: Value = serde_json::from_str(&notification).unwrap();
            for alert in notification["alerts"].as_array().unwrap() {
                let name = alert["labels"]["alertname"].as_str().unwrap();
                received
                    .lock()
                    .unwrap()
                    .push(format!("{receiver} {name} {}", alert["status"].as_str().unwrap()));
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().route("/{receiver}", post(record)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn received(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn wait_for(&self, notification: &str) {
        eventually(PATIENCE, async || {
            let received = self.received();
            if received.iter().any(|other| other == notification) {
                Ok(())
            } else {
                Err((notification, received))
            }
        })
        .await;
    }
}

/// Sends a mix of requests until the returned `JoinSet` is dropped.
///
/// Each client sends at most 20 requests per second.
fn mixed_load(clients: usize, process: &Process, key: &str) -> JoinSet<()> {
    let client = client();
    let (link, base) = (process.url(&format!("/{key}")), process.url(""));
    let mut load = JoinSet::new();
    for worker in 0..clients {
        let (client, link, base) = (client.clone(), link.clone(), base.clone());
        load.spawn(async move {
            let mut ticks = interval(Duration::from_millis(50));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for turn in worker.. {
                ticks.tick().await;
                let request = match turn % 20 {
                    0 => {
                        client.post(format!("{base}/shorten")).json(&json!({ "url": "https://example.com" }))
                    }
                    1 => client.get(format!("{base}/unknown")),
                    2 => client.head(&link),
                    3 => client.get(format!("{base}/healthz")),
                    4 => client.post(format!("{base}/shorten")).body("nonsense"),
                    _ => client.get(&link),
                };
                // Ignore the result, because Prometheus evaluates the outcomes.
                let _ = request.send().await;
            }
        });
    }
    load
}

async fn shorten(process: &Process) -> String {
    let request = Client::new().post(process.url("/shorten")).json(&json!({ "url": "https://example.com" }));
    let link: Value = request.send().await.unwrap().json().await.unwrap();
    link["key"].as_str().unwrap().to_owned()
}

/// Repeatedly locks the `links` table for 400 ms.
///
/// Dropping the returned value stops the locking.
fn slow_store(postgres: &Postgres) -> impl Drop {
    struct Locks(std::process::Child);
    impl Drop for Locks {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
    let mut psql = Command::new("psql")
        .args(["-q", "-v", "ON_ERROR_STOP=1", &postgres.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lock = "begin; lock table links; select pg_sleep(0.4); commit; select pg_sleep(0.1);\n";
    psql.stdin.take().unwrap().write_all(lock.repeat(500).as_bytes()).unwrap();
    Locks(psql)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_or_slow_store_pages_and_its_recovery_resolves_the_alert() {
    let mut postgres = Postgres::start();
    let store = postgres.url();
    // `bare` has no cache, so each of its redirects needs the store. Most redirects by `cached` don't.
    let bare = Process::start(&[("STORE_URL", &store), ("CACHE_BYTES", "0")]);
    let cached = Process::start(&[("STORE_URL", &store)]);
    let receivers = Receivers::default();
    let alertmanager = Alertmanager::start_sped_up(&receivers.start().await);
    let prometheus = Prometheus::start_sped_up(&[&bare.address, &cached.address], Some(&alertmanager));
    let key = shorten(&bare).await;
    let _load = [mixed_load(16, &bare, &key), mixed_load(1, &cached, &key)];

    let all_is_well = "sum(job:redirects_valid:rate5m) > 50 unless on () ALERTS{severity=\"page\"}";
    prometheus.wait_until(all_is_well, true).await;

    postgres.freeze();
    prometheus.wait_for_alert("ErrorBudgetBurn1h", true).await;
    prometheus.wait_for_alert("StoreDown", true).await;
    receivers.wait_for("page ErrorBudgetBurn1h firing").await;
    receivers.wait_for("page StoreDown firing").await;
    postgres.thaw();
    prometheus.wait_for_alert("StoreDown", false).await;
    prometheus.wait_for_alert("ErrorBudgetBurn1h", false).await;
    receivers.wait_for("page ErrorBudgetBurn1h resolved").await;

    // Redirects still work, but they are slow.
    let locks = slow_store(&postgres);
    let late = "sum(rate(http_request_duration_seconds_count{outcome=\"redirect\",route=\"/{key}\"}[2s])) \
                - sum(rate(http_request_duration_seconds_bucket{outcome=\"redirect\",route=\"/{key}\",le=\"0.2\"}[2s])) \
                > 0.1 * sum(job:redirects_valid:rate5m)";
    prometheus.wait_until(late, true).await;
    prometheus.wait_for_alert("ErrorBudgetBurn1h", true).await;
    drop(locks);
    prometheus.wait_for_alert("ErrorBudgetBurn1h", false).await;

    every_dashboard_shows_something(&prometheus).await;
    every_rule_works(&prometheus).await;
    promtool_accepts_the_metrics(&bare).await;
}

async fn every_dashboard_shows_something(prometheus: &Prometheus) {
    for expression in dashboard_expressions() {
        let query = expression
            .replace("$__rate_interval", "2m")
            .replace("$job", "urlshort")
            .replace("$instance", ".*");
        assert!(!query.contains('$'), "{query}");
        let values = prometheus.query(&query).await;
        assert!(values.iter().any(|value| value.is_finite()), "{query} shows nothing: {values:?}");
    }
}

async fn every_rule_works(prometheus: &Prometheus) {
    for rule in prometheus.rules().await {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

async fn promtool_accepts_the_metrics(process: &Process) {
    let metrics = Client::new().get(process.url("/metrics")).send().await.unwrap().bytes().await.unwrap();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(&metrics).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let messages = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && messages.is_empty(), "{messages}");
}

#[tokio::test]
async fn pages_and_tickets_reach_their_receivers_and_inhibited_tickets_reach_nobody() {
    let receivers = Receivers::default();
    let alertmanager = Alertmanager::start_sped_up(&receivers.start().await);
    let alert = |name, severity, subject, job| json!({ "alertname": name, "severity": severity, "subject": subject, "job": job });
    let page = alert("ErrorBudgetBurn1h", "page", "redirects", "urlshort");
    let same_subject = alert("ErrorBudgetBurn3d", "ticket", "redirects", "urlshort");
    alertmanager.raise(&[page, same_subject]).await;
    receivers.wait_for("page ErrorBudgetBurn1h firing").await;

    // A page doesn't inhibit tickets about other subjects or tickets for other jobs.
    let other_subject = alert("LogLinesDropped", "ticket", "logs", "urlshort");
    let other_job = alert("ErrorBudgetBurn3d", "ticket", "redirects", "elsewhere");
    alertmanager.raise(&[other_subject, other_job]).await;
    receivers.wait_for("ticket LogLinesDropped firing").await;
    receivers.wait_for("ticket ErrorBudgetBurn3d firing").await;

    // StoreDown inhibits all tickets for the same job.
    let store = alert("StoreDown", "page", "store", "urlshort");
    alertmanager.raise(&[store, alert("ClicksDropped", "ticket", "clicks", "urlshort")]).await;
    receivers.wait_for("page StoreDown firing").await;
    alertmanager.raise(&[alert("ServerErrors", "ticket", "requests", "elsewhere")]).await;
    receivers.wait_for("ticket ServerErrors firing").await;

    let mut inhibited = alertmanager.inhibited().await;
    inhibited.sort();
    assert_eq!(inhibited, ["ClicksDropped", "ErrorBudgetBurn3d", "LogLinesDropped"]);
    let tickets = |name: &str| {
        receivers.received().iter().filter(|received| received.starts_with(&format!("ticket {name}"))).count()
    };
    assert_eq!(
        (tickets("ErrorBudgetBurn3d"), tickets("ClicksDropped")),
        (1, 0),
        "{:?}",
        receivers.received()
    );
}
