//! Malicious clients that ignore responses, leave requests unfinished, disconnect, or send garbage.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use rustix::net::sockopt::set_socket_linger;
use serde_json::{Value, json};

use crate::support::{
    FaultyStore, Mood, PATIENCE, Process, TestApp, eventually, memory, raise_open_file_limit,
    raw::{connect, exchange, get, post, read_to_close, repeat_until},
    sqlite_in,
};

#[track_caller]
fn shorten(process: &Process, body: &str) {
    let response = post(&process.address, "/shorten", "application/json", body);
    assert!(response.starts_with("HTTP/1.1 201"), "{response}");
}

#[test]
fn a_client_that_never_reads_uses_little_memory_and_is_dropped() {
    let process = Process::start(&[("REQUEST_TIMEOUT", "2s")]);
    assert!(get(&process.address, "/openapi.json").starts_with("HTTP/1.1 200"));
    shorten(&process, r#"{"url":"https://example.com","key":"mine"}"#);
    for path in ["/openapi.json", "/mine", "/unknown"] {
        let before = memory(process.pid(), "VmRSS");
        let mut stream = connect(&process.address);
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let requests = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(1000);
        // Write until the server stops reading and eventually closes the connection.
        let (start, mut peak) = (Instant::now(), before);
        while let Ok(written) = stream.write(requests.as_bytes()) {
            assert_ne!(written, 0);
            peak = peak.max(memory(process.pid(), "VmRSS"));
            assert!(start.elapsed() < PATIENCE, "{path}: the client was not dropped");
        }
        let growth = peak.saturating_sub(before);
        assert!(growth < 8 << 20, "{path}: memory grew by {growth} bytes");
        assert!(get(&process.address, "/healthz").starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn large_responses_arrive_in_full_at_a_client_that_reads_late() {
    let process = Process::start(&[]);
    let mut stream = connect(&process.address);
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200);
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || {
        writer.write_all(requests.as_bytes()).unwrap();
        writer.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    });
    let responses = read_to_close(&mut stream);
    writing.join().unwrap();
    assert_eq!(responses.matches("HTTP/1.1 200").count(), 201);
    assert!(responses.ends_with("{\"status\":\"ok\"}\n") || responses.ends_with("{\"status\":\"ok\"}"));
}

#[test]
fn a_malformed_head_gets_a_response_and_is_logged_and_counted() {
    let process = Process::start(&[]);
    let long_target = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(200_000));
    let long_header = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(2_000_000));
    let many_headers = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    for (request, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n"[..], 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nhost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n", 400),
        (b"POST /shorten HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
        (b"POST /shorten HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
        (long_target.as_bytes(), 431),
        (long_header.as_bytes(), 431),
        (many_headers.as_bytes(), 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ] {
        let shown = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
        let response = exchange(&process.address, request);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?} got {response:?}");
        let line = process.wait_for_log("malformed request");
        assert_eq!(line["status"], status, "{shown:?}: {line}");
        assert_eq!(line["peer"], "127.0.0.1");
    }
    let metrics = get(&process.address, "/metrics");
    assert!(
        metrics.contains("http_requests_total{method=\"other\",route=\"unmatched\",status=\"431\"} 3"),
        "{metrics}"
    );
}

#[test]
fn a_request_must_name_exactly_one_host() {
    let process = Process::start(&[]);
    for (head, status) in [
        ("GET /healthz HTTP/1.1\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nhost: a\r\nhost: a\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nhost: a/b\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nhost: a\r\n", 200),
        ("GET /healthz HTTP/1.0\r\n", 200),
    ] {
        let response = exchange(&process.address, format!("{head}connection: close\r\n\r\n").as_bytes());
        assert!(response[8..].starts_with(&format!(" {status} ")), "{head:?} got {response:?}");
        assert_eq!(response.contains("\"code\":\"invalid_host\""), status == 400, "{response}");
    }
}

#[test]
fn a_body_followed_by_an_empty_line_is_accepted() {
    let process = Process::start(&[]);
    let mut stream = connect(&process.address);
    let request = "POST /shorten HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n\
                   content-length: 23\r\n\r\nurl=https://example.com\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = [0; 4096];
    let read = stream.read(&mut response).unwrap();
    assert!(response[..read].starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&response[..read]));
}

/// Opens connections that each send only part of a POST body.
///
/// Each connection sends `sent` of 16,000 bytes.
fn unfinished_bodies(process: &Process, count: usize, sent: usize) -> Vec<TcpStream> {
    raise_open_file_limit();
    let head = "POST /shorten HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 16000\r\n\r\n";
    let request = [head.as_bytes(), &vec![b' '; sent]].concat();
    let connections = (0..count).map(|_| {
        let mut stream = connect(&process.address);
        // If the service rejects the body, it may close the connection before the client has written everything.
        let _ = stream.write_all(&request);
        stream
    });
    connections.collect()
}

#[test]
fn two_thousand_unfinished_bodies_do_not_affect_other_clients() {
    let process = Process::start(&[("TRUSTED_PROXIES", "1"), ("REQUEST_TIMEOUT", "5min")]);
    let held = unfinished_bodies(&process, 2000, 1);
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        let response = get(&process.address, path);
        assert!(response.starts_with("HTTP/1.1 200"), "{path}: {response}");
    }
    shorten(&process, r#"{"url":"https://example.com"}"#);
    drop(held);
}

#[test]
fn unfinished_bodies_share_a_budget_and_give_it_back() {
    let variables = [("TRUSTED_PROXIES", "1"), ("REQUEST_TIMEOUT", "5min"), ("MAX_IN_FLIGHT", "5000")];
    let process = Process::start(&variables);
    // These bodies add up to more than 16 MiB, the limit for all bodies together.
    let held = unfinished_bodies(&process, 1200, 15_999);
    repeat_until(
        || get(&process.address, "/metrics"),
        |metrics| metrics.contains("http_requests_total{method=\"POST\",route=\"/shorten\",status=\"503\"}"),
    );
    assert!(get(&process.address, "/healthz").starts_with("HTTP/1.1 200"));
    drop(held);
    let shorten =
        || post(&process.address, "/shorten", "application/json", r#"{"url":"https://example.com"}"#);
    repeat_until(shorten, |response| response.starts_with("HTTP/1.1 201"));
}

/// Resets the connection.
fn hang_up(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_take_down_whose_client_hangs_up_applies_to_the_next_visitor() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(&[
        ("STORE_URL", &sqlite_in(directory.path())),
        ("API_TOKENS", "admin:0123456789abcdef"),
    ]);
    let authorization = "authorization: Bearer 0123456789abcdef\r\n";
    let mut applied = 0;
    for number in 0..200 {
        shorten(&process, &format!(r#"{{"url":"https://example.com","key":"k{number}"}}"#));
        assert!(get(&process.address, &format!("/k{number}")).starts_with("HTTP/1.1 302"));
        let take_down =
            format!("POST /api/v1/links/k{number}/take-down HTTP/1.1\r\nhost: x\r\n{authorization}\r\n");
        let mut stream = connect(&process.address);
        stream.write_all(take_down.as_bytes()).unwrap();
        // Each client disconnects at a different point during the change.
        let sent = Instant::now();
        while sent.elapsed() < Duration::from_micros(number * 30) {
            std::hint::spin_loop();
        }
        hang_up(stream);
    }
    for number in 0..200 {
        let show = format!(
            "GET /api/v1/links/k{number} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{authorization}\r\n"
        );
        let shown = exchange(&process.address, show.as_bytes());
        let link: Value = serde_json::from_str(shown.split_once("\r\n\r\n").unwrap().1).unwrap();
        let is_down = link["state"] == "taken_down";
        let visited = get(&process.address, &format!("/k{number}"));
        // Even if the link was not down a moment ago, it may be down by now.
        assert!(!is_down || visited.starts_with("HTTP/1.1 410"), "k{number} is taken down, but {visited}");
        applied += usize::from(is_down);
    }
    assert!(applied > 0, "no take-down was applied, so nothing was tested");
}

#[tokio::test]
async fn a_change_whose_client_hangs_up_keeps_its_slot_and_the_drain_waits_for_it() {
    let store = std::sync::Arc::new(FaultyStore::default());
    let flags = ["--max-in-flight", "1", "--store-timeout", "1h"];
    let app = TestApp::start_on(store.clone(), &flags).await;
    store.set_mood(Mood::Frozen);
    let request = app.post("/shorten").json(&json!({ "url": "https://example.com", "key": "late" })).send();
    let waiting = tokio::spawn(request);
    eventually(PATIENCE, async || match app.get("/nothing").await.status().as_u16() {
        503 => Ok(()),
        other => Err(other),
    })
    .await;
    waiting.abort();
    let left = r#"http_requests_total{method="POST",route="unmatched",status="499"}"#;
    app.wait_for_metric(left, |count| count == 1.0).await;
    assert_eq!(app.get("/nothing").await.status(), 503, "the change still has its slot");
    let metrics = app.metrics.clone();
    let stopping = tokio::spawn(app.stop());
    store.set_mood(Mood::Fine);
    stopping.await.unwrap();
    assert!(metrics.render().unwrap().contains("links_created_total{strategy=\"custom\"} 1"));
}

#[test]
fn a_client_can_keep_sending_briefly_after_an_early_response() {
    let process = Process::start(&[]);
    let head = "POST /shorten HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 4000000\r\n\r\n";
    let mut stream = connect(&process.address);
    stream.write_all(&[head.as_bytes(), &[b' '; 20_000]].concat()).unwrap();
    let mut response = [0; 4096];
    let read = stream.read(&mut response).unwrap();
    assert!(response[..read].starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&response[..read]));
    for _ in 0..100 {
        stream.write_all(&[b' '; 1000]).expect("the server still reads");
    }
    assert_eq!(read_to_close(&mut stream), "");
}

#[test]
fn earlier_responses_survive_a_malformed_head_that_arrives_in_pieces() {
    let process = Process::start(&[]);
    let mut stream = connect(&process.address);
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(8);
    stream.write_all(format!("{requests}GET / HTTP/1.1\r\nno colon\r\n").as_bytes()).unwrap();
    process.wait_for_log("malformed request");
    // The client hasn't read any response yet, so most responses are still queued on the server.
    stream.write_all(b"host: x\r\n\r\n").unwrap();
    let responses = read_to_close(&mut stream);
    assert_eq!(responses.matches("HTTP/1.1 200").count(), 8);
    assert!(responses.contains("HTTP/1.1 400"));
}
