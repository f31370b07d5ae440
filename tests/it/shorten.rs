//! `POST /shorten`: accepted bodies, responses and errors.

use reqwest::{Response, header};
use serde_json::{Value, json};

use crate::support::{TestApp, assert_error, raw::exchange};

#[tokio::test]
async fn a_json_body_gets_json_and_a_location() {
    let app = TestApp::start().await;
    let response = app.shorten(json!({ "url": "https://EXAMPLE.com/a b" })).await;
    assert_eq!(response.status(), 201);
    let location = response.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let link: Value = response.json().await.unwrap();
    let key = link["key"].as_str().unwrap();
    assert_eq!(key.len(), 7);
    assert_eq!(location, app.url(&format!("/{key}")));
    assert_eq!(link, json!({ "key": key, "short_url": location, "url": "https://example.com/a%20b" }));
}

#[tokio::test]
async fn a_form_gets_the_same() {
    let app = TestApp::start().await;
    let response =
        app.post("/shorten").form(&[("url", "https://example.com"), ("key", "mine")]).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let link: Value = response.json().await.unwrap();
    assert_eq!(link, json!({ "key": "mine", "short_url": app.url("/mine"), "url": "https://example.com/" }));
}

#[tokio::test]
async fn a_plain_text_response_is_just_the_short_url() {
    let app = TestApp::start().await;
    let request = app.post("/shorten").header(header::ACCEPT, "text/plain");
    let response = request.form(&[("url", "https://example.com"), ("key", "mine")]).send().await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(response.text().await.unwrap(), format!("{}\n", app.url("/mine")));
}

#[tokio::test]
async fn without_a_valid_url_nothing_is_created() {
    let app = TestApp::start().await;
    for body in [
        "",
        " ",
        "[]",
        "null",
        "\"https://example.com\"",
        "[\"https://example.com\"]",
        "{}",
        r#"{"url":null}"#,
        r#"{"url":5}"#,
        r#"{"url":{}}"#,
        r#"{"url":""}"#,
        r#"{"url":"example.com"}"#,
        r#"{"url":"ftp://example.com"}"#,
    ] {
        let request = app.post("/shorten").header(header::CONTENT_TYPE, "application/json").body(body);
        let sentence = assert_error(request.send().await.unwrap(), 400, "invalid_url").await;
        assert_eq!(sentence, "a valid http(s) url is required", "{body:?}");
    }
    assert_eq!(app.metric(r#"links_created_total{strategy="random"}"#), None);
}

#[tokio::test]
async fn a_form_without_a_url_is_refused() {
    let app = TestApp::start().await;
    let response = app.post("/shorten").form(&[("key", "mine")]).send().await.unwrap();
    assert_error(response, 400, "invalid_url").await;
}

#[tokio::test]
async fn deceptive_and_overlong_urls_are_refused_with_a_reason() {
    let app = TestApp::start().await;
    for (url, reason) in [
        ("https://user:secret@example.com", "user name or password"),
        (&format!("https://example.com/{}", "a".repeat(2048)), "at most 2048 bytes"),
        (&app.url("/loop"), "leads back to this service"),
        ("https://127.0.0.1:1/loop", "leads back to this service"),
    ] {
        let sentence = assert_error(app.shorten(json!({ "url": url })).await, 400, "invalid_url").await;
        assert!(sentence.contains(reason), "{sentence}");
    }
}

#[tokio::test]
async fn unknown_or_mistyped_fields_are_named() {
    let app = TestApp::start().await;
    for (body, named) in [
        (json!({ "url": "https://example.com", "alias": "x" }), "alias"),
        (json!({ "url": "https://example.com", "key": 5 }), "expected a string"),
    ] {
        let sentence = assert_error(app.shorten(body).await, 400, "invalid_body").await;
        assert!(sentence.contains(named), "{sentence}");
    }
}

#[tokio::test]
async fn a_form_with_two_urls_is_refused() {
    let app = TestApp::start().await;
    let twice = app.post("/shorten").form(&[("url", "https://a.example"), ("url", "https://b.example")]);
    assert_error(twice.send().await.unwrap(), 400, "invalid_url").await;
}

#[tokio::test]
async fn a_taken_custom_key_is_refused() {
    let app = TestApp::start().await;
    let body = json!({ "url": "https://example.com", "key": "mine" });
    assert_eq!(app.shorten(body.clone()).await.status(), 201);
    assert_error(app.shorten(body).await, 409, "key_taken").await;
}

#[tokio::test]
async fn a_custom_key_keeps_its_first_target() {
    let app = TestApp::start().await;
    for target in ["https://first.example", "https://second.example"] {
        app.shorten(json!({ "url": target, "key": "mine" })).await;
    }
    assert_eq!(app.get("/mine").await.headers()[header::LOCATION], "https://first.example/");
}

#[tokio::test]
async fn a_malformed_custom_key_is_refused() {
    let app = TestApp::start().await;
    for key in ["", "a b", "a/b", "ä", "a.b", &"x".repeat(65)] {
        let response = app.shorten(json!({ "url": "https://example.com", "key": key })).await;
        assert_error(response, 400, "invalid_key").await;
    }
}

#[tokio::test]
async fn only_json_and_forms_are_accepted() {
    let app = TestApp::start().await;
    for content_type in [None, Some("text/plain"), Some("multipart/form-data; boundary=x"), Some("\u{e9}")] {
        let mut request = app.post("/shorten").body("url=https://example.com");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        assert_error(request.send().await.unwrap(), 415, "unsupported_media_type").await;
    }
}

#[tokio::test]
async fn a_content_type_may_have_capitals_or_parameters() {
    let app = TestApp::start().await;
    let spelled = app.post("/shorten").header(header::CONTENT_TYPE, "Application/JSON; charset=utf-8");
    let spelled = spelled.body(r#"{"url":"https://example.com"}"#).send().await.unwrap();
    assert_eq!(spelled.status(), 201);
}

/// Returns a form larger than 1 KiB.
fn oversized_form() -> String {
    format!("url=https://example.com/{}", "a".repeat(1024))
}

#[tokio::test]
async fn a_body_declared_over_the_limit_is_refused() {
    let app = TestApp::start_with(&["--max-body", "1KiB"]).await;
    let request = app.post("/shorten").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    assert_error(request.body(oversized_form()).send().await.unwrap(), 413, "body_too_large").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_over_the_limit_is_refused() {
    let app = TestApp::start_with(&["--max-body", "1KiB"]).await;
    let body = oversized_form();
    let request = format!(
        "POST /shorten HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let address = app.address.to_string();
    let response = tokio::task::spawn_blocking(move || exchange(&address, request.as_bytes())).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
}

#[tokio::test]
async fn the_short_url_starts_with_the_base_url_or_the_requested_host() {
    let short_url = async |flags: &[&str], headers: &[(&str, &str)]| -> String {
        let app = TestApp::start_with(flags).await;
        let mut request = app.post("/shorten").form(&[("url", "https://example.com"), ("key", "k")]);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let link: Value = request.send().await.unwrap().json().await.unwrap();
        link["short_url"].as_str().unwrap_or_default().replace(&app.address.to_string(), "HOST")
    };
    let forwarded = [("x-forwarded-proto", "https"), ("x-forwarded-host", "evil.example")];
    assert_eq!(short_url(&[], &[]).await, "http://HOST/k");
    assert_eq!(short_url(&[], &forwarded).await, "http://HOST/k");
    assert_eq!(short_url(&["--trusted-proxies", "1"], &forwarded).await, "https://HOST/k");
    assert_eq!(short_url(&[], &[("host", "sho.rt")]).await, "http://sho.rt/k");
    assert_eq!(short_url(&["--base-url", "https://sho.rt/s"], &[("host", "x")]).await, "https://sho.rt/s/k");
}

#[tokio::test]
async fn an_invalid_host_is_refused() {
    let app = TestApp::start().await;
    for host in ["a/b", "a?b", "user@host", "a b"] {
        let request = app.post("/shorten").header(header::HOST, host).form(&[("url", "https://example.com")]);
        assert_error(request.send().await.unwrap(), 400, "invalid_host").await;
    }
}

#[tokio::test]
async fn a_blocked_host_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("blocked");
    std::fs::write(&list, ".evil.example\n").unwrap();
    let app = TestApp::start_with(&["--blocked-hosts", list.to_str().unwrap()]).await;
    assert_error(app.shorten(json!({ "url": "https://www.evil.example" })).await, 403, "target_refused")
        .await;
    assert_eq!(app.shorten(json!({ "url": "https://good.example" })).await.status(), 201);
}

#[tokio::test]
async fn a_private_host_is_refused_if_configured() {
    let app = TestApp::start_with(&["--block-private-targets", "--base-url", "https://sho.rt"]).await;
    for url in [
        "http://127.0.0.1/",
        "http://[::127.0.0.1]/",
        "http://[2002:7f00:1::]/",
        "http://nas.lan/",
        "http://printer/",
    ] {
        assert_error(app.shorten(json!({ "url": url })).await, 403, "target_refused").await;
    }
    assert_eq!(app.shorten(json!({ "url": "https://good.example" })).await.status(), 201);
}

/// Starts a service on which each client can shorten two URLs per hour.
async fn limited() -> TestApp {
    TestApp::start_with(&["--rate-limit", "2/h", "--trusted-proxies", "1"]).await
}

async fn shorten_as(app: &TestApp, client: &str) -> Response {
    let request = app.post("/shorten").header("x-forwarded-for", client);
    request.form(&[("url", "https://example.com")]).send().await.unwrap()
}

/// Exceeds the rate limit of an IPv6 network, and returns the last response.
async fn exceed(app: &TestApp) -> Response {
    for client in ["2001:db8::1", "2001:db8::2"] {
        assert_eq!(shorten_as(app, client).await.status(), 201);
    }
    shorten_as(app, "2001:db8::3").await
}

#[tokio::test]
async fn a_client_over_the_limit_is_asked_to_retry_later() {
    let refused = exceed(&limited().await).await;
    let wait: u64 = refused.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1700..=1800).contains(&wait), "{wait}");
    assert_error(refused, 429, "rate_limited").await;
}

#[tokio::test]
async fn a_request_over_the_limit_is_counted() {
    let app = limited().await;
    exceed(&app).await;
    assert_eq!(app.metric(r#"rate_limited_total{limit="client"}"#), Some(1.0));
}

#[tokio::test]
async fn each_client_has_its_own_limit() {
    let app = limited().await;
    exceed(&app).await;
    assert_eq!(shorten_as(&app, "192.0.2.1").await.status(), 201);
}

#[tokio::test]
async fn a_client_over_the_limit_can_follow_links() {
    let app = limited().await;
    exceed(&app).await;
    let request = app.client.get(app.url("/nothing")).header("x-forwarded-for", "2001:db8::3");
    assert_eq!(request.send().await.unwrap().status(), 404);
}
