//! Short URLs as QR codes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use reqwest::header;
use serde_json::{Value, json};

use crate::support::{TestApp, assert_error};

async fn create(app: &TestApp, body: Value) {
    assert_eq!(app.shorten(body).await.status(), 201);
}

#[tokio::test]
async fn a_qr_code_is_an_svg_of_the_requested_size() {
    let app = TestApp::start().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let svg = app.get("/k/qr?size=200&margin=2&ecc=H").await;
    assert_eq!(svg.headers()[header::CONTENT_TYPE], "image/svg+xml");
    assert!(svg.text().await.unwrap().starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"200\""));
}

#[tokio::test]
async fn a_qr_code_encodes_the_short_url() {
    let app = TestApp::start().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    for (query, accept) in [("?format=png&size=400", "*/*"), ("?size=400", "image/png")] {
        let request = app.client.get(app.url(&format!("/k/qr{query}"))).header(header::ACCEPT, accept);
        let png = request.send().await.unwrap();
        assert_eq!(png.headers()[header::CONTENT_TYPE], "image/png", "{query}");
        let mut picture = rqrr::PreparedImage::prepare(
            image::load_from_memory(&png.bytes().await.unwrap()).unwrap().to_luma8(),
        );
        let (_, content) = picture.detect_grids()[0].decode().unwrap();
        assert_eq!(content, app.url("/k"), "{query}");
    }
}

#[tokio::test]
async fn invalid_parameters_of_a_qr_code_are_refused() {
    let app = TestApp::start().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    for query in ["size=63", "size=2049", "margin=17", "ecc=X", "format=gif", "colour=red"] {
        assert_error(app.get(&format!("/k/qr?{query}")).await, 400, "invalid_query").await;
    }
}

#[tokio::test]
async fn an_unknown_link_has_no_qr_code() {
    assert_error(TestApp::start().await.get("/none/qr").await, 404, "not_found").await;
}

#[tokio::test]
async fn a_short_url_too_long_for_a_qr_code_is_a_client_error() {
    let long = format!("https://example.com/{}", "a".repeat(1500));
    let app = TestApp::start_with(&["--base-url", &long]).await;
    create(&app, json!({ "url": "https://example.org", "key": "k" })).await;
    assert_eq!(app.get("/k/qr?ecc=L").await.status(), 200);
    let sentence = assert_error(app.get("/k/qr?ecc=H").await, 400, "invalid_query").await;
    assert!(sentence.contains("too long"), "{sentence}");
}

#[tokio::test]
async fn a_host_longer_than_any_name_is_refused() {
    let app = TestApp::start().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    for (length, status) in [(255, 200), (256, 400)] {
        let host = format!("{}.example", ["a"; 200].join(".")).chars().take(length).collect::<String>();
        let host = format!("{host}{}", "b".repeat(length - host.len()));
        let request = app.client.get(app.url("/k/qr")).header(header::HOST, host);
        assert_eq!(request.send().await.unwrap().status(), status, "{length} bytes");
    }
}

#[tokio::test]
async fn qr_codes_are_limited_for_each_client() {
    let app = TestApp::start_with(&["--rate-limit", "2/h"]).await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    for _ in 0..2 {
        assert_eq!(app.get("/k/qr").await.status(), 200);
    }
    let refused = app.get("/k/qr").await;
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    assert_error(refused, 429, "rate_limited").await;
    assert_eq!(app.get("/k").await.status(), 302, "following links is not limited");
}

/// In this test, the service and its clients share one thread, just as connections share a worker thread.
#[tokio::test]
async fn redirects_do_not_wait_for_qr_codes() {
    const CODES: usize = 40;
    let app = Arc::new(TestApp::start_with(&["--request-timeout", "60s"]).await);
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let drawn = Arc::new(AtomicUsize::new(0));
    let codes = (0..CODES).map(|_| {
        let (app, drawn) = (app.clone(), drawn.clone());
        tokio::spawn(async move {
            let status = app.get("/k/qr?format=png&size=2048&ecc=H").await.status();
            drawn.fetch_add(1, Ordering::SeqCst);
            status
        })
    });
    let codes: Vec<_> = codes.collect();
    let is_drawing = |in_flight: f64| in_flight > 0.0 || drawn.load(Ordering::SeqCst) > 0;
    app.wait_for_metric("http_requests_in_flight", is_drawing).await;
    for _ in 0..20 {
        assert_eq!(app.get("/k").await.status(), 302);
    }
    let before = drawn.load(Ordering::SeqCst);
    assert!(before < CODES, "20 redirects took as long as {before} codes");
    assert!(join_all(codes).await.into_iter().all(|status| status.unwrap() == 200));
}

#[tokio::test]
async fn qr_codes_beyond_a_short_queue_are_refused_immediately() {
    let app = Arc::new(TestApp::start_with(&["--request-timeout", "60s"]).await);
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let codes = (0..200).map(|_| {
        let app = app.clone();
        tokio::spawn(async move { app.get("/k/qr?format=png&size=2048&ecc=H").await })
    });
    let mut refused = 0;
    for response in join_all(codes).await {
        let response = response.unwrap();
        if response.status() != 200 {
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
            assert_error(response, 503, "overloaded").await;
            refused += 1;
        }
    }
    assert!((1..=135).contains(&refused), "{refused}");
}

#[tokio::test]
async fn a_path_that_is_not_utf8_is_not_found() {
    let app = TestApp::start().await;
    // A link can have the key `qr`, which is also the last segment of the QR code route.
    assert_eq!(app.shorten(json!({ "url": "https://example.com", "key": "qr" })).await.status(), 201);
    assert_error(app.get("/%ff/qr").await, 404, "not_found").await;
}
