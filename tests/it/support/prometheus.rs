//! Prometheus and Alertmanager with this repository's rules and routes, optionally with shortened durations.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;

use super::server::{Server, give_away, on_free_ports};

/// The factor by which durations in rules and routes are shortened: an hour becomes 20 seconds.
const SPEEDUP: u64 = 180;

/// The minimum interval between rule evaluations, in milliseconds.
const MIN_INTERVAL: u64 = 250;

/// The interval between scrapes of an instance.
const SCRAPE_INTERVAL: &str = "250ms";

/// A Prometheus server that scrapes instances under the `urlshort` job.
pub(crate) struct Prometheus {
    url: String,
    client: Client,
    _server: Server,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts a server with the original rules.
    pub(crate) fn start() -> Self {
        Self::start_with(&[], None, |rules| rules)
    }

    /// Starts a server with shortened durations.
    ///
    /// The server sends its alerts to `alertmanager`.
    pub(crate) fn start_sped_up(instances: &[&str], alertmanager: Option<&Alertmanager>) -> Self {
        Self::start_with(instances, alertmanager, |rules| speed_up(&rules))
    }

    fn start_with(
        instances: &[&str],
        alertmanager: Option<&Alertmanager>,
        change: impl Fn(String) -> String,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for rules in ["slo.yml", "service.yml"] {
            let text = fs::read_to_string(monitoring().join("rules").join(rules)).unwrap();
            fs::write(directory.path().join(rules), change(text)).unwrap();
        }
        let alertmanagers: Vec<_> = alertmanager.map(|server| server.address.as_str()).into_iter().collect();
        let config = serde_json::json!({
            "global": { "scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL },
            "rule_files": ["slo.yml", "service.yml"],
            "alerting": { "alertmanagers": [{ "static_configs": [{ "targets": alertmanagers }] }] },
            "scrape_configs": [{ "job_name": "urlshort", "static_configs": [{ "targets": instances }] }],
        });
        // Write JSON, which is also valid YAML.
        fs::write(directory.path().join("prometheus.yml"), config.to_string()).unwrap();
        give_away(directory.path());
        let (server, address) = on_free_port(|address| {
            let mut command = Command::new("prometheus");
            command.current_dir(directory.path());
            command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
            command.args([
                &format!("--web.listen-address={address}"),
                "--alertmanager.notification-queue-capacity=1000",
            ]);
            Server::start(command, "Server is ready to receive web requests")
        });
        Self {
            url: format!("http://{address}"),
            client: Client::new(),
            _server: server,
            _directory: directory,
        }
    }

    /// Returns the data at `path` in the HTTP API.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.url), query).unwrap();
        let body: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(body["status"], "success", "{query:?}: {body}");
        body["data"].clone()
    }

    /// Returns the current values of an expression.
    pub(crate) async fn query(&self, expression: &str) -> Vec<f64> {
        let data = self.get("/api/v1/query", &[("query", expression)]).await;
        let series = data["result"].as_array().unwrap().iter();
        series.map(|series| series["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }

    /// Waits until an expression has a result, or until it has none.
    pub(crate) async fn wait_until(&self, expression: &str, has_result: bool) {
        let waiting = async {
            while self.query(expression).await.is_empty() == has_result {
                tokio::time::sleep(POLL).await;
            }
        };
        if tokio::time::timeout(super::PATIENCE, waiting).await.is_err() {
            let alerts = self.get("/api/v1/query", &[("query", "ALERTS or {__name__=~\"job:.*\"}")]).await;
            panic!("{expression} has {} result; {alerts}", if has_result { "no" } else { "a" });
        }
    }

    /// Waits until an alert fires, or until it stops firing.
    pub(crate) async fn wait_for_alert(&self, name: &str, fires: bool) {
        let expression = format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}");
        self.wait_until(&expression, fires).await;
    }

    /// Returns every rule as parsed by Prometheus.
    pub(crate) async fn rules(&self) -> Vec<Value> {
        let data = self.get("/api/v1/rules", &[]).await;
        let groups = data["groups"].as_array().unwrap();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }
}

/// The interval between two checks of a condition.
const POLL: Duration = Duration::from_millis(100);

/// An Alertmanager that sends notifications to `/page` and `/ticket`.
pub(crate) struct Alertmanager {
    address: String,
    client: Client,
    _server: Server,
    _directory: TempDir,
}

impl Alertmanager {
    pub(crate) fn start_sped_up(receiver: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = speed_up(&fs::read_to_string(monitoring().join("alertmanager.yml")).unwrap());
        let config = config.replace("notifications:8080", receiver);
        fs::write(directory.path().join("alertmanager.yml"), config).unwrap();
        give_away(directory.path());
        let (server, address) = on_free_port(|address| {
            let mut command = Command::new("prometheus-alertmanager");
            command.current_dir(directory.path());
            command.args([
                "--config.file=alertmanager.yml",
                "--storage.path=data",
                "--cluster.listen-address=",
            ]);
            command.arg(format!("--web.listen-address={address}"));
            Server::start(command, "Listening on")
        });
        Self { address, client: Client::new(), _server: server, _directory: directory }
    }

    /// Raises alerts with these labels, as Prometheus does.
    pub(crate) async fn raise(&self, alerts: &[Value]) {
        let alerts: Vec<_> = alerts.iter().map(|labels| serde_json::json!({ "labels": labels })).collect();
        let url = format!("http://{}/api/v2/alerts", self.address);
        self.client.post(url).json(&alerts).send().await.unwrap().error_for_status().unwrap();
    }

    /// Returns the names of the alerts inhibited by others.
    pub(crate) async fn inhibited(&self) -> Vec<String> {
        let url = format!("http://{}/api/v2/alerts", self.address);
        let alerts: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        let alerts = alerts.as_array().unwrap().iter();
        let inhibited = alerts.filter(|alert| !alert["status"]["inhibitedBy"].as_array().unwrap().is_empty());
        inhibited.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

/// Returns the directory with the rules, routes and dashboards.
pub(crate) fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/monitoring")
}

/// Starts a server on a free port, and returns its address.
fn on_free_port(start: impl Fn(&str) -> Result<Server, String>) -> (Server, String) {
    on_free_ports("address already in use", |[port]| {
        let address = format!("127.0.0.1:{port}");
        Ok((start(&address)?, address))
    })
}

/// Shortens every duration in a rules or routes file.
///
/// The durations are the ranges in brackets and the values of the keys in `KEYS`.
fn speed_up(text: &str) -> String {
    const KEYS: [&str; 5] = ["for: ", "interval: ", "group_wait: ", "group_interval: ", "repeat_interval: "];
    let mut lines = String::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let key = KEYS.into_iter().find(|key| trimmed.starts_with(key));
        let line = match key.and_then(|key| Some((key, milliseconds(trimmed.strip_prefix(key)?)?))) {
            Some((key, duration)) => {
                let indent = &line[..line.len() - trimmed.len()];
                let least = if key == "interval: " { MIN_INTERVAL } else { 1 };
                format!("{indent}{key}{}ms", (duration / SPEEDUP).max(least))
            }
            None => speed_up_ranges(line),
        };
        lines += &line;
        lines.push('\n');
    }
    lines
}

fn speed_up_ranges(line: &str) -> String {
    let mut parts = line.split('[');
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let range = part.split_once(']').and_then(|(range, rest)| Some((milliseconds(range)?, rest)));
        match range {
            Some((range, rest)) => changed += &format!("[{}ms]{rest}", range / SPEEDUP),
            None => changed += &format!("[{part}"),
        }
    }
    changed
}

fn milliseconds(duration: &str) -> Option<u64> {
    let (number, unit) = duration.split_at_checked(duration.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit)
}
