//! Link options, and the HTML pages that browsers get.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};
use urlshort::{
    config::StoreOptions,
    store::{self},
};

use crate::support::{BROWSER, Postgres, Redis, TestApp, assert_error, open, sqlite_in};

async fn create(app: &TestApp, body: Value) {
    let response = app.shorten(body).await;
    assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
}

async fn browse(app: &TestApp, path: &str) -> Response {
    app.client.get(app.url(path)).header(header::ACCEPT, BROWSER).send().await.unwrap()
}

/// Asserts that `response` is a page with the strict content security policy.
///
/// Returns the page's text.
async fn page(response: Response, status: u16) -> String {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self';"), "{policy}");
    let text = response.text().await.unwrap();
    assert!(text.contains("<html lang=\"en\">") && text.contains("<title>"), "{text}");
    text
}

#[tokio::test]
async fn a_link_redirects_with_its_status_and_a_matching_cache_lifetime() {
    let app = TestApp::start().await;
    for (body, status, lifetime) in [
        (json!({}), 302, "no-store"),
        (json!({ "redirect": 307 }), 307, "no-store"),
        (json!({ "redirect": 301 }), 301, "private, max-age=86400"),
        (json!({ "redirect": 308, "expires_in": "1h" }), 308, "private, max-age=3600"),
        (json!({ "redirect": 308, "max_visits": 5 }), 308, "no-store"),
    ] {
        let mut request = body.clone();
        request["url"] = json!("https://example.com");
        let created: Value = app.shorten(request).await.json().await.unwrap();
        let response = app.get(&format!("/{}", created["key"].as_str().unwrap())).await;
        assert_eq!(response.status(), status, "{body}");
        assert_eq!(response.headers()[header::CACHE_CONTROL], lifetime, "{body}");
    }
}

#[tokio::test]
async fn options_can_also_be_set_by_form() {
    let app = TestApp::start().await;
    let form = [
        ("url", "https://example.com/?a=b"),
        ("key", "k"),
        ("expires_in", "3600"),
        ("max_visits", "1"),
        ("redirect", "307"),
        ("forward_query", "true"),
        ("title", "A title"),
        ("tags", "a, b"),
    ];
    assert_eq!(app.post("/shorten").form(&form).send().await.unwrap().status(), 201);
    let response = app.get("/k?c=d").await;
    assert_eq!(response.status(), 307);
    assert_eq!(response.headers()[header::LOCATION], "https://example.com/?a=b&c=d");
    assert_error(app.get("/k").await, 410, "gone").await;
}

#[tokio::test]
async fn invalid_options_are_refused() {
    let app = TestApp::start().await;
    for (option, code) in [
        (json!({ "expires_at": "2026-06-01T12:00:00Z" }), "invalid_option"),
        (json!({ "expires_at": "tomorrow" }), "invalid_body"),
        (
            json!({ "starts_at": "2026-07-02T00:00:00Z", "expires_at": "2026-07-01T00:00:00Z" }),
            "invalid_option",
        ),
        (json!({ "starts_at": "2026-07-02T00:00:00Z", "expires_in": 60 }), "invalid_option"),
        (json!({ "expires_in": "soon" }), "invalid_option"),
        (json!({ "expires_in": -5 }), "invalid_body"),
        (json!({ "expires_in": "99999999999d" }), "invalid_option"),
        (json!({ "max_visits": 0 }), "invalid_body"),
        (json!({ "redirect": 200 }), "invalid_option"),
        (json!({ "title": "x".repeat(256) }), "invalid_option"),
        (json!({ "tags": "x\ny" }), "invalid_option"),
        (json!({ "password": "x".repeat(129) }), "invalid_option"),
    ] {
        let mut body = option.clone();
        body["url"] = json!("https://example.com");
        body["key"] = json!("k");
        assert_error(app.shorten(body).await, 400, code).await;
        assert_error(app.get("/k").await, 404, "not_found").await;
    }
}

#[tokio::test]
async fn a_link_with_options_is_never_reused_for_a_plain_one() {
    let app = TestApp::start_with(&["--key-strategy", "hash"]).await;
    create(&app, json!({ "url": "https://example.com", "max_visits": 1 })).await;
    create(&app, json!({ "url": "https://example.com" })).await;
}

#[tokio::test]
async fn a_link_is_not_found_until_it_starts_even_from_the_cache() {
    let app = TestApp::start().await;
    let body = json!({
        "url": "https://example.com", "key": "k", "redirect": 308,
        "starts_at": "2026-06-01T12:01:00Z", "expires_at": "2026-06-01T12:02:00Z",
    });
    create(&app, body).await;
    for path in ["/k", "/k", "/k+", "/k/qr"] {
        let early = app.get(path).await;
        assert_eq!(early.headers()[header::CACHE_CONTROL], "no-store", "{path}");
        assert_error(early, 404, "not_found").await;
    }
    app.advance(Duration::from_secs(59));
    assert_error(app.get("/k").await, 404, "not_found").await;
    app.advance(Duration::from_secs(1));
    let started = app.get("/k").await;
    assert_eq!(started.status(), 308);
    assert_eq!(started.headers()[header::CACHE_CONTROL], "private, max-age=60");
    app.advance(Duration::from_secs(60));
    assert_error(app.get("/k").await, 410, "gone").await;
    assert_eq!(app.metric(r#"cache_requests_total{result="miss"}"#), Some(1.0), "the cached link is enough");
}

/// Links must expire on time whether or not they are cached.
#[tokio::test]
async fn a_link_expires_to_the_second_on_every_instance() {
    let server = Postgres::start();
    let start = async || {
        let store = open(&server.url()).await;
        TestApp::start_on(store, &[]).await
    };
    let apps = [start().await, start().await, start().await];
    create(&apps[0], json!({ "url": "https://example.com", "key": "k", "expires_in": 60 })).await;
    for (index, app) in apps.iter().enumerate() {
        if index < 2 {
            assert_eq!(app.get("/k").await.status(), 302, "the link is cached from here on");
        }
        app.advance(Duration::from_millis(59_999));
        assert_eq!(app.get("/k").await.status(), 302);
        app.advance(Duration::from_millis(1));
        assert_error(app.get("/k").await, 410, "gone").await;
    }
}

/// Follows a link on three instances, ten times as often as its limit allows.
async fn visits_are_exact(url: &str) {
    const VISITS: usize = 25;
    // The count must be exact. Use long timeouts, because a visit is lost if its request times out on a busy machine.
    let store_timeout = Duration::from_secs(60);
    let start = async || {
        let store = store::open(&StoreOptions { store_timeout, ..StoreOptions::new(url.parse().unwrap()) })
            .await
            .unwrap();
        TestApp::start_on(store, &["--store-timeout", "60s", "--request-timeout", "60s"]).await
    };
    let apps = [start().await, start().await, start().await].map(Arc::new);
    create(&apps[0], json!({ "url": "https://example.com", "key": "k", "max_visits": VISITS })).await;
    let clients = (0..VISITS * 10).map(|client| {
        let app = apps[client % 3].clone();
        tokio::spawn(async move { app.get("/k").await.status() })
    });
    let statuses: Vec<_> = join_all(clients).await.into_iter().map(Result::unwrap).collect();
    let count = |wanted: StatusCode| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(StatusCode::FOUND), count(StatusCode::GONE)), (VISITS, VISITS * 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_exact_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    visits_are_exact(&sqlite_in(directory.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_exact_on_postgres() {
    let server = Postgres::start();
    visits_are_exact(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_exact_on_redis() {
    let server = Redis::start();
    visits_are_exact(&server.url()).await;
}

#[tokio::test]
async fn only_people_use_up_visits() {
    let app = TestApp::start().await;
    create(&app, json!({ "url": "https://example.com", "key": "k", "max_visits": 1 })).await;
    for _ in 0..3 {
        assert_eq!(app.client.head(app.url("/k")).send().await.unwrap().status(), 403);
        for (name, value) in
            [("user-agent", "WhatsApp/2.23"), ("sec-purpose", "prefetch;prerender"), ("purpose", "prefetch")]
        {
            let refused = app.client.get(app.url("/k")).header(name, value).send().await.unwrap();
            assert_error(refused, 403, "only_people").await;
        }
    }
    assert_eq!(app.get("/k").await.status(), 302);
    assert_error(app.get("/k").await, 410, "gone").await;
    assert_eq!(app.client.head(app.url("/k")).send().await.unwrap().status(), 410);
}

#[tokio::test]
async fn a_browser_gets_a_page_for_every_error() {
    let app = TestApp::start().await;
    for (method, path, status) in
        [(Method::GET, "/api/v1/links", 401), (Method::PUT, "/shorten", 405), (Method::POST, "/shorten", 415)]
    {
        let request = app.client.request(method, app.url(path)).header(header::ACCEPT, BROWSER);
        let response = request.send().await.unwrap();
        let has_cause = response.headers().contains_key(header::WWW_AUTHENTICATE);
        assert_eq!(has_cause, status == 401, "{path} keeps the headers of its error");
        let text = page(response, status).await;
        assert!(!text.contains("\"code\""), "{text}");
    }
}

#[tokio::test]
async fn browsers_get_pages_and_other_clients_json() {
    let app = TestApp::start().await;
    assert!(page(browse(&app, "/none").await, 404).await.contains("Not found"));
    assert!(page(browse(&app, "/no/such/path").await, 404).await.contains("Not found"));
    create(&app, json!({ "url": "https://example.com", "key": "k", "expires_in": 1 })).await;
    app.advance(Duration::from_secs(1));
    assert!(page(browse(&app, "/k").await, 410).await.contains("No longer available"));
    let json = app.get("/k").await;
    assert_eq!(json.headers()[header::VARY], "Accept");
    assert_error(json, 410, "gone").await;
}

#[tokio::test]
async fn a_preview_shows_the_target_and_counts_no_visit() {
    let app = TestApp::start().await;
    let url = "https://example.com/?a=%22%3Cb%3E&c=%27d%27";
    create(&app, json!({ "url": url, "key": "k", "title": "For the team", "max_visits": 1 })).await;
    let preview: Value = app.get("/k+").await.json().await.unwrap();
    assert_eq!(
        preview,
        json!({ "key": "k", "short_url": app.url("/k"), "url": url,
            "created_at": "2026-06-01T12:00:00Z", "expires_at": null })
    );
    let html = page(browse(&app, "/k+").await, 200).await;
    assert!(!html.contains("For the team"), "titles are not public: {html}");
    assert!(html.contains("href=\"https://example.com/?a=%22%3Cb%3E&#38;c=%27d%27\""), "{html}");
    assert_eq!(app.get("/k").await.status(), 302, "the preview used no visit");
    assert_error(app.get("/none+").await, 404, "not_found").await;
    assert_error(app.get("/+").await, 404, "not_found").await;
}

#[tokio::test]
async fn a_preview_reveals_no_more_than_the_link() {
    let app = TestApp::start().await;
    let secret = |key: &str| json!({ "url": "https://secret.example", "key": key, "title": "Secret title" });
    let with = |key: &str, name: &str, value: Value| {
        let mut body = secret(key);
        body[name] = value;
        create(&app, body)
    };
    with("password", "password", json!("x")).await;
    with("used", "max_visits", json!(1)).await;
    with("left", "max_visits", json!(1)).await;
    with("expired", "expires_in", json!(1)).await;
    assert_eq!(app.get("/used").await.status(), 302);
    app.advance(Duration::from_secs(1));
    let bot = |path: &str| app.client.get(app.url(path)).header(header::USER_AGENT, "WhatsApp/2.23").send();
    for (path, status) in [("/password+", 403), ("/used+", 410), ("/expired+", 410)] {
        let shown = page(browse(&app, path).await, status).await;
        assert!(!shown.to_lowercase().contains("secret"), "{path}: {shown}");
        let link = path.strip_suffix('+').unwrap();
        for (preview, itself) in
            [(app.get(path).await, app.get(link).await), (bot(path).await.unwrap(), bot(link).await.unwrap())]
        {
            assert_eq!(preview.status(), status, "{path}");
            assert_eq!(preview.text().await.unwrap(), itself.text().await.unwrap(), "{path}");
        }
    }
    let prompt = page(browse(&app, "/password+").await, 403).await;
    assert!(prompt.contains(&format!("<a href=\"{}\">", app.url("/password"))), "{prompt}");
    assert_error(bot("/left+").await.unwrap(), 403, "only_people").await;
    assert_eq!(app.get("/left+").await.status(), 200);
}
