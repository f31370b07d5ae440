//! Rate limits on creating links with a token.

use reqwest::{RequestBuilder, Response, header};
use serde_json::{Value, json};

use crate::support::{TestApp, assert_error};

const CI: &str = "0123456789abcdef-ci";
const OTHER: &str = "0123456789abcdef-other";

/// Starts a service with two tokens and these rate limits.
async fn limited(per_token: &str, per_client: &str) -> TestApp {
    let tokens = format!("ci:{CI},other:{OTHER}");
    let flags = ["--api-tokens", &tokens, "--token-rate-limit", per_token, "--rate-limit", per_client];
    TestApp::start_with(&flags).await
}

fn create(app: &TestApp, path: &str) -> RequestBuilder {
    app.post(path).json(&json!({ "url": "https://example.com" }))
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

async fn create_batch(app: &TestApp, number: usize) -> Response {
    let links = vec![json!({ "url": "https://example.com" }); number];
    app.post("/api/v1/links/batch").bearer_auth(CI).json(&json!({ "links": links })).send().await.unwrap()
}

async fn links(app: &TestApp) -> usize {
    let request = app.client.get(app.url("/api/v1/links")).bearer_auth(OTHER);
    let page: Value = request.send().await.unwrap().json().await.unwrap();
    page["links"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_token_has_one_limit_for_all_ways_to_create_a_link() {
    let app = limited("2/h", "0").await;
    for path in ["/api/v1/links", "/shorten"] {
        assert_eq!(status(create(&app, path).bearer_auth(CI)).await, 201, "{path}");
    }
    for path in ["/api/v1/links", "/shorten"] {
        let refused = create(&app, path).bearer_auth(CI).send().await.unwrap();
        let wait: u64 = refused.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!((1700..=1800).contains(&wait), "{wait}");
        assert_error(refused, 429, "rate_limited").await;
    }
    let sign_in = app.post("/ui/sign-in").form(&[("token", CI)]).send().await.unwrap();
    let cookie = sign_in.headers()[header::SET_COOKIE].to_str().unwrap();
    let form = app.post("/ui/new").header(header::COOKIE, cookie).header("sec-fetch-site", "same-origin");
    assert_eq!(status(form.form(&[("url", "https://example.com")])).await, 429, "the form");
    assert_eq!(app.metric(r#"rate_limited_total{limit="token"}"#), Some(3.0));
    assert_eq!(status(create(&app, "/shorten").bearer_auth(OTHER)).await, 201, "another token");
    assert_eq!(status(create(&app, "/shorten")).await, 201, "no token");
    assert_eq!(links(&app).await, 4);
}

#[tokio::test]
async fn a_token_is_exempt_from_the_limit_of_its_client() {
    let app = limited("0", "1/h").await;
    assert_eq!(status(create(&app, "/shorten")).await, 201);
    assert_eq!(status(create(&app, "/shorten")).await, 429);
    for _ in 0..3 {
        assert_eq!(status(create(&app, "/shorten").bearer_auth(CI)).await, 201);
    }
    assert_eq!(app.metric(r#"rate_limited_total{limit="client"}"#), Some(1.0));
}

#[tokio::test]
async fn each_link_of_a_batch_counts_and_a_batch_over_the_limit_creates_none() {
    let app = limited("5/h", "0").await;
    assert_eq!(create_batch(&app, 3).await.status(), 200);
    assert_error(create_batch(&app, 3).await, 429, "rate_limited").await;
    assert_eq!(links(&app).await, 3);
    assert_eq!(create_batch(&app, 2).await.status(), 200);
    assert_eq!(links(&app).await, 5);
}

#[tokio::test]
async fn a_batch_larger_than_the_limit_is_refused_with_the_largest_size() {
    let app = limited("5/h", "0").await;
    let sentence = assert_error(create_batch(&app, 6).await, 400, "invalid_body").await;
    assert!(sentence.ends_with("the rate limit of this token allows at once, which is 5"), "{sentence}");
    assert_eq!(app.metric(r#"rate_limited_total{limit="token"}"#), Some(0.0));
    assert_eq!(create_batch(&app, 5).await.status(), 200, "the refusal used no quota");
}
