//! `POST /api/v1/links/batch`: creating many links in one request.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder, Response, header};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Process, TestApp, assert_error, eventually, memory};

const TOKEN: &str = "writer-0123456789";
const TOKENS: &str = "ci:writer-0123456789";

async fn app() -> TestApp {
    TestApp::start_with(&["--api-tokens", TOKENS]).await
}

fn call(app: &TestApp, method: Method, path: &str) -> RequestBuilder {
    app.client.request(method, app.url(path)).bearer_auth(TOKEN)
}

async fn batch(app: &TestApp, links: Value, idempotency: Option<&str>) -> Response {
    let mut request = call(app, Method::POST, "/api/v1/links/batch").json(&json!({ "links": links }));
    if let Some(key) = idempotency {
        request = request.header("Idempotency-Key", key);
    }
    request.send().await.unwrap()
}

/// Returns the status and key of each link in a batch response.
async fn statuses_and_keys(response: Response) -> Vec<(u64, String)> {
    let body: Value = response.json().await.unwrap();
    let key = |result: &Value| {
        (result["status"].as_u64().unwrap(), result["link"]["key"].as_str().unwrap().to_owned())
    };
    body["results"].as_array().unwrap().iter().map(key).collect()
}

#[tokio::test]
async fn a_batch_reports_the_result_of_each_link() {
    let app = app().await;
    let links = json!([
        { "url": "https://example.com/1", "key": "one" },
        { "url": "nonsense" },
        { "url": "https://example.com/2", "key": "one" },
        { "url": "https://example.com/3", "title": "three" },
    ]);
    let results: Value = batch(&app, links, None).await.json().await.unwrap();
    let results = results["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|result| &result["status"]).collect::<Vec<_>>(), [201, 400, 409, 201]);
    assert_eq!(results[1]["error"]["code"], "invalid_url");
    assert_eq!(results[3]["link"]["title"], "three");
}

#[tokio::test]
async fn a_batch_without_links_or_with_too_many_is_refused() {
    let app = app().await;
    for links in [json!([]), json!(vec![json!({ "url": "https://example.com" }); 1001]), json!("x")] {
        assert_error(batch(&app, links, None).await, 400, "invalid_body").await;
    }
}

#[tokio::test]
async fn a_batch_repeated_with_its_idempotency_key_creates_no_duplicates() {
    let app = app().await;
    let many: Vec<_> = (0..1000).map(|n| json!({ "url": format!("https://example.com/{n}") })).collect();
    let send = async || statuses_and_keys(batch(&app, json!(many), Some("import-7")).await).await;
    let (first, again) = (send().await, send().await);
    assert!(first.iter().all(|(status, _)| *status == 201) && again.iter().all(|(status, _)| *status == 200));
    assert_eq!(first.iter().map(|(_, key)| key).collect::<HashSet<_>>().len(), 1000);
    assert!(first.iter().zip(&again).all(|(first, again)| first.1 == again.1));
}

#[tokio::test]
async fn a_batch_with_another_idempotency_key_creates_new_links() {
    let app = app().await;
    let send = async |idempotency| {
        let links = json!([{ "url": "https://example.com/0" }]);
        statuses_and_keys(batch(&app, links, Some(idempotency)).await).await.remove(0)
    };
    let (first, other) = (send("import-7").await, send("import-8").await);
    assert_eq!((first.0, other.0), (201, 201));
    assert_ne!(first.1, other.1);
}

#[tokio::test]
async fn an_empty_idempotency_key_is_refused() {
    let app = app().await;
    let links = json!([{ "url": "https://example.com" }]);
    assert_error(batch(&app, links, Some("")).await, 400, "invalid_idempotency_key").await;
}

/// Hashing a password takes about 20 ms of CPU time, so hashing 150 passwords takes longer than the request timeout.
#[tokio::test]
async fn a_batch_with_many_passwords_completes_when_repeated() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS, "--request-timeout", "700ms"]).await;
    let links = vec![json!({ "url": "https://example.com", "password": "open sesame" }); 150];
    // Each attempt continues where the previous one stopped.
    let results = eventually(PATIENCE, async || {
        let request = call(&app, Method::POST, "/api/v1/links/batch").json(&json!({ "links": links }));
        let response = request.header("Idempotency-Key", "import-7").send().await.unwrap();
        match response.status().as_u16() {
            200 => Ok(response.json::<Value>().await.unwrap()),
            status @ (503 | 504) => Err(status),
            other => panic!("{other}"),
        }
    })
    .await;
    let results = results["results"].as_array().unwrap();
    for item in results {
        assert!(matches!(item["status"].as_u64(), Some(200 | 201)), "{item}");
    }
    assert_eq!(app.metric(r#"links_created_total{strategy="custom"}"#), Some(150.0));
}

#[tokio::test]
async fn a_taken_key_is_refused_before_a_password_is_hashed() {
    let app = TestApp::start_with(&["--request-timeout", "700ms"]).await;
    let link = json!({ "url": "https://example.com", "key": "k", "password": "open sesame" });
    assert_eq!(app.shorten(link.clone()).await.status(), 201);
    let statuses = join_all((0..500).map(|_| app.shorten(link.clone()))).await;
    assert!(statuses.iter().all(|response| response.status() == 409));
}

#[tokio::test]
async fn a_relative_expiry_in_an_idempotent_batch_is_refused() {
    let app = app().await;
    let links = json!([{ "url": "https://example.com", "expires_in": "1h" }]);
    let relative = batch(&app, links, Some("import-7")).await;
    let sentence = assert_error(relative, 400, "invalid_option").await;
    assert!(sentence.contains("expires_at"), "{sentence}");
}

#[tokio::test]
async fn a_repeated_batch_still_finds_its_expired_link() {
    let app = app().await;
    let links = json!([{ "url": "https://example.com", "expires_at": "2026-06-01T13:00:00Z" }]);
    // By the last attempt, the link has expired.
    for status in [201, 200, 200] {
        let results = statuses_and_keys(batch(&app, links.clone(), Some("import-7")).await).await;
        assert_eq!(results[0].0, status);
        app.advance(Duration::from_mins(45));
    }
}

#[tokio::test]
async fn a_huge_batch_uses_bounded_memory() {
    let process = Process::start(&[("API_TOKENS", TOKENS)]);
    let client = reqwest::Client::new();
    let before = memory(process.pid(), "VmHWM");
    let repeated = |part: &str| part.repeat((8_000_000 - 200) / part.len());
    for body in [
        format!("{{\"links\":[{}{{}}]}}", repeated("{},")),
        format!("{{\"links\":[{{\"tags\":[{}\"\"]}}]}}", repeated("\"\",")),
        format!("{{\"links\":[{{\"tags\":\"{}\"}}]}}", repeated("a,")),
        format!("{{\"links\":[{{\"url\":[{}[]]}}]}}", repeated("[],")),
        format!("{{\"links\":[{{\"expires_in\":[{}[]]}}]}}", repeated("[],")),
        format!("{{\"links\":[{{\"url\":\"https://{}\"}}]}}", repeated("é.")),
    ] {
        let request = client.post(process.url("/api/v1/links/batch")).bearer_auth(TOKEN);
        let response =
            request.header(header::CONTENT_TYPE, "application/json").body(body).send().await.unwrap();
        assert!(matches!(response.status().as_u16(), 200 | 400), "{}", response.status());
    }
    let grown = memory(process.pid(), "VmHWM") - before;
    assert!(grown < 64 << 20, "{} MiB", grown >> 20);
}
