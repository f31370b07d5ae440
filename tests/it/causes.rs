//! Store problems as operators see them: at startup, in the log, and on the private `/readyz`.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use reqwest::Client;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Postgres, Process, Redis, RemoteServer, client, documented_messages, eventually, free_port,
};

/// Starts the program, which must fail, and returns its error output.
fn start_error(store_url: &str) -> String {
    let output = Process::command(&[("STORE_URL", store_url)]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "nothing is logged twice");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_store_that_cannot_be_opened_is_named_with_its_address_and_the_cause() {
    let (server, port) = (Postgres::start(), free_port());
    let at = format!("127.0.0.1:{}", server.port);
    for (url, expected) in [
        (
            format!("postgres://u@127.0.0.1:{port}/d"),
            format!(
                "the postgres store: can't connect to 127.0.0.1:{port}: Connection refused (os error 111)"
            ),
        ),
        (
            server.url_with("postgres", "wrong"),
            format!(
                "the postgres store: can't connect to {at}: password authentication failed for user \"postgres\""
            ),
        ),
        (
            server.url_with("nothing", Postgres::PASSWORD),
            format!("the postgres store: can't connect to {at}: database \"nothing\" does not exist"),
        ),
        (
            format!("redis://127.0.0.1:{port}"),
            format!("the redis store: can't connect to 127.0.0.1:{port}: Connection refused (os error 111)"),
        ),
        (
            format!("rediss://127.0.0.1:{port}"),
            format!("the redis store: can't connect to 127.0.0.1:{port}: Connection refused (os error 111)"),
        ),
    ] {
        assert_eq!(start_error(&url), format!("urlshort: STORE_URL: can't open {expected}\n"));
    }
}

struct Outage {
    process: Process,
    client: Client,
}

impl Outage {
    async fn readiness(&self, expected: u16) -> Value {
        let url = format!("http://{}/readyz", self.process.metrics_address.as_ref().unwrap());
        let response = eventually(PATIENCE, async || {
            let response = self.client.get(&url).send().await.unwrap();
            if response.status() == expected { Ok(response) } else { Err(response.status()) }
        });
        response.await.json().await.unwrap()
    }

    async fn follow(&self, key: &str) -> u16 {
        self.client.get(self.process.url(key)).send().await.unwrap().status().as_u16()
    }
}

/// Causes an outage while one click is pending.
///
/// Returns the lines logged after startup.
async fn outage(mut server: impl RemoteServer, url: &str, refused: &str) -> Vec<Value> {
    let process = Process::start(&[("STORE_URL", url), ("METRICS_ADDR", "127.0.0.1:0")]);
    let outage = Outage { process, client: client() };
    let form = [("url", "https://example.com"), ("key", "link")];
    outage.client.post(outage.process.url("/shorten")).form(&form).send().await.unwrap();
    assert_eq!(outage.follow("/link").await, 302);
    server.kill();
    assert_eq!(outage.follow("/link").await, 302);
    eventually(PATIENCE, async || {
        let unready = outage.readiness(503).await;
        if unready["store"]["status"] == refused { Ok(()) } else { Err(unready) }
    })
    .await;
    assert_eq!(outage.follow("/unknown").await, 503);
    server.restart();
    outage.readiness(200).await;
    let mut lines = Vec::new();
    while let Some(line) = outage.process.next_log_line() {
        if line["msg"] == "clicks are being written again" {
            outage.process.signal(Signal::TERM);
        }
        lines.push(line);
    }
    assert!(outage.process.wait().success());
    lines
}

fn assert_log(lines: &[Value], refused: &str) {
    let of = |message: &str| lines.iter().filter(|line| line["msg"] == message).collect::<Vec<_>>();
    for message in [
        "store unavailable",
        "store available again",
        "clicks are not being written; they wait in memory",
        "clicks are being written again",
        "change feed lost: edits by other instances may show late",
        "change feed restored",
    ] {
        assert_eq!(of(message).len(), 1, "{message}: {lines:?}");
    }
    let failed: Vec<_> = of("request").into_iter().filter(|line| line["status"] == 503).collect();
    assert_eq!(failed.len(), 1, "probes are not logged: {failed:?}");
    assert_eq!(failed[0]["error"], format!("the store failed: {refused}"));
    let stopped = of("stopped");
    assert_eq!((&stopped[0]["clicks_written"], &stopped[0]["clicks_lost"]), (&json!(2), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_that_cannot_be_written_at_shutdown_are_reported_as_lost() {
    let mut server = Postgres::start();
    let process = Process::start(&[("STORE_URL", &server.url()), ("FLUSH_INTERVAL", "1h")]);
    let client = client();
    let form = [("url", "https://example.com"), ("key", "link")];
    client.post(process.url("/shorten")).form(&form).send().await.unwrap();
    for _ in 0..3 {
        client.get(process.url("/link")).send().await.unwrap();
    }
    server.kill();
    process.signal(Signal::TERM);
    let stopped = process.wait_for_log("stopped");
    assert_eq!((&stopped["clicks_written"], &stopped["clicks_lost"]), (&json!(0), &json!(3)));
}

/// With this `STORE_TIMEOUT`, a probe of the store can take up to a minute.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_does_not_wait_for_a_silent_store() {
    let mut server = Postgres::start();
    let process = Process::start(&[("STORE_URL", &server.url()), ("STORE_TIMEOUT", "60s")]);
    server.freeze();
    let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    assert_eq!(client.get(process.url("/readyz")).send().await.unwrap().status(), 200);
    server.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_on_postgres_logs_nothing() {
    let server = Postgres::start();
    for _ in 0..2 {
        let process = Process::start(&[("STORE_URL", &server.url())]);
        assert_eq!(process.startup_log, [] as [Value; 0]);
    }
}

/// Other tests check only the log lines that they trigger. This test also finds stale rows in the reference, and
/// messages that no test triggers.
#[test]
fn the_reference_lists_exactly_the_messages_of_the_program() {
    let mut sources = String::new();
    read_sources(Path::new("src"), &mut sources);
    let calls = sources.match_indices("tracing::").map(|(at, path)| &sources[at + path.len()..]);
    let is_call = |call: &&str| {
        let name = call.split('(').next().unwrap_or_default();
        ["error!", "warn!", "info!", "debug!", "event!"].contains(&name)
    };
    // The message is the first string literal in a call.
    let in_program: BTreeSet<_> = calls.filter(is_call).filter_map(|call| call.split('"').nth(1)).collect();
    let documented: BTreeSet<_> = documented_messages().collect();
    assert_eq!(in_program, documented);
}

fn read_sources(directory: &Path, sources: &mut String) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            read_sources(&entry.path(), sources);
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            *sources += &fs::read_to_string(entry.path()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_postgres_is_logged_once_with_its_cause() {
    let server = Postgres::start();
    let (url, address) = (server.url(), format!("127.0.0.1:{}", server.port));
    let refused = format!("can't connect to {address}: Connection refused (os error 111)");
    let lines = outage(server, &url, &refused).await;
    assert_log(&lines, &refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_redis_is_logged_once_with_its_cause() {
    let server = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let url = server.url();
    let refused = format!("{}: Connection refused (os error 111)", url.strip_prefix("redis://").unwrap());
    let lines = outage(server, &url, &refused).await;
    assert_log(&lines, &refused);
}
