//! `GET /{key}`.

use std::{sync::Arc, time::Duration};

use jiff::ToSpan;
use reqwest::header;
use serde_json::json;

use urlshort::store::History;

use crate::support::{FaultyStore, Process, TestApp, assert_error, client, key, link, sqlite_in};

#[tokio::test]
async fn a_key_redirects_to_its_target() {
    let app = TestApp::start().await;
    let key = app.shorten_url("https://example.com/a?b=c#d").await;
    let response = app.get(&format!("/{key}")).await;
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()[header::LOCATION], "https://example.com/a?b=c#d");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "0");
    assert!(!response.headers().contains_key(header::SERVER));
    assert!(!response.headers().contains_key(header::CONTENT_TYPE));
}

#[tokio::test]
async fn head_behaves_like_get() {
    let app = TestApp::start().await;
    let key = app.shorten_url("https://example.com").await;
    let response = app.client.head(app.url(&format!("/{key}"))).send().await.unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()[header::LOCATION], "https://example.com/");
}

#[tokio::test]
async fn the_query_of_a_short_url_is_ignored() {
    let app = TestApp::start().await;
    let key = app.shorten_url("https://example.com").await;
    let response = app.get(&format!("/{key}?utm_source=x")).await;
    assert_eq!(response.headers()[header::LOCATION], "https://example.com/");
}

#[tokio::test]
async fn an_invalid_or_unknown_key_is_not_found() {
    let app = TestApp::start().await;
    for path in ["/nothing", "/a.b", "/%20", "/%ff", "/%00", "/a/b", "//", "/robots.txt/", "/Qi/"] {
        let sentence = assert_error(app.get(path).await, 404, "not_found").await;
        assert_eq!(sentence, "not found", "{path}");
    }
    let long = format!("/{}", "x".repeat(65));
    assert_error(app.get(&long).await, 404, "not_found").await;
}

#[tokio::test]
async fn keys_are_case_sensitive() {
    let app = TestApp::start().await;
    assert!(app.links.put_if_absent(link("abc", "https://lower.example"), History::default()).await.unwrap());
    assert!(app.links.put_if_absent(link("ABC", "https://upper.example"), History::default()).await.unwrap());
    assert_eq!(app.get("/abc").await.headers()[header::LOCATION], "https://lower.example/");
    assert_eq!(app.get("/ABC").await.headers()[header::LOCATION], "https://upper.example/");
}

#[tokio::test]
async fn a_link_is_gone_from_the_second_it_expires() {
    let app = TestApp::start().await;
    let mut expiring = link("soon", "https://example.com");
    expiring.doc.options.expires_at = Some(app.now() + 60.seconds());
    assert!(app.links.put_if_absent(expiring, History::default()).await.unwrap());
    assert_eq!(app.get("/soon").await.status(), 302);
    app.advance(Duration::from_secs(60));
    assert_error(app.get("/soon").await, 410, "gone").await;
    assert_eq!(app.metric(r#"redirects_total{outcome="gone"}"#), Some(1.0));
}

#[tokio::test]
async fn a_taken_down_link_is_gone() {
    let app = TestApp::start().await;
    let mut down = link("down", "https://example.com");
    down.doc.taken_down_at = Some(down.created_at);
    assert!(app.links.put_if_absent(down, History::default()).await.unwrap());
    assert_error(app.get("/down").await, 410, "gone").await;
}

#[tokio::test]
async fn each_click_is_counted() {
    let app = TestApp::start().await;
    let text = app.shorten_url("https://example.com").await;
    for _ in 0..3 {
        app.get(&format!("/{text}")).await;
    }
    let store = app.links.clone();
    app.stop().await;
    assert_eq!(store.get(&key(&text)).await.unwrap().unwrap().clicks, 3);
}

#[tokio::test]
async fn a_head_request_is_not_counted() {
    let app = TestApp::start().await;
    let text = app.shorten_url("https://example.com").await;
    app.client.head(app.url(&format!("/{text}"))).send().await.unwrap();
    let store = app.links.clone();
    app.stop().await;
    assert_eq!(store.get(&key(&text)).await.unwrap().unwrap().clicks, 0);
}

#[tokio::test]
async fn a_clean_stop_writes_the_clicks_to_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite_in(directory.path());
    let process = Process::start(&[("STORE_URL", &store)]);
    let client = client();
    let form = [("url", "https://example.com"), ("key", "mine")];
    client.post(process.url("/shorten")).form(&form).send().await.unwrap().error_for_status().unwrap();
    for _ in 0..25 {
        assert_eq!(client.get(process.url("/mine")).send().await.unwrap().status(), 302);
    }
    assert!(process.terminate().success());

    let file = rusqlite::Connection::open(directory.path().join("links.db")).unwrap();
    let clicks: u64 =
        file.query_row("SELECT clicks FROM counts WHERE key = 'mine'", (), |row| row.get(0)).unwrap();
    assert_eq!(clicks, 25);
}

/// Requests for cached links bypass the router; other requests don't. Clients must see no difference.
#[tokio::test]
async fn the_fast_path_and_the_router_give_the_same_responses() {
    let (short, long) = (
        TestApp::start().await,
        TestApp::start_on(Arc::new(FaultyStore::default()), &["--cache-bytes", "0"]).await,
    );
    let mut seen = Vec::new();
    for app in [&short, &long] {
        for body in [
            json!({ "url": "https://example.com/?a", "key": "k", "forward_query": true }),
            json!({ "url": "https://example.com", "key": "permanent", "redirect": 308, "expires_in": 60 }),
        ] {
            assert_eq!(app.shorten(body).await.status(), 201);
        }
        for path in ["/k?b=c", "/permanent", "/none"] {
            let response = app.get(path).await;
            let mut headers = response.headers().clone();
            assert!(headers.remove("date").is_some() && headers.remove("x-request-id").is_some());
            let mut headers: Vec<_> = headers.into_iter().collect();
            headers.sort_by_key(|(name, _)| name.as_ref().map(ToString::to_string));
            seen.push(format!("{} {headers:?} {}", response.status(), response.text().await.unwrap()));
        }
        for (series, count) in [
            (r#"http_requests_total{method="GET",route="/{key}",status="302"}"#, 1.0),
            (r#"http_requests_total{method="GET",route="/{key}",status="308"}"#, 1.0),
            (r#"http_request_duration_seconds_count{outcome="redirect",route="/{key}"}"#, 2.0),
            (r#"redirects_total{outcome="redirected"}"#, 2.0),
        ] {
            assert_eq!(app.metric(series), Some(count), "{series}");
        }
        app.wait_for_clicks("k", 1).await;
    }
    assert_eq!(seen[..3], seen[3..]);
}
