//! `GET /api/v1/links`: pages of links.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{WRITE, app, call, create, json_of};
use crate::support::{FaultyStore, Mood, TestApp, assert_error};

/// Starts a service with links `k0` to `k24`, created one second apart.
async fn with_25_links() -> TestApp {
    let app = app().await;
    for number in 0..25 {
        let tag = if number % 5 == 0 { "fifth" } else { "other" };
        let body = json!({ "url": format!("https://example.com/{number}"), "key": format!("k{number}"), "tags": [tag] });
        create(&app, body).await;
        app.advance(Duration::from_secs(1));
    }
    app
}

async fn page(app: &TestApp, query: &str) -> Value {
    json_of(call(app, Method::GET, &format!("/api/v1/links?{query}"))).await
}

fn keys(page: &Value) -> Vec<String> {
    let links = page["links"].as_array().unwrap().iter();
    links.map(|link| link["key"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn links_are_listed_a_page_at_a_time_newest_first() {
    let app = with_25_links().await;
    let newest: Vec<_> = (0..25).rev().map(|number| format!("k{number}")).collect();
    let mut query = "limit=10".to_owned();
    for expected in newest.chunks(10) {
        let page = page(&app, &query).await;
        assert_eq!(keys(&page), expected);
        query = format!("limit=10&cursor={}", page["next"].as_str().unwrap_or("none"));
    }
    assert!(query.ends_with("=none"), "there is a page after the last link");
}

#[tokio::test]
async fn links_can_be_listed_oldest_first() {
    assert_eq!(keys(&page(&with_25_links().await, "sort=oldest&limit=2").await), ["k0", "k1"]);
}

#[tokio::test]
async fn links_are_found_by_tag() {
    let found = page(&with_25_links().await, "tag=fifth&sort=oldest").await;
    assert_eq!(keys(&found), ["k0", "k5", "k10", "k15", "k20"]);
}

#[tokio::test]
async fn links_are_found_by_part_of_their_target() {
    let found = page(&with_25_links().await, "search=COM/1&limit=3&sort=oldest").await;
    assert_eq!(keys(&found), ["k1", "k10", "k11"]);
}

#[tokio::test]
async fn links_without_clicks_are_not_among_the_most_clicked() {
    assert!(keys(&page(&with_25_links().await, "sort=most_clicked").await).is_empty());
}

#[tokio::test]
async fn an_invalid_query_is_refused() {
    let app = app().await;
    let long = format!("search={}", "x".repeat(201));
    for query in [
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=x",
        "sort=best",
        "tag=a,b",
        "page=2",
        "by=a b",
        "by=",
        "state=gone",
        "url=ftp://example.com",
        "url=",
        &long,
    ] {
        let refused = call(&app, Method::GET, &format!("/api/v1/links?{query}")).send().await.unwrap();
        assert_error(refused, 400, "invalid_query").await;
    }
}

#[tokio::test]
async fn links_are_found_by_creator_state_and_target() {
    let app = app().await;
    let shorten = |body: Value| app.shorten(body);
    let target = "https://example.com/a?b=c";
    assert_eq!(shorten(json!({ "url": target, "key": "by-nobody" })).await.status(), 201);
    create(&app, json!({ "url": target, "key": "limited", "max_visits": 1 })).await;
    create(&app, json!({ "url": "https://example.com", "key": "ends", "expires_in": "60s" })).await;
    create(
        &app,
        json!({ "url": "https://example.com", "key": "starts", "starts_at": "2026-06-02T00:00:00Z" }),
    )
    .await;
    create(&app, json!({ "url": "https://example.com", "key": "down" })).await;
    call(&app, Method::POST, "/api/v1/links/down/take-down")
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    assert_eq!(app.get("/limited").await.status(), 302);
    for (query, expected) in [
        ("by=public", &["by-nobody"][..]),
        ("by=ci&state=active", &["ends"]),
        ("by=import", &[]),
        ("state=used_up", &["limited"]),
        ("state=scheduled", &["starts"]),
        ("state=taken_down", &["down"]),
        ("state=expired", &[]),
        ("url=HTTPS%3A%2F%2FEXAMPLE.com%3A443%2Fa%3Fb%3Dc", &["by-nobody", "limited"]),
        ("url=https://example.com/a", &[]),
        ("search=", &["by-nobody", "down", "ends", "limited", "starts"]),
    ] {
        let found = page(&app, query).await;
        assert_eq!((&found["next"], &found["searched"]), (&Value::Null, &Value::Null), "{query}");
        let mut found = keys(&found);
        found.sort_unstable();
        assert_eq!(found, expected, "{query}");
    }
    app.advance(Duration::from_secs(60));
    assert_eq!(keys(&page(&app, "state=expired").await), ["ends"]);
}

#[tokio::test]
async fn concurrent_searches_wait_for_each_other() {
    let app = with_25_links().await;
    let responses = join_all((0..60).map(|_| page(&app, "search=COM/1&limit=3&sort=oldest"))).await;
    assert!(responses.iter().all(|found| keys(found) == ["k1", "k10", "k11"]));
}

#[tokio::test]
async fn a_search_that_waits_too_long_for_another_is_refused() {
    let store = Arc::new(FaultyStore::default());
    let tokens = format!("ci:{WRITE}");
    let flags = ["--api-tokens", &tokens, "--store-timeout", "4s"];
    let app = TestApp::start_on(store.clone(), &flags).await;
    store.set_mood(Mood::Frozen);
    let searches = (0..3).map(|_| call(&app, Method::GET, "/api/v1/links?search=x").send());
    let mut codes = Vec::new();
    for response in join_all(searches).await {
        let response = response.unwrap();
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        let body: Value = response.json().await.unwrap();
        codes.push(body["code"].as_str().unwrap().to_owned());
    }
    codes.sort_unstable();
    assert_eq!(codes, ["overloaded", "overloaded", "store_unavailable"]);

    store.set_mood(Mood::Fine);
    assert!(keys(&page(&app, "search=x").await).is_empty());
}
