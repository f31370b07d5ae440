//! Key strategies, tested through the API.

use std::{collections::HashSet, sync::Arc};

use rand::{SeedableRng, rngs::StdRng};
use reqwest::header;
use serde_json::{Value, json};
use urlshort::{
    config::{KeyOptions, StrategyName},
    keygen,
    observability::metrics::Metrics,
    store::{History, memory::MemoryStore},
};

use crate::support::{FaultyStore, Mood, Process, TestApp, assert_error, link, sqlite_in, target, uncached};

#[tokio::test]
async fn counter_keys_start_with_qi() {
    let app = TestApp::start_with(&["--key-strategy", "counter"]).await;
    for expected in ["qi", "qj", "qk"] {
        assert_eq!(app.shorten_url("https://example.com").await, expected);
    }
    assert_eq!(app.metric(r#"links_created_total{strategy="counter"}"#), Some(3.0));
}

#[tokio::test]
async fn counter_keys_skip_taken_ones() {
    let app = TestApp::start_with(&["--key-strategy", "counter"]).await;
    assert_eq!(app.shorten(json!({ "url": "https://example.com", "key": "qi" })).await.status(), 201);
    assert_eq!(app.shorten_url("https://example.com").await, "qj");
    assert_eq!(app.metric("key_collisions_total"), Some(1.0));
}

#[tokio::test]
async fn no_counter_key_is_used_twice_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite_in(directory.path());
    let variables = [("STORE_URL", store.as_str()), ("KEY_STRATEGY", "counter")];
    let client = reqwest::Client::new();
    let mut keys = HashSet::new();
    for run in 0..4 {
        let process = Process::start(&variables);
        for _ in 0..150 {
            let request = client.post(process.url("/shorten")).form(&[("url", "https://example.com")]);
            let created: Value =
                request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
            let key = created["key"].as_str().unwrap().to_owned();
            assert!(!keys.is_empty() || key == "qi", "{key}");
            assert!(keys.insert(key), "{created}");
        }
        if run % 2 == 0 { process.kill() } else { assert!(process.terminate().success()) }
    }
}

#[tokio::test]
async fn the_same_url_gets_the_same_hash_key() {
    let app = TestApp::start_with(&["--key-strategy", "hash"]).await;
    let first = app.shorten(json!({ "url": "https://example.com" })).await;
    assert_eq!(first.status(), 201);
    let again = app.shorten(json!({ "url": "HTTPS://example.com:443/" })).await;
    assert_eq!(again.status(), 200);
    let location = again.headers()[header::LOCATION].clone();
    assert_eq!(first.headers()[header::LOCATION], location);
    let links: [Value; 2] = [first.json().await.unwrap(), again.json().await.unwrap()];
    assert_eq!(links[0], links[1]);
    // The key is the start of the URL's SHA-256 hash (`printf %s https://example.com/ | sha256sum`) in base 62.
    assert_eq!(links[0]["key"], "dJGXxlz");
}

#[tokio::test]
async fn a_hash_key_taken_by_another_url_is_replaced_by_the_next() {
    let app = TestApp::start_with(&["--key-strategy", "hash"]).await;
    let [first, second] = hash_keys(2).await.try_into().unwrap();
    assert!(
        app.links.put_if_absent(link(&first, "https://other.example"), History::default()).await.unwrap()
    );
    assert_eq!(app.shorten_url("https://example.com").await, second);
    assert_eq!(app.metric("key_collisions_total"), Some(1.0));
}

#[tokio::test]
async fn a_taken_down_link_with_a_hash_key_is_not_reused() {
    let app = TestApp::start_with(&["--key-strategy", "hash"]).await;
    let [first, second] = hash_keys(2).await.try_into().unwrap();
    let mut gone = link(&first, "https://example.com");
    gone.doc.taken_down_at = Some(gone.created_at);
    assert!(app.links.put_if_absent(gone, History::default()).await.unwrap());
    assert_eq!(app.shorten_url("https://example.com").await, second);
}

/// Other links to the same URL, which have titles, first take the keys that the URL would get without a title.
#[tokio::test]
async fn a_url_can_be_shortened_under_hash_however_often_others_shorten_it() {
    let app = TestApp::start_with(&["--key-strategy", "hash"]).await;
    for number in 0..30 {
        let body = json!({ "url": "https://example.com", "title": format!("title {number}") });
        assert_eq!(app.shorten(body).await.status(), 201);
    }
    for _ in 0..3 {
        let key = app.shorten_url("https://example.com").await;
        assert!(key.starts_with("dJGXxlz"), "{key}");
        assert_eq!(app.get(&format!("/{key}")).await.headers()[header::LOCATION], "https://example.com/");
    }
}

#[tokio::test]
async fn counter_keys_that_others_took_in_advance_stop_nobody() {
    let app = TestApp::start_with(&["--key-strategy", "counter"]).await;
    let (digits, mut taken) = ("abcdefghijklmnopqrstuvwxyz0123456789", 0);
    for (first, second) in
        "qrstuv".chars().flat_map(|first| digits.chars().map(move |second| (first, second)))
    {
        let body = json!({ "url": "https://squatter.example", "key": format!("{first}{second}") });
        assert_eq!(app.shorten(body).await.status(), 201);
        taken += 1;
    }
    assert!(taken >= 200);
    let mut keys = HashSet::new();
    for _ in 0..150 {
        assert!(keys.insert(app.shorten_url("https://example.com").await));
    }
    let mut lengths: Vec<_> = keys.iter().map(String::len).collect();
    lengths.sort();
    assert_eq!(lengths[0], 2, "past the taken range, keys are short again");
}

#[tokio::test]
async fn an_unreachable_counter_fails_a_request_and_recovers_later() {
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(store.clone(), &["--key-strategy", "counter"]).await;
    store.set_mood(Mood::Broken);
    let refused = app.shorten(json!({ "url": "https://example.com" })).await;
    assert_error(refused, 503, "store_unavailable").await;
    store.set_mood(Mood::Fine);
    assert_eq!(app.shorten_url("https://example.com").await, "qi");
}

/// Returns the keys that the `hash` strategy proposes for `https://example.com`.
async fn hash_keys(attempts: u32) -> Vec<String> {
    let links = Arc::new(uncached(Arc::new(MemoryStore::default()), Arc::new(Metrics::new())));
    let options = KeyOptions { key_strategy: StrategyName::Hash, key_length: 7 };
    let strategy = keygen::strategy(&options, StdRng::seed_from_u64(0), links);
    let mut keys = Vec::new();
    for attempt in 0..attempts {
        keys.push(strategy.propose(&target("https://example.com"), attempt).await.unwrap().to_string());
    }
    keys
}
