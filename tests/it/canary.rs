//! Canary deployment: a new version first gets a tenth of the requests.
//!
//! On AWS, the load balancer shifts the requests. Here, haproxy does it with server weights. Like the alarms of the
//! real deployment, the test looks only at the proxy's counters: a version is rolled back if more than 1 % of requests
//! fail.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::{Postgres, Process, Server, client, give_away, on_free_ports};

const PROXY: &str = "
global
  stats socket ipv4@127.0.0.1:ADMIN level admin

defaults
  mode http
  timeout connect 1s
  timeout client 20s
  # The load balancer on AWS waits for 60 s.
  timeout server 500ms
  retries 0
  # On a keep-alive connection, haproxy would hide a reset by closing it, without counting an error.
  option httpclose

frontend service
  bind 127.0.0.1:SERVICE
  default_backend service

backend service
  server old OLD weight 100
  server new NEW weight 0
";

/// The number of requests after which a version is judged.
const REQUESTS: usize = 400;

struct Proxy {
    service: String,
    admin: String,
    _server: Server,
    _directory: TempDir,
}

impl Proxy {
    fn start(old: &str, new: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (service, admin, server) = on_free_ports("cannot bind", |[service, admin]| {
            let config = PROXY
                .replace("SERVICE", &service.to_string())
                .replace("ADMIN", &admin.to_string())
                .replace("OLD", old)
                .replace("NEW", new);
            fs::write(directory.path().join("haproxy.cfg"), config).unwrap();
            give_away(directory.path());
            let mut command = Command::new("haproxy");
            command.current_dir(directory.path()).args(["-W", "-db", "-f", "haproxy.cfg"]);
            Ok((service, admin, Server::start(command, "Loading success")?))
        });
        let [service, admin] = [service, admin].map(|port| format!("127.0.0.1:{port}"));
        Self { service, admin, _server: server, _directory: directory }
    }

    fn run(&self, command: &str) -> String {
        let mut connection = TcpStream::connect(&self.admin).unwrap();
        connection.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut response = String::new();
        connection.read_to_string(&mut response).unwrap();
        response
    }

    /// Sends `percent` of the requests to the new version.
    fn shift(&self, percent: u32) {
        for (server, weight) in [("new", percent), ("old", 100 - percent)] {
            let response = self.run(&format!("set weight service/{server} {weight}"));
            assert_eq!(response.trim(), "", "haproxy refuses a weight");
        }
    }

    /// Returns the number of requests so far, and how many got a 5xx, including from the proxy itself.
    fn counts(&self) -> (usize, usize) {
        let statistics = self.run("show stat");
        let row = |start| statistics.lines().find_map(|line| line.strip_prefix(start)).unwrap().split(',');
        let (names, values): (Vec<_>, Vec<_>) =
            (row("# pxname,svname,").collect(), row("service,BACKEND,").collect());
        let count = |name| -> usize {
            values[names.iter().position(|known| *known == name).unwrap()].parse().unwrap()
        };
        (count("req_tot"), count("hrsp_5xx"))
    }
}

/// Follows a link from eight clients, and returns how many requests got no redirect.
async fn follow(url: &str, times: usize) -> usize {
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let url = url.to_owned();
        clients.spawn(async move {
            let client = client();
            let mut failed = 0;
            for _ in 0..times / 8 {
                let response = client.get(&url).send().await;
                failed += usize::from(!response.is_ok_and(|response| response.status() == 302));
            }
            failed
        });
    }
    clients.join_all().await.into_iter().sum()
}

/// Deploys the new version, and returns whether it was promoted.
///
/// At first, a tenth of the requests go to it, then all or none.
async fn deploy(proxy: &Proxy, url: &str) -> bool {
    let before = proxy.counts();
    proxy.shift(10);
    follow(url, REQUESTS).await;
    let (requests, failed) = proxy.counts();
    let (requests, failed) = (requests - before.0, failed - before.1);
    assert!(requests >= REQUESTS * 8 / 10, "{requests} requests");
    let promoted = failed * 100 <= requests;
    proxy.shift(if promoted { 100 } else { 0 });
    promoted
}

async fn create_link(service: &str) -> String {
    let request = Client::new().post(format!("http://{service}/shorten"));
    let response = request.json(&json!({ "url": "https://example.com" })).send().await.unwrap();
    let link: Value = response.json().await.unwrap();
    format!("http://{service}/{}", link["key"].as_str().unwrap())
}

/// The way a broken version handles a connection after it has read a request.
type Fault = fn(TcpStream);

/// Starts a broken version, and returns its address.
fn broken(fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut connection = connection;
                // The request's head fits into the buffer.
                let _ = connection.read(&mut [0; 4096]);
                fault(connection);
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_version_gets_all_requests_and_none_fails() {
    let postgres = Postgres::start();
    let instance = || Process::start(&[("STORE_URL", &postgres.url())]);
    let (old, new) = (instance(), instance());
    let proxy = Proxy::start(&old.address, &new.address);
    let url = create_link(&proxy.service).await;

    assert!(deploy(&proxy, &url).await);
    assert_eq!(follow(&url, REQUESTS).await, 0);
    assert!(tokio::task::spawn_blocking(|| old.terminate()).await.unwrap().success());
    assert_eq!(follow(&url, REQUESTS).await, 0);
    assert_eq!(proxy.counts().1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_resets_connections_hangs_or_fails_is_rolled_back() {
    let faults: [(&str, Fault); 3] = [
        ("resets", drop),
        ("hangs", |mut connection| {
            // Wait until the other side gives up.
            let _ = connection.read_to_end(&mut Vec::new());
        }),
        ("fails", |mut connection| {
            let _ = connection.write_all(
                b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }),
    ];
    let old = Process::start(&[("STORE_URL", "memory:")]);
    for (name, fault) in faults {
        let proxy = Proxy::start(&old.address, &broken(fault));
        let url = create_link(&proxy.service).await;
        assert_eq!(follow(&url, 8).await, 0, "before a version that {name}");
        assert!(!deploy(&proxy, &url).await, "a version that {name} was promoted");
        assert_eq!(follow(&url, REQUESTS).await, 0, "after a version that {name}");
    }
}
