//! Warnings about options that are valid, but probably not intended.

use std::process::Output;

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::{Process, Redis, documented_messages};

/// An address that no machine has, so the program logs its warnings and then fails to listen.
const ELSEWHERE: &str = "192.0.2.1";

const TOKENS: (&str, &str) = ("API_TOKENS", "ci:0123456789abcdef");
const READ_ONLY: (&str, &str) = ("API_TOKENS", "ci:0123456789abcdef:read");

/// Returns the warnings among log lines, without their timestamps.
fn warnings(lines: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let lines = lines.into_iter().filter(|line| line["level"] == "WARN");
    let without_time = |mut line: Value| {
        assert!(documented_messages().any(|message| line["msg"] == message), "{line}");
        let fields = line.as_object_mut().unwrap();
        fields.remove("ts");
        fields.remove("level");
        line
    };
    lines.map(without_time).collect()
}

/// Returns the warnings from a service that only this machine can reach.
fn local(variables: &[(&str, &str)]) -> Vec<Value> {
    warnings(Process::start(variables).startup_log.drain(..))
}

/// Returns the warnings from a service that other machines could reach.
fn public(variables: &[(&str, &str)]) -> Vec<Value> {
    let variables = [&[("HOST", ELSEWHERE)], variables].concat();
    let Output { stdout, status, .. } = Process::command(&variables).output().unwrap();
    assert_eq!(status.code(), Some(1), "it can't listen there");
    let lines = String::from_utf8(stdout).unwrap();
    warnings(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
}

#[test]
fn a_default_local_service_logs_no_warnings() {
    assert_eq!(local(&[]), Vec::<Value>::new());
}

#[test]
fn public_creation_logs_one_warning_that_names_the_missing_options() {
    let base_url = ("BASE_URL", "https://sho.rt");
    let nobody = "anyone can create links and nobody can take them down: set API_TOKENS";
    for (variables, expected) in [
        (&[][..], Some(format!("{nobody} and BASE_URL"))),
        (&[base_url], Some(nobody.into())),
        (&[base_url, READ_ONLY], Some(nobody.into())),
        (&[TOKENS], Some("short URLs begin with the Host that a client sends: set BASE_URL".into())),
        (&[base_url, TOKENS], None),
        (&[("PUBLIC_SHORTEN", "false"), TOKENS], None),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|text| json!({ "msg": text, "host": ELSEWHERE })).collect();
        assert_eq!(public(variables), expected, "{variables:?}");
    }
}

#[test]
fn a_service_on_which_nobody_can_create_links_logs_a_warning() {
    let expected = json!({
        "msg": "nobody can create links: set API_TOKENS or PUBLIC_SHORTEN=true",
    });
    let closed = ("PUBLIC_SHORTEN", "false");
    for variables in [&[closed][..], &[closed, READ_ONLY]] {
        assert_eq!(local(variables), std::slice::from_ref(&expected));
    }
    assert_eq!(local(&[closed, TOKENS]), Vec::<Value>::new());
}

#[test]
fn a_request_timeout_shorter_than_the_store_timeout_logs_a_warning() {
    let expected = json!({
        "msg": "REQUEST_TIMEOUT is shorter than STORE_TIMEOUT",
        "request_timeout": "1s", "store_timeout": "2s",
    });
    assert_eq!(local(&[("REQUEST_TIMEOUT", "1s")]), [expected]);
}

#[test]
fn a_cache_larger_than_the_memory_logs_a_warning() {
    let [warning] = &local(&[("CACHE_BYTES", "1PiB")])[..] else { panic!("not one warning") };
    let expected = "CACHE_BYTES is more than the memory of this machine or container";
    assert_eq!((&warning["msg"], &warning["cache_bytes"]), (&json!(expected), &json!(1_u64 << 50)));
    let memory = warning["memory_bytes"].as_u64().unwrap();
    assert!((1 << 20..1 << 50).contains(&memory), "{memory}");
}

/// Sends requests, stops the process, and returns its warnings.
async fn warnings_after(process: Process, headers: &[(&str, &str)]) -> Vec<Value> {
    let client = Client::new();
    for _ in 0..3 {
        let request = client.get(process.url("/nothing"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        assert_eq!(request.send().await.unwrap().status(), 404);
    }
    process.signal(rustix::process::Signal::TERM);
    warnings(std::iter::from_fn(|| process.next_log_line()))
}

#[tokio::test]
async fn a_proxy_that_is_not_configured_logs_one_warning() {
    let forwarded = [("x-forwarded-for", "203.0.113.7")];
    let expected = json!({
        "msg": "X-Forwarded-For is ignored: behind a proxy, set TRUSTED_PROXIES",
        "peer": "127.0.0.1",
    });
    assert_eq!(warnings_after(Process::start(&[]), &forwarded).await, [expected]);
    assert_eq!(warnings_after(Process::start(&[]), &[]).await, Vec::<Value>::new());
    let behind_a_proxy = Process::start(&[("TRUSTED_PROXIES", "1")]);
    assert_eq!(warnings_after(behind_a_proxy, &forwarded).await, Vec::<Value>::new());
}

#[test]
fn too_few_replicas_of_redis_log_a_warning() {
    let server = Redis::start_with(&["--appendonly", "yes"]);
    let expected = json!({
        "msg": "fewer replicas than wait_replicas: no link can be created",
        "replicas": 0, "wait_replicas": 1,
    });
    assert_eq!(local(&[("STORE_URL", &format!("{}?wait_replicas=1", server.url()))]), [expected]);
    assert_eq!(local(&[("STORE_URL", &server.url())]), Vec::<Value>::new());
}
