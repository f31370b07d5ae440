//! Password-protected links.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use futures_util::future::join_all;
use reqwest::{Response, header};
use serde_json::json;

use crate::support::{BROWSER, PATIENCE, TestApp, assert_error};

/// Starts a service behind a trusted proxy, with a password-protected link.
async fn behind_a_proxy() -> Arc<TestApp> {
    let app = TestApp::start_with(&["--trusted-proxies", "1", "--request-timeout", "60s"]).await;
    create(&app, "k").await;
    Arc::new(app)
}

async fn create(app: &TestApp, key: &str) {
    let body =
        json!({ "url": "https://example.com", "key": key, "password": "open sesame", "forward_query": true });
    assert_eq!(app.shorten(body).await.status(), 201);
}

/// Submits a password as client number `client`.
async fn attempt(app: &TestApp, client: usize, password: &str) -> Response {
    let address = format!("198.51.{}.{}", client / 256, client % 256);
    app.post("/k").header("x-forwarded-for", address).form(&[("password", password)]).send().await.unwrap()
}

async fn with_a_password() -> TestApp {
    let app = TestApp::start().await;
    create(&app, "k").await;
    app
}

#[tokio::test]
async fn a_browser_is_shown_a_form_for_the_password() {
    let app = with_a_password().await;
    let form = page(app.client.get(app.url("/k"))).await;
    assert!(form.contains("method=\"post\"") && form.contains("type=\"password\""), "{form}");
}

#[tokio::test]
async fn a_client_without_the_password_is_refused() {
    assert_error(with_a_password().await.get("/k").await, 403, "password_needed").await;
}

#[tokio::test]
async fn the_right_password_redirects_to_the_target() {
    let app = with_a_password().await;
    let right = app.post("/k?q=1").form(&[("password", "open sesame")]).send().await.unwrap();
    assert_eq!(right.status(), 303);
    assert_eq!(right.headers()[header::LOCATION], "https://example.com/?q=1");
    assert_eq!(right.headers()[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let app = with_a_password().await;
    for wrong in ["wrong", "Open sesame", "open sesam", &"x".repeat(200)] {
        let response = app.post("/k").form(&[("password", wrong)]).send().await.unwrap();
        assert_error(response, 403, "wrong_password").await;
    }
}

#[tokio::test]
async fn a_browser_sees_the_form_again_after_a_wrong_password() {
    let app = with_a_password().await;
    let again = page(app.post("/k").form(&[("password", "wrong")])).await;
    assert!(again.contains("role=\"alert\""), "{again}");
}

#[tokio::test]
async fn a_body_without_a_password_is_refused() {
    let app = with_a_password().await;
    let response = app.post("/k").json(&json!({ "word": "x" })).send().await.unwrap();
    assert_error(response, 400, "invalid_body").await;
}

#[tokio::test]
async fn attempts_at_a_password_are_limited() {
    let app = TestApp::start().await;
    create(&app, "k").await;
    let guess = async || app.post("/k").form(&[("password", "guess")]).send().await.unwrap();
    for _ in 0..10 {
        assert_error(guess().await, 403, "wrong_password").await;
    }
    let refused = guess().await;
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    assert_error(refused, 429, "rate_limited").await;
}

/// Returns the page that a browser gets instead of a redirect.
async fn page(request: reqwest::RequestBuilder) -> String {
    let response = request.header(header::ACCEPT, BROWSER).send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
    response.text().await.unwrap()
}

#[tokio::test]
async fn everybody_who_knows_the_password_gets_in() {
    let app = behind_a_proxy().await;
    let visitors = (0..90).map(|client| {
        let app = app.clone();
        tokio::spawn(async move { attempt(&app, client, "open sesame").await.status() })
    });
    let statuses = join_all(visitors).await;
    assert!(statuses.iter().all(|status| *status.as_ref().unwrap() == 303), "{statuses:?}");
    // Visitors in the same office may share one address.
    let visitors = (0..20).map(|_| attempt(&app, 1000, "open sesame"));
    let statuses: Vec<_> = join_all(visitors).await.iter().map(Response::status).collect();
    assert!(statuses.iter().all(|status| *status == 303), "{statuses:?}");
}

#[tokio::test]
async fn guessing_does_not_lock_other_clients_out() {
    let app = behind_a_proxy().await;
    assert_eq!(attempt(&app, 200, "open sesame").await.status(), 303);
    let guesses = (0..80).map(|guess| attempt(&app, guess / 10, "guess"));
    let statuses: Vec<_> = join_all(guesses).await.iter().map(Response::status).collect();
    assert!(statuses.iter().filter(|status| **status == 403).count() >= 60, "{statuses:?}");

    assert_eq!(attempt(&app, 100, "open sesame").await.status(), 303, "a first attempt is always allowed");
    assert_eq!(attempt(&app, 101, "a typo").await.status(), 403);
    let wait = attempt(&app, 101, "open sesame").await;
    let seconds: u64 = wait.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((30..=60).contains(&seconds), "{seconds}");
    assert_error(wait, 429, "rate_limited").await;
    for _ in 0..5 {
        assert_eq!(attempt(&app, 200, "a typo").await.status(), 403, "this client got in before");
    }
    assert_eq!(attempt(&app, 200, "open sesame").await.status(), 303);
}

#[tokio::test]
async fn concurrent_attempts_are_limited_like_sequential_ones() {
    let app = behind_a_proxy().await;
    let guesses = (0..40).map(|_| attempt(&app, 1, "guess"));
    let statuses: Vec<_> = join_all(guesses).await.iter().map(Response::status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 10, "{statuses:?}");
}

/// Sends a request's head without its body, and returns the start of the response.
async fn status_before_the_body(app: &TestApp, path: &str) -> String {
    let address = app.address;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 198.51.0.1\r\ncontent-length: 20\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n"
    );
    let response = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut response = [0; 12];
        stream.read_exact(&mut response).unwrap();
        String::from_utf8(response.to_vec()).unwrap()
    });
    response.await.unwrap()
}

#[tokio::test]
async fn the_body_of_a_request_that_is_refused_anyway_is_not_read() {
    let app = behind_a_proxy().await;
    assert_eq!(status_before_the_body(&app, "/none").await, "HTTP/1.1 404");
    for _ in 0..10 {
        assert_eq!(attempt(&app, 1, "guess").await.status(), 403);
    }
    assert_eq!(status_before_the_body(&app, "/k").await, "HTTP/1.1 429");
}
