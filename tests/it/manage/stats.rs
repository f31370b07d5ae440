//! `GET /api/v1/links/{key}/stats`.

use std::time::Duration;

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{app, call, create, json_of};
use crate::support::{PATIENCE, TestApp, assert_error, eventually};

/// Starts a service in which link `k` has visits on two days.
///
/// Two people and a bot followed the link on June 1. One person followed it on June 2.
async fn with_visits() -> TestApp {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let visit = async |agent: &str, referrer: &str| {
        let request = app.client.get(app.url("/k")).header(header::USER_AGENT, agent);
        assert_eq!(request.header(header::REFERER, referrer).send().await.unwrap().status(), 302);
    };
    visit("Mozilla/5.0 (iPhone) Mobile/15E148", "https://news.example/page?secret=1").await;
    visit("Mozilla/5.0 (X11; Linux x86_64)", "https://news.example/").await;
    visit("Googlebot/2.1", "https://news.example/").await;
    app.client.head(app.url("/k")).send().await.unwrap();
    app.advance(Duration::from_hours(24));
    visit("curl/8", "").await;
    eventually(PATIENCE, async || {
        let seen = stats(&app, "?from=2026-06-01").await;
        if seen["people"] == 3 && seen["bots"] == 1 { Ok(()) } else { Err(seen) }
    })
    .await;
    app
}

async fn stats(app: &TestApp, query: &str) -> Value {
    json_of(call(app, Method::GET, &format!("/api/v1/links/k/stats{query}"))).await
}

#[tokio::test]
async fn people_and_bots_are_counted_separately_by_day() {
    assert_eq!(
        stats(&with_visits().await, "?from=2026-06-01").await,
        json!({
            "key": "k", "from": "2026-06-01", "to": "2026-06-02", "clicks": 3, "people": 3, "bots": 1,
            "days": [
                { "date": "2026-06-01", "people": 2, "bots": 1 }, { "date": "2026-06-02", "people": 1, "bots": 0 },
            ],
            "referrers": [{ "name": "news.example", "count": 2 }],
            "devices": [
                { "name": "desktop", "count": 1 }, { "name": "mobile", "count": 1 }, { "name": "other", "count": 1 },
            ],
        })
    );
}

#[tokio::test]
async fn only_the_requested_days_count() {
    let app = with_visits().await;
    assert_eq!(stats(&app, "?from=2026-06-01&to=2026-06-01").await["people"], 2);
    assert_eq!(stats(&app, "?from=2026-06-02&to=2026-06-01").await["days"], json!([]));
}

#[tokio::test]
async fn the_default_range_is_the_last_thirty_days() {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let stats = stats(&app, "").await;
    assert_eq!((&stats["from"], &stats["to"]), (&json!("2026-05-03"), &json!("2026-06-01")));
}

#[tokio::test]
async fn statistics_are_available_as_csv() {
    let app = with_visits().await;
    let csv = call(&app, Method::GET, "/api/v1/links/k/stats").header(header::ACCEPT, "text/csv");
    let csv = csv.send().await.unwrap();
    assert!(csv.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/csv"));
    assert_eq!(
        csv.text().await.unwrap().replace("\r\n", "\n"),
        "date,kind,value,count\n\
         2026-06-01,visitor,\"person\",2\n2026-06-01,visitor,\"bot\",1\n\
         2026-06-01,device,\"desktop\",1\n2026-06-01,device,\"mobile\",1\n\
         2026-06-01,referrer,\"news.example\",2\n\
         2026-06-02,visitor,\"person\",1\n2026-06-02,device,\"other\",1\n"
    );
}

#[tokio::test]
async fn invalid_days_are_refused() {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    for query in ["?from=yesterday", "?to=2026-02-30", "?day=1"] {
        let refused = call(&app, Method::GET, &format!("/api/v1/links/k/stats{query}")).send().await.unwrap();
        assert_error(refused, 400, "invalid_query").await;
    }
}
