//! Behaviour shared by all routes: error envelope, request ids, headers, timeouts, panics and limits.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, header};
use serde_json::json;

use crate::support::{FaultyStore, Mood, PATIENCE, TestApp, assert_error, eventually};

#[tokio::test]
async fn a_wrong_method_is_refused_with_the_allowed_ones() {
    let app = TestApp::start().await;
    for (method, path, allowed) in [
        (Method::GET, "/shorten", "POST"),
        (Method::DELETE, "/abc", "GET,HEAD,POST"),
        (Method::POST, "/healthz", "GET,HEAD"),
        (Method::PUT, "/api/v1/links/batch", "POST,GET,HEAD,PATCH,DELETE"),
        (Method::OPTIONS, "/", "GET,HEAD"),
        (Method::from_bytes(b"BREW").unwrap(), "/abc", "GET,HEAD,POST"),
    ] {
        let response = app.client.request(method, app.url(path)).send().await.unwrap();
        assert_eq!(response.headers()[header::ALLOW], allowed, "{path}");
        assert_error(response, 405, "method_not_allowed").await;
    }
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let app = TestApp::start().await;
    for path in paths(&app).await {
        let response = app.get(&path).await;
        let headers = response.headers();
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert_eq!(
            headers[header::CONTENT_SECURITY_POLICY],
            "default-src 'none'; frame-ancestors 'none'",
            "{path}"
        );
        assert!(headers.contains_key(header::REFERRER_POLICY), "{path}");
    }
}

/// Returns paths whose responses come from different layers.
///
/// The last path is that of a cached link.
async fn paths(app: &TestApp) -> Vec<String> {
    let key = app.shorten_url("https://example.com").await;
    let paths = ["/", "/healthz", "/nothing", "/a/b", "/shorten"].map(ToOwned::to_owned);
    [&paths[..], &[format!("/{key}")]].concat()
}

#[tokio::test]
async fn every_response_has_a_unique_id() {
    let app = TestApp::start().await;
    let mut ids = std::collections::HashSet::new();
    for path in paths(&app).await {
        let id = app.get(&path).await.headers()["x-request-id"].clone();
        assert!(ids.insert(id), "{path}");
    }
}

#[tokio::test]
async fn hsts_is_sent_only_if_the_base_url_is_https() {
    for (base_url, expected) in [("https://sho.rt", true), ("http://sho.rt", false)] {
        let app = TestApp::start_with(&["--base-url", base_url]).await;
        for path in paths(&app).await {
            let response = app.get(&path).await;
            let is_sent = response.headers().contains_key(header::STRICT_TRANSPORT_SECURITY);
            assert_eq!(is_sent, expected, "{base_url} {path}");
        }
    }
}

#[tokio::test]
async fn a_valid_request_id_is_kept_and_an_invalid_one_replaced() {
    let app = TestApp::start().await;
    for (sent, kept) in [
        ("abc-123", true),
        (&*"x".repeat(128), true),
        (&*"x".repeat(129), false),
        ("with space", false),
        ("", false),
        ("\u{e9}", false),
    ] {
        let response = app.client.get(app.url("/")).header("x-request-id", sent).send().await.unwrap();
        let id = response.headers()["x-request-id"].to_str().unwrap();
        assert_eq!(id == sent, kept, "{sent:?} became {id:?}");
        assert!(!id.is_empty());
    }
}

#[tokio::test]
async fn a_panicking_handler_gives_a_500_and_the_service_keeps_running() {
    const TOKEN: &str = "reader-0123456789";
    let app =
        TestApp::start_on(Arc::new(FaultyStore::default()), &["--api-tokens", "ci:reader-0123456789:read"])
            .await;
    let request = app.client.get(app.url("/api/v1/links/panic")).bearer_auth(TOKEN);
    let sentence = assert_error(request.send().await.unwrap(), 500, "internal").await;
    assert_eq!(sentence, "internal error");
    let series = r#"http_requests_total{method="GET",route="/api/v1/links/{key}",status="500"}"#;
    assert_eq!(app.metric(series), Some(1.0));
    assert_eq!(app.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_gets_a_504() {
    let flags = ["--request-timeout", "50ms", "--store-timeout", "1h"];
    let app = TestApp::start_on(Arc::new(FaultyStore::default()), &flags).await;
    assert_error(app.get("/hang").await, 504, "timeout").await;
    assert_eq!(app.metric(r#"http_requests_total{method="GET",route="/{key}",status="504"}"#), Some(1.0));
}

#[tokio::test]
async fn a_store_timeout_gives_a_503_with_retry_after() {
    let app = TestApp::start_on(Arc::new(FaultyStore::default()), &["--store-timeout", "50ms"]).await;
    let response = app.get("/hang").await;
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert_error(response, 503, "store_unavailable").await;
    assert_eq!(app.metric(r#"store_errors_total{operation="get",store="faulty"}"#), Some(1.0));
}

#[tokio::test]
async fn a_store_failure_gives_a_503_without_the_cause() {
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(store.clone(), &[]).await;
    store.set_mood(Mood::Broken);
    for response in [app.get("/abc").await, app.shorten(json!({ "url": "https://example.com" })).await] {
        let sentence = assert_error(response, 503, "store_unavailable").await;
        assert!(!sentence.contains("out of order"), "{sentence}");
    }
}

#[tokio::test]
async fn requests_over_the_limit_are_refused_immediately() {
    let flags = ["--max-in-flight", "2", "--store-timeout", "1h", "--request-timeout", "1h"];
    let app = TestApp::start_on(Arc::new(FaultyStore::default()), &flags).await;
    for _ in 0..2 {
        tokio::spawn(app.client.get(app.url("/hang")).send());
    }
    // The limit is reached when both requests are hanging. Until then, other requests get a 404.
    let refused = eventually(PATIENCE, async || {
        let response = app.get("/nothing").await;
        if response.status() == 404 { Err("not refused") } else { Ok(response) }
    })
    .await;
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    assert_error(refused, 503, "overloaded").await;
    assert_eq!(app.metric("http_requests_in_flight"), Some(2.0));
}

#[tokio::test]
async fn a_body_that_never_arrives_gets_a_408() {
    let app = TestApp::start_with(&["--request-timeout", "200ms"]).await;
    let request = "POST /shorten HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\
                   content-type: application/x-www-form-urlencoded\r\n\r\nurl=";
    use std::io::{Read, Write};
    let address = app.address;
    let response = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = [0; 4096];
        let read = stream.read(&mut response).unwrap();
        String::from_utf8_lossy(&response[..read]).into_owned()
    });
    let response = response.await.unwrap();
    assert!(response.starts_with("HTTP/1.1 408"), "{response}");
}
