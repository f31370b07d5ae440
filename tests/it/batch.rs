//! `POST /api/v1/links/batch`: many links in one request.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder, header};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Process, TestApp, assert_error, eventually};

const TOKEN: &str = "writer-0123456789";
const TOKENS: &str = "ci:writer-0123456789";

async fn app() -> TestApp {
    TestApp::start_with(&["--api-tokens", TOKENS]).await
}

fn call(app: &TestApp, method: Method, path: &str) -> RequestBuilder {
    app.client.request(method, app.url(path)).bearer_auth(TOKEN)
}

#[tokio::test]
async fn a_batch_makes_what_it_can_and_says_what_became_of_each() {
    let app = app().await;
    let batch = |links: Value, idempotency: Option<&str>| {
        let mut request = call(&app, Method::POST, "/api/v1/links/batch").json(&json!({ "links": links }));
        if let Some(key) = idempotency {
            request = request.header("Idempotency-Key", key);
        }
        request.send()
    };
    let links = json!([
        { "url": "https://example.com/1", "key": "one" },
        { "url": "nonsense" },
        { "url": "https://example.com/2", "key": "one" },
        { "url": "https://example.com/3", "title": "three" },
    ]);
    let results: Value = batch(links, None).await.unwrap().json().await.unwrap();
    let results = results["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|result| &result["status"]).collect::<Vec<_>>(), [201, 400, 409, 201]);
    assert_eq!(results[1]["error"]["code"], "invalid_url");
    assert_eq!(results[3]["link"]["title"], "three");
    for links in [json!([]), json!(vec![json!({ "url": "https://example.com" }); 1001]), json!("x")] {
        assert_error(batch(links, None).await.unwrap(), 400, "invalid_body").await;
    }

    let many: Vec<_> = (0..1000).map(|n| json!({ "url": format!("https://example.com/{n}") })).collect();
    let keys = async || -> Vec<(u64, String)> {
        let results: Value = batch(json!(many), Some("import-7")).await.unwrap().json().await.unwrap();
        let results = results["results"].as_array().unwrap().iter();
        let key = |result: &Value| {
            (result["status"].as_u64().unwrap(), result["link"]["key"].as_str().unwrap().to_owned())
        };
        results.map(key).collect()
    };
    let (first, again) = (keys().await, keys().await);
    assert!(first.iter().all(|(status, _)| *status == 201) && again.iter().all(|(status, _)| *status == 200));
    assert_eq!(first.iter().map(|(_, key)| key).collect::<HashSet<_>>().len(), 1000);
    assert!(first.iter().zip(&again).all(|(first, again)| first.1 == again.1), "nothing is made twice");
    let other = batch(json!([{ "url": "https://example.com/0" }]), Some("import-8")).await.unwrap();
    assert_eq!(other.json::<Value>().await.unwrap()["results"][0]["status"], 201);
    assert_error(batch(json!([{}]), Some("")).await.unwrap(), 400, "invalid_idempotency_key").await;
}

/// Each hash takes some 20 ms of a core, so all of them take longer than a request may.
#[tokio::test]
async fn a_batch_with_many_passwords_gets_done_by_repeating_it() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS, "--request-timeout", "700ms"]).await;
    let links = vec![json!({ "url": "https://example.com", "password": "open sesame" }); 150];
    // Each try goes on where the one before ended.
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
async fn what_would_mean_another_time_when_it_is_repeated_is_refused() {
    let app = app().await;
    let batch = |link: Value| {
        let request = call(&app, Method::POST, "/api/v1/links/batch").json(&json!({ "links": [link] }));
        request.header("Idempotency-Key", "import-7").send()
    };
    let relative = batch(json!({ "url": "https://example.com", "expires_in": "1h" })).await.unwrap();
    let sentence = assert_error(relative, 400, "invalid_option").await;
    assert!(sentence.contains("expires_at"), "{sentence}");
    let absolute = json!({ "url": "https://example.com", "expires_at": "2026-06-01T13:00:00Z" });
    for status in [201, 200, 200] {
        let results: Value = batch(absolute.clone()).await.unwrap().json().await.unwrap();
        assert_eq!(results["results"][0]["status"], status);
        // The last time it has expired, and is still what was made.
        app.advance(Duration::from_mins(45));
    }
}

/// The most memory that the process ever held, in bytes.
fn peak_memory(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_batch_of_far_too_many_links_takes_no_more_memory_than_its_body() {
    let process = Process::start(&[("API_TOKENS", TOKENS)]);
    let client = reqwest::Client::new();
    let before = peak_memory(&process);
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
    let grown = peak_memory(&process) - before;
    assert!(grown < 64 << 20, "{} MiB", grown >> 20);
}
