//! A rolling restart of three instances behind a proxy, while clients follow links.

use std::{fs, process::Command, sync::atomic::Ordering};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::{
    Load, PATIENCE, Postgres, Process, Prometheus, Server, client, eventually, free_port, give_away,
    on_free_ports,
};

/// The time from the shutdown signal until the listener closes.
///
/// The proxy notices a shutdown sooner, after two failed polls 100 ms apart.
const DRAIN_DELAY: &str = "1s";

/// Two ways for a proxy to stop using an instance that is shutting down.
///
/// The `ready` backend polls /readyz, which fails for `DRAIN_DELAY` before the listener closes, so no retries are
/// needed. The `live` backend polls /healthz, which succeeds until the process exits, so requests whose connection is
/// refused must be retried on another instance. A request that was already sent is retried only if it is a GET or HEAD.
const PROXY: &str = "
defaults
  mode http
  timeout connect 2s
  timeout client 20s
  timeout server 20s
  default-server check inter 100ms fall 2 rise 1

frontend statistics
  bind 127.0.0.1:STATISTICS
  stats enable
  stats uri /

frontend ready
  bind 127.0.0.1:READY
  default_backend ready

backend ready
  option httpchk GET /readyz
  retries 0
SERVERS

frontend live
  bind 127.0.0.1:LIVE
  default_backend live

backend live
  option httpchk GET /healthz
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response
  http-request disable-l7-retry unless METH_GET || { method HEAD }
SERVERS
";

struct Proxy {
    statistics: String,
    frontends: [String; 2],
    _server: Server,
    _directory: TempDir,
}

impl Proxy {
    fn start(instances: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let servers: String =
            instances.iter().map(|address| format!("  server {address} {address}\n")).collect();
        let address = |port: u16| format!("127.0.0.1:{port}");
        let (statistics, frontends, server) = on_free_ports("cannot bind", |[statistics, ready, live]| {
            let config = PROXY
                .replace("STATISTICS", &statistics.to_string())
                .replace("READY", &ready.to_string())
                .replace("LIVE", &live.to_string())
                .replace("SERVERS\n", &servers);
            fs::write(directory.path().join("haproxy.cfg"), config).unwrap();
            give_away(directory.path());
            let mut command = Command::new("haproxy");
            command.current_dir(directory.path()).args(["-W", "-db", "-f", "haproxy.cfg"]);
            let server = Server::start(command, "Loading success")?;
            Ok((format!("http://{}/;csv", address(statistics)), [ready, live].map(address), server))
        });
        Self { statistics, frontends, _server: server, _directory: directory }
    }

    /// Waits until the given number of instances are up in each backend.
    async fn wait_for(&self, instances: usize) {
        eventually(PATIENCE, async || {
            let text = Client::new().get(&self.statistics).send().await.unwrap().text().await.unwrap();
            let is_up = |line: &&str| line.contains(":") && line.contains(",UP,");
            if text.lines().filter(is_up).count() == 2 * instances { Ok(()) } else { Err(text) }
        })
        .await;
    }
}

fn instance(store: &str, port: u16) -> Process {
    Process::start(&[("STORE_URL", store), ("PORT", &port.to_string()), ("DRAIN_DELAY", DRAIN_DELAY)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_causes_no_failed_requests() {
    let postgres = Postgres::start();
    let store = postgres.url();
    let ports = [free_port(), free_port(), free_port()];
    let mut instances: Vec<_> = ports.iter().map(|port| Some(instance(&store, *port))).collect();
    let addresses: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let proxy = Proxy::start(&addresses);
    let scraped: Vec<_> = addresses.iter().map(String::as_str).collect();
    let prometheus = Prometheus::start_sped_up(&scraped, None);
    proxy.wait_for(3).await;

    let client = client();
    let request = client.post(format!("http://{}/shorten", proxy.frontends[0]));
    let link: Value =
        request.json(&json!({ "url": "https://example.com" })).send().await.unwrap().json().await.unwrap();
    let (load, mut clients) = (Load::default(), JoinSet::new());
    for frontend in proxy.frontends.iter().cycle().take(8) {
        let url = format!("http://{frontend}/{}", link["key"].as_str().unwrap());
        clients.spawn(load.clone().follow(client.clone(), url));
    }
    load.wait_for_more(500).await;
    for (slot, port) in instances.iter_mut().zip(ports) {
        let old = slot.take().unwrap();
        assert!(tokio::task::spawn_blocking(|| old.terminate()).await.unwrap().success());
        proxy.wait_for(2).await;
        load.wait_for_more(200).await;
        *slot = Some(instance(&store, port));
        proxy.wait_for(3).await;
        load.wait_for_more(200).await;
    }
    prometheus.wait_until("count(process_start_time_seconds) == 3", true).await;
    let answered = |outcomes: &str| {
        let of = format!("{{route=\"/{{key}}\",outcome=~\"{outcomes}\"}}");
        format!("sum(increase(http_request_duration_seconds_count{of}[10m]))")
    };
    // Keep the clients running until Prometheus has counted enough redirects. How long this takes depends on the
    // machine.
    prometheus.wait_until(&format!("{} > 1000", answered("redirect")), true).await;
    load.stop.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}

    assert_eq!(*load.failed.lock().unwrap(), [""; 0]);
    // No request may have failed or been abandoned. Don't check latency, because it depends on the machine.
    assert_eq!(prometheus.query(&answered("server_error|abandoned")).await, [0.0]);
}
