//! `POST /api/v1/links/take-down`: taking down many links at once.

use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use urlshort::{
    link::Link,
    store::{Change, History, Store, memory::MemoryStore},
};

use crate::support::{
    FaultyStore, PATIENCE, Postgres, Process, Redis, RedisCluster, TestApp, assert_error, eventually, key,
    link, open, sqlite_in,
};

const WRITE: &str = "writer-0123456789";
const TOKENS: &str = "ci:writer-0123456789,dash:reader-0123456789:read";

/// The number of links to create.
///
/// A single request takes down fewer links than this.
const MANY: usize = 1200;

fn post(app: &TestApp, body: &Value) -> RequestBuilder {
    app.post("/api/v1/links/take-down").bearer_auth(WRITE).json(body)
}

/// Repeats the request until all links are down, and returns the count from each response.
async fn take_down(app: &TestApp, mut body: Value) -> Vec<u64> {
    let mut done = Vec::new();
    loop {
        let response: Value =
            post(app, &body).send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
        done.push(response["done"].as_u64().unwrap());
        assert!(done.len() < 100, "the take-down never ends");
        match response["next"].as_str() {
            Some(next) => body["cursor"] = next.into(),
            None => return done,
        }
    }
}

async fn put(store: &dyn Store, key: &str, target: &str, tag: &str, by: &str) {
    let mut link = link(key, target);
    link.doc.created_by = by.parse().unwrap();
    link.doc.options.tags = urlshort::link::options::Tags::parse([tag]).unwrap();
    assert!(store.put_if_absent(link, History::default()).await.unwrap());
}

async fn down(store: &dyn Store, prefix: &str, count: usize) -> usize {
    let keys: Vec<_> = (0..count).map(|number| key(&format!("{prefix}{number}"))).collect();
    let found = join_all(keys.iter().map(|key| store.get(key))).await;
    found
        .into_iter()
        .filter(|found| found.as_ref().unwrap().as_ref().unwrap().link.doc.taken_down_at.is_some())
        .count()
}

async fn links_are_taken_down_by_host_tag_and_creator(store: Arc<dyn Store>) {
    let puts = (0..MANY).map(|number| {
        let (key, target) = (format!("evil{number}"), format!("https://{number}.evil.example/{number}"));
        let store = store.clone();
        async move { put(&*store, &key, &target, "other", "ben").await }
    });
    join_all(puts).await;
    for number in 0..3 {
        put(&*store, &format!("near{number}"), "https://notevil.example/?evil.example", "spam", "anna").await;
        put(&*store, &format!("anna{number}"), "https://good.example/", "other", "anna").await;
    }
    let app = TestApp::start_on(store.clone(), &["--api-tokens", TOKENS]).await;
    assert_eq!(app.get("/evil7").await.status(), 302);

    let dry = take_down(&app, json!({ "host": ".evil.example", "dry_run": true })).await;
    assert_eq!(dry.iter().sum::<u64>(), MANY as u64);
    assert_eq!(down(&*store, "evil", MANY).await, 0, "a dry run changes nothing");
    assert_eq!(take_down(&app, json!({ "host": "evil.example" })).await.iter().sum::<u64>(), 0);

    let done = take_down(&app, json!({ "host": ".EVIL.example." })).await;
    assert!(done.len() >= 3 && done.iter().all(|done| *done <= 500), "{done:?}");
    assert_eq!(done.iter().sum::<u64>(), MANY as u64);
    assert_eq!(down(&*store, "evil", MANY).await, MANY);
    assert_eq!(app.get("/evil7").await.status(), 410);
    assert_eq!(down(&*store, "near", 3).await, 0);
    let again = take_down(&app, json!({ "host": ".evil.example" })).await;
    assert_eq!(again.iter().sum::<u64>(), 0, "links that are down already do not count");

    assert_eq!(take_down(&app, json!({ "tag": "spam" })).await.iter().sum::<u64>(), 3);
    assert_eq!((down(&*store, "near", 3).await, down(&*store, "anna", 3).await), (3, 0));
    assert_eq!(take_down(&app, json!({ "by": "anna" })).await.iter().sum::<u64>(), 3);
    assert_eq!(down(&*store, "anna", 3).await, 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_memory_are_taken_down() {
    links_are_taken_down_by_host_tag_and_creator(open("memory:").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_sqlite_are_taken_down() {
    let directory = tempfile::tempdir().unwrap();
    links_are_taken_down_by_host_tag_and_creator(open(&sqlite_in(directory.path())).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_postgres_are_taken_down() {
    let server = Postgres::start();
    links_are_taken_down_by_host_tag_and_creator(open(&server.url()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_redis_are_taken_down() {
    let server = Redis::start();
    links_are_taken_down_by_host_tag_and_creator(open(&server.url()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_a_redis_cluster_are_taken_down() {
    let cluster = RedisCluster::start();
    links_are_taken_down_by_host_tag_and_creator(open(&cluster.url()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_instances_stop_redirecting() {
    let server = Postgres::start();
    let apps = [
        TestApp::start_on(open(&server.url()).await, &["--api-tokens", TOKENS, "--cache-ttl", "1h"]).await,
        TestApp::start_on(open(&server.url()).await, &["--cache-ttl", "1h"]).await,
    ];
    let other = &apps[1];
    for number in 0..50 {
        put(&*open(&server.url()).await, &format!("k{number}"), "https://evil.example/", "x", "anna").await;
    }
    for number in 0..50 {
        assert_eq!(other.get(&format!("/k{number}")).await.status(), 302);
    }
    assert_eq!(take_down(&apps[0], json!({ "by": "anna" })).await, [50]);
    for number in 0..50 {
        eventually(PATIENCE, async || match other.get(&format!("/k{number}")).await.status().as_u16() {
            410 => Ok(()),
            status => Err((number, status)),
        })
        .await;
    }
}

#[tokio::test]
async fn a_request_needs_exactly_one_valid_criterion() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS]).await;
    for (body, code) in [
        (json!({}), "invalid_option"),
        (json!({ "dry_run": true }), "invalid_option"),
        (json!({ "host": "a.example", "tag": "x" }), "invalid_option"),
        (json!({ "host": "https://a.example" }), "invalid_option"),
        (json!({ "host": "*.a.example" }), "invalid_option"),
        (json!({ "host": "" }), "invalid_option"),
        (json!({ "tag": "a,b" }), "invalid_option"),
        (json!({ "by": "a b" }), "invalid_option"),
        (json!({ "by": "anna", "cursor": "x" }), "invalid_option"),
        (json!({ "by": "anna", "dry_run": "yes" }), "invalid_body"),
        (json!({ "by": 1 }), "invalid_body"),
        (json!({ "creator": "anna" }), "invalid_body"),
    ] {
        let sentence = assert_error(post(&app, &body).send().await.unwrap(), 400, code).await;
        assert!(!sentence.is_empty(), "{body}");
    }
    let read_only = app.post("/api/v1/links/take-down").bearer_auth("reader-0123456789");
    assert_error(read_only.json(&json!({ "by": "anna" })).send().await.unwrap(), 403, "forbidden").await;
}

#[tokio::test]
async fn a_link_named_like_the_route_can_still_be_managed() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS]).await;
    let call = |method: Method| {
        let request = app.client.request(method, app.url("/api/v1/links/take-down")).bearer_auth(WRITE);
        request.json(&json!({ "title": "new" })).send()
    };
    let created = app.shorten(json!({ "url": "https://example.com", "key": "take-down" })).await;
    assert_eq!(created.status(), 201);
    assert_eq!(call(Method::PATCH).await.unwrap().status(), 200);
    assert_eq!(call(Method::GET).await.unwrap().json::<Value>().await.unwrap()["title"], "new");
    assert_eq!(call(Method::DELETE).await.unwrap().status(), 204);
}

#[tokio::test]
async fn a_concurrent_edit_is_kept_and_a_link_that_moved_elsewhere_stays() {
    let memory = Arc::new(MemoryStore::default());
    for key in ["edited", "moved"] {
        put(&*memory, key, "https://evil.example/", "x", "anna").await;
    }
    let held = Arc::new(FaultyStore::around(memory.clone()));
    let app = TestApp::start_on(held.clone(), &["--api-tokens", TOKENS]).await;
    // Hold back lookups, so that the edits below happen after the take-down has read both links.
    held.hold_lookups(true);
    let body = json!({ "host": "evil.example" });
    let request = tokio::spawn(post(&app, &body).send());
    eventually(PATIENCE, async || if held.held_lookups() == 2 { Ok(()) } else { Err(held.held_lookups()) })
        .await;
    for (key, target, title) in
        [("edited", "https://evil.example/", "new"), ("moved", "https://good.example/", "old")]
    {
        let mut edited = Link { version: 2, ..link(key, target) };
        edited.doc.options.title = Some(title.parse().unwrap());
        assert_eq!(memory.update(edited, 1).await.unwrap(), Change::Done);
    }
    held.hold_lookups(false);
    let response: Value = request.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(response, json!({ "done": 1, "next": null }));
    let edited = memory.get(&key("edited")).await.unwrap().unwrap().link.clone();
    assert_eq!((edited.version, edited.doc.taken_down_at.is_some()), (3, true));
    assert_eq!(edited.doc.options.title.as_ref().unwrap().as_str(), "new");
    assert_eq!(memory.get(&key("moved")).await.unwrap().unwrap().link.doc.taken_down_at, None);
}

#[test]
fn each_link_is_logged() {
    let process = Process::start(&[("API_TOKENS", TOKENS)]);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = reqwest::Client::new();
        for key in ["a", "b", "c"] {
            let body = json!({ "url": "https://evil.example", "key": key, "tags": ["x"] });
            let created = client.post(process.url("/shorten")).json(&body).send().await.unwrap();
            assert_eq!(created.status(), 201);
        }
        let body = json!({ "tag": "x" });
        for _ in 0..2 {
            let request = client.post(process.url("/api/v1/links/take-down")).bearer_auth(WRITE).json(&body);
            assert_eq!(request.header("x-request-id", "id-1").send().await.unwrap().status(), 200);
        }
    });
    process.signal(rustix::process::Signal::TERM);
    let mut changes = Vec::new();
    while let Some(line) = process.next_log_line() {
        if line["msg"] == "link changed" && line["action"] == "taken_down" {
            assert_eq!((&line["token"], &line["request_id"]), (&json!("ci"), &json!("id-1")));
            changes.push(line["key"].as_str().unwrap().to_owned());
        }
    }
    changes.sort_unstable();
    assert_eq!(changes, ["a", "b", "c"]);
}
