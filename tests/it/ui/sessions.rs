//! Sessions: sign-in, expiry, and forms submitted by other websites.

use std::{fs, sync::Arc, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use reqwest::header;
use serde_json::json;
use urlshort::{
    store::{Secret, Store, memory::MemoryStore},
    tokens::{Scope, Token},
};

use super::{Browser, READ, TOKENS, WRITE, link, location, start};
use crate::support::{PATIENCE, TestApp, eventually};

#[tokio::test]
async fn signing_in_requires_a_valid_token() {
    let app = start().await;
    let browser = Browser::new(&app);
    assert_eq!(
        location(&browser.get("/ui/links?tag=a%20b").await, 303),
        "/ui/sign-in?next=%2Fui%2Flinks%3Ftag%3Da%2520b"
    );
    let response = browser.post("/ui/sign-in", &[("token", "0123456789abcdef-wrong")]).await;
    assert_eq!(response.status(), 401);
    assert!(!response.headers().contains_key(header::SET_COOKIE));
    assert!(response.text().await.unwrap().contains("not accepted"));
    let response = browser.post("/ui/sign-in", &[("token", WRITE), ("next", "/ui/links?tag=a")]).await;
    assert_eq!(location(&response, 303), "/ui/links?tag=a");
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    for attribute in ["; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age=43200"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "{cookie}");
}

#[tokio::test]
async fn under_https_the_cookie_is_bound_to_the_host() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS, "--base-url", "https://sho.rt"]).await;
    let response = Browser::new(&app).post("/ui/sign-in", &[("token", WRITE)]).await;
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-urlshort=") && cookie.ends_with("; Secure"), "{cookie}");
    let mut browser = Browser::signed_in(&app, WRITE).await;
    assert!(browser.is_signed_in().await);
    browser.cookie = browser.cookie.map(|cookie| cookie.replace("__Host-", ""));
    assert!(!browser.is_signed_in().await, "a cookie without the prefix could be from another host");
}

#[tokio::test]
async fn a_session_ends_when_it_expires_or_is_tampered_with_or_signed_out() {
    let app = start().await;
    let mut browser = Browser::signed_in(&app, WRITE).await;
    assert!(browser.is_signed_in().await);
    let cookie = browser.cookie.clone().unwrap();
    for changed in [
        cookie.replace("anna", "viewer"),
        cookie.replacen('.', ".9", 1),
        cookie[..cookie.len() - 1].to_owned(),
        format!("{cookie}0"),
        "urlshort=".into(),
    ] {
        browser.cookie = Some(changed.clone());
        assert!(!browser.is_signed_in().await, "{changed}");
    }
    browser.cookie = Some(cookie);
    app.advance(Duration::from_hours(12) - Duration::from_secs(1));
    assert!(browser.is_signed_in().await);
    app.advance(Duration::from_secs(1));
    assert!(!browser.is_signed_in().await);
    let browser = Browser::signed_in(&app, WRITE).await;
    assert_eq!(browser.get("/ui/sign-out").await.status(), 405, "a GET signs nobody out");
    let response = browser.post("/ui/sign-out", &[]).await;
    assert_eq!(location(&response, 303), "/");
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("urlshort=;") && cookie.contains("Max-Age=0"), "{cookie}");
}

#[tokio::test]
async fn instances_that_share_a_store_share_sessions_until_the_token_is_removed_or_replaced() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let start = async |tokens: &str| TestApp::start_on(store.clone(), &["--api-tokens", tokens]).await;
    let first = start(TOKENS).await;
    let cookie = Browser::signed_in(&first, WRITE).await.cookie;
    for (tokens, is_signed_in) in [
        (TOKENS, true),
        ("anna:0123456789abcdef-write:read", true),
        ("anna:another-token-of-anna", false),
        ("viewer:0123456789abcdef-write", false),
    ] {
        let other = start(tokens).await;
        let browser = Browser { app: &other, cookie: cookie.clone() };
        assert_eq!(browser.is_signed_in().await, is_signed_in, "{tokens}");
    }
    let store = Arc::new(MemoryStore::default());
    store.secret(Secret([9; 32])).await.unwrap();
    let elsewhere = TestApp::start_on(store, &["--api-tokens", TOKENS]).await;
    let browser = Browser { app: &elsewhere, cookie };
    assert!(!browser.is_signed_in().await, "another store has another secret");
}

#[tokio::test]
async fn a_form_on_another_website_changes_nothing() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS, "--base-url", "https://sho.rt"]).await;
    let anna = Browser::signed_in(&app, WRITE).await;
    anna.post("/ui/new", &[("url", "https://example.com"), ("key", "k")]).await;
    let paths = [
        "/ui/new",
        "/ui/sign-in",
        "/ui/sign-out",
        "/ui/links/k",
        "/ui/links/k/take-down",
        "/ui/links/k/delete",
    ];
    for path in paths {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            (header::ORIGIN.as_str(), "https://evil.example"),
            (header::ORIGIN.as_str(), "null"),
        ] {
            let request =
                anna.request(app.post(path)).header(name, value).form(&[("url", "https://evil.example")]);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 403, "{path} {name}: {value}");
            assert!(!response.headers().contains_key(header::SET_COOKIE));
            assert!(response.text().await.unwrap().contains("Another website"), "{path}");
        }
    }
    let link = link(&app, "k").await;
    assert_eq!((&link["version"], &link["state"]), (&json!(1), &json!("active")));
    let own = anna.request(app.post("/ui/links/k/take-down")).header(header::ORIGIN, "https://sho.rt");
    assert_eq!(
        own.send().await.unwrap().status(),
        303,
        "the service's own origin is trusted even if a proxy changes Host"
    );
}

#[tokio::test]
async fn a_read_only_token_sees_only_buttons_that_it_can_use() {
    let app = start().await;
    Browser::signed_in(&app, WRITE)
        .await
        .post("/ui/new", &[("url", "https://example.com"), ("key", "k")])
        .await;
    let viewer = Browser::signed_in(&app, READ).await;
    let page = viewer.text("/ui/links/k").await;
    assert_eq!(page.matches("method=\"post\"").count(), 1, "only the sign-out form: {page}");
    assert!(!page.contains("/delete"), "{page}");
    assert_eq!(viewer.get("/ui/links/k/delete").await.status(), 403);
    for path in ["/ui/links/k", "/ui/links/k/take-down", "/ui/links/k/restore", "/ui/links/k/delete"] {
        let form = [("url", "https://evil.example"), ("etag", "x")];
        assert_eq!(viewer.post(path, &form).await.status(), 403, "{path}");
    }
    assert_eq!(link(&app, "k").await["version"], 1);
}

#[tokio::test]
async fn a_token_that_expires_or_is_removed_ends_its_sessions() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    let end = "2026-06-01T13:00:00Z";
    let mut rng = StdRng::seed_from_u64(1);
    let (lasting, token) = Token::generate("lasting".parse().unwrap(), Scope::Read, None, &mut rng);
    let (ending, short) =
        Token::generate("ending".parse().unwrap(), Scope::Read, Some(end.parse().unwrap()), &mut rng);
    fs::write(&file, format!("{token}\n{short}\n")).unwrap();
    let app = TestApp::start_with(&["--api-tokens-file", file.to_str().unwrap()]).await;
    let response = Browser::new(&app).post("/ui/sign-in", &[("token", &ending)]).await;
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("; Max-Age=3600;"), "at most the token's expiry: {cookie}");
    let (ending, lasting) =
        (Browser::signed_in(&app, &ending).await, Browser::signed_in(&app, &lasting).await);
    assert!(ending.is_signed_in().await && lasting.is_signed_in().await);
    app.advance(Duration::from_hours(1));
    assert!(!ending.is_signed_in().await && lasting.is_signed_in().await);
    fs::write(&file, "# nobody\n").unwrap();
    eventually(PATIENCE, async || if lasting.is_signed_in().await { Err("still signed in") } else { Ok(()) })
        .await;
}

#[tokio::test]
async fn failed_sign_ins_are_limited_and_a_valid_token_is_not() {
    let app = start().await;
    let browser = Browser::new(&app);
    let mut refused = 0;
    for _ in 0..20 {
        match browser.post("/ui/sign-in", &[("token", "0123456789abcdef-wrong")]).await.status().as_u16() {
            401 => refused += 1,
            status => assert_eq!(status, 429),
        }
    }
    assert!((10..20).contains(&refused), "{refused}");
    assert_eq!(app.metric("token_failures_total"), Some(20.0));
    Browser::signed_in(&app, WRITE).await;
}
