//! Clients that request a change and disconnect before they get the response.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all, stream};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::{StatusCode, header};
use serde_json::json;
use tokio::time::timeout;
use urlshort::{
    config::StoreOptions,
    link::Link,
    store::{self, Change, History, Store, memory::MemoryStore},
};

use crate::support::{FaultyStore, PATIENCE, Postgres, TestApp, eventually, key, link};

const TOKEN: &str = "writer-0123456789";

const LINKS: usize = 300;

async fn app_on(store: Arc<dyn Store>) -> TestApp {
    // Keep cache entries from expiring and calls from timing out during the test.
    let flags = ["--cache-ttl", "1h", "--store-timeout", "60s", "--request-timeout", "60s"];
    TestApp::start_on(store, &[&["--api-tokens", &format!("ci:{TOKEN}")], &flags[..]].concat()).await
}

/// Takes links down, but cancels each request after at most `longest`.
async fn take_down_and_hang_up(app: &TestApp, keys: &[String], longest: Duration) {
    let mut rng = StdRng::seed_from_u64(2);
    let requests = keys.iter().map(|key| {
        let patience = rng.random_range(Duration::ZERO..longest);
        let url = app.url(&format!("/api/v1/links/{key}/take-down"));
        let request = app.client.post(url).bearer_auth(TOKEN);
        async move {
            // The response may arrive before the timeout.
            let _ = timeout(patience, request.send()).await;
        }
    });
    stream::iter(requests).buffer_unordered(8).collect::<Vec<_>>().await;
}

/// Waits until all links taken down in the store stop redirecting.
///
/// Returns the number of these links.
async fn wait_until_all_stopped(app: &TestApp, store: &dyn Store, keys: &[String]) -> usize {
    eventually(PATIENCE, async || {
        let mut down = Vec::new();
        for text in keys {
            if store.get(&key(text)).await.unwrap().unwrap().link.doc.taken_down_at.is_some() {
                down.push(text);
            }
        }
        let mut redirecting = Vec::new();
        for text in &down {
            match app.get(&format!("/{text}")).await.status() {
                StatusCode::GONE => {}
                StatusCode::FOUND => redirecting.push((*text).clone()),
                other => panic!("{other}"),
            }
        }
        if redirecting.is_empty() { Ok(down.len()) } else { Err(redirecting) }
    })
    .await
}

async fn create_and_cache(app: &TestApp) -> Vec<String> {
    let create = |n| async move { app.shorten_url(&format!("https://{n}.example/")).await };
    let keys = join_all((0..LINKS).map(create)).await;
    for text in &keys {
        // The second request is served from the cache.
        for _ in 0..2 {
            assert_eq!(app.get(&format!("/{text}")).await.status(), StatusCode::FOUND);
        }
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_take_down_that_a_slow_store_applied_stops_redirects() {
    let memory = Arc::new(MemoryStore::default());
    let slow = Arc::new(FaultyStore::around(memory.clone()));
    let app = app_on(slow.clone()).await;
    let keys = create_and_cache(&app).await;
    slow.set_change_delay(Duration::from_millis(20));
    take_down_and_hang_up(&app, &keys, Duration::from_millis(30)).await;
    let down = wait_until_all_stopped(&app, &*memory, &keys).await;
    assert!(down > LINKS / 3, "only {down} take-downs were applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_take_down_that_postgres_applied_stops_redirects() {
    let server = Postgres::start();
    let store_timeout = PATIENCE;
    let open = async || {
        store::open(&StoreOptions { store_timeout, ..StoreOptions::new(server.url().parse().unwrap()) })
            .await
            .unwrap()
    };
    // This store sends no change notifications, so the app must invalidate its cache as part of the take-down.
    let app = app_on(Arc::new(FaultyStore::around(open().await))).await;
    let keys = create_and_cache(&app).await;
    take_down_and_hang_up(&app, &keys, Duration::from_millis(25)).await;
    let down = wait_until_all_stopped(&app, &*open().await, &keys).await;
    assert!(down > LINKS / 10, "only {down} take-downs were applied");
}

#[tokio::test]
async fn repeating_a_change_stops_redirects_of_a_link_that_is_already_down_or_deleted() {
    let memory = Arc::new(MemoryStore::default());
    let app = app_on(Arc::new(FaultyStore::around(memory.clone()))).await;
    for text in ["down", "gone"] {
        assert!(
            app.links.put_if_absent(link(text, "https://example.com"), History::default()).await.unwrap()
        );
        assert_eq!(app.get(&format!("/{text}")).await.status(), StatusCode::FOUND);
    }
    // The app is not notified of these changes.
    let mut down = Link { version: 2, ..link("down", "https://example.com") };
    down.doc.taken_down_at = Some(app.now());
    assert_eq!(memory.update(down, 1).await.unwrap(), Change::Done);
    assert_eq!(
        memory.delete(&key("gone"), link("gone", "https://example.com").revision()).await.unwrap(),
        Change::Done
    );
    for text in ["down", "gone"] {
        assert_eq!(
            app.get(&format!("/{text}")).await.status(),
            StatusCode::FOUND,
            "the instance does not know"
        );
    }

    let repeat = app.post("/api/v1/links/down/take-down").bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(repeat.status(), StatusCode::OK);
    assert_eq!(app.get("/down").await.status(), StatusCode::GONE);
    let edit = app.client.patch(app.url("/api/v1/links/gone")).bearer_auth(TOKEN);
    let edit = edit.json(&json!({ "title": "new" })).send().await.unwrap();
    assert_eq!(edit.status(), StatusCode::NOT_FOUND);
    assert!(edit.headers().get(header::LOCATION).is_none());
    assert_eq!(app.get("/gone").await.status(), StatusCode::NOT_FOUND);
}
