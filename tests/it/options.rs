//! What a link can be asked to be besides short, and what browsers are shown.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use urlshort::store::{self, OpenOptions};

use crate::support::{Postgres, Redis, TestApp, assert_error, sqlite_in};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn make(app: &TestApp, body: Value) {
    let response = app.shorten(body).await;
    assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
}

async fn browse(app: &TestApp, path: &str) -> Response {
    app.client.get(app.url(path)).header(header::ACCEPT, BROWSER).send().await.unwrap()
}

/// Asserts that `response` is a page under the strict policy, and returns its text.
async fn page(response: Response, status: u16) -> String {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let text = response.text().await.unwrap();
    assert!(text.contains("<html lang=\"en\">") && text.contains("<title>"), "{text}");
    text
}

#[tokio::test]
async fn a_link_redirects_as_it_was_asked_to_with_a_lifetime_that_fits() {
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
        let made: Value = app.shorten(request).await.json().await.unwrap();
        let response = app.get(&format!("/{}", made["key"].as_str().unwrap())).await;
        assert_eq!(response.status(), status, "{body}");
        assert_eq!(response.headers()[header::CACHE_CONTROL], lifetime, "{body}");
    }
}

#[tokio::test]
async fn options_come_by_form_as_well() {
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
async fn options_that_make_no_sense_are_refused() {
    let app = TestApp::start().await;
    for (option, code) in [
        (json!({ "expires_at": "2026-06-01T12:00:00Z" }), "invalid_option"),
        (json!({ "expires_at": "tomorrow" }), "invalid_body"),
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
async fn a_link_with_options_is_never_given_out_for_a_plain_one() {
    let app = TestApp::start_with(&["--key-strategy", "hash"]).await;
    make(&app, json!({ "url": "https://example.com", "max_visits": 1 })).await;
    make(&app, json!({ "url": "https://example.com" })).await;
}

/// On every instance, whatever it has in its cache.
#[tokio::test]
async fn a_link_expires_to_the_second_on_every_instance() {
    let server = Postgres::start();
    let start = async || {
        let store = store::open(&server.url().parse().unwrap(), &OpenOptions::default()).await.unwrap();
        TestApp::start_on(store, &[]).await
    };
    let apps = [start().await, start().await, start().await];
    make(&apps[0], json!({ "url": "https://example.com", "key": "k", "expires_in": 60 })).await;
    for (index, app) in apps.iter().enumerate() {
        if index < 2 {
            assert_eq!(app.get("/k").await.status(), 302, "it is in the cache from here on");
        }
        app.advance(Duration::from_millis(59_999));
        assert_eq!(app.get("/k").await.status(), 302);
        app.advance(Duration::from_millis(1));
        assert_error(app.get("/k").await, 410, "gone").await;
    }
}

/// Ten times as many clients as there are visits, over three instances at once.
async fn exactly_as_many_redirects_as_visits(url: &str) {
    const VISITS: usize = 25;
    // On a busy machine a visit that nobody waits for any more would be lost, and there are none to spare here.
    let options = OpenOptions { deadline: Duration::from_secs(60), ..OpenOptions::default() };
    let start = async || {
        let store = store::open(&url.parse().unwrap(), &options).await.unwrap();
        TestApp::start_on(store, &["--store-timeout", "60s", "--request-timeout", "60s"]).await
    };
    let apps = [start().await, start().await, start().await].map(Arc::new);
    make(&apps[0], json!({ "url": "https://example.com", "key": "k", "max_visits": VISITS })).await;
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
    exactly_as_many_redirects_as_visits(&sqlite_in(directory.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_exact_on_postgres() {
    let server = Postgres::start();
    exactly_as_many_redirects_as_visits(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_exact_on_redis() {
    let server = Redis::start();
    exactly_as_many_redirects_as_visits(&server.url()).await;
}

#[tokio::test]
async fn only_people_use_up_visits() {
    let app = TestApp::start().await;
    make(&app, json!({ "url": "https://example.com", "key": "k", "max_visits": 1 })).await;
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
async fn a_password_is_asked_for_by_a_form_and_sent_in_a_body() {
    let app = TestApp::start().await;
    let body =
        json!({ "url": "https://example.com", "key": "k", "password": "open sesame", "forward_query": true });
    make(&app, body).await;
    assert_error(app.get("/k").await, 403, "password_needed").await;
    let form = page(browse(&app, "/k").await, 403).await;
    assert!(form.contains("<form method=\"post\">") && form.contains("type=\"password\""), "{form}");
    let send = |password: &str| app.post("/k?q=1").form(&[("password", password)]).send();
    assert_error(send("wrong").await.unwrap(), 403, "wrong_password").await;
    assert_error(send(&"x".repeat(200)).await.unwrap(), 403, "wrong_password").await;
    let right = send("open sesame").await.unwrap();
    assert_eq!(right.status(), 303);
    assert_eq!(right.headers()[header::LOCATION], "https://example.com/?q=1");
    assert_eq!(right.headers()[header::CACHE_CONTROL], "no-store");
    assert_error(app.post("/k").json(&json!({ "word": "x" })).send().await.unwrap(), 400, "invalid_body")
        .await;
    let again = app.post("/k").header(header::ACCEPT, BROWSER).form(&[("password", "wrong")]);
    let again = page(again.send().await.unwrap(), 403).await;
    assert!(again.contains("role=\"alert\""), "{again}");
}

#[tokio::test]
async fn passwords_can_not_be_tried_for_ever() {
    let app = TestApp::start().await;
    make(&app, json!({ "url": "https://example.com", "key": "k", "password": "open sesame" })).await;
    let mut tries = 0;
    let refused = loop {
        let response = app.post("/k").form(&[("password", "guess")]).send().await.unwrap();
        if response.status() != 403 {
            break response;
        }
        tries += 1;
    };
    assert_eq!(tries, 10);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    assert_error(refused, 429, "rate_limited").await;
}

#[tokio::test]
async fn browsers_are_shown_pages_and_others_json() {
    let app = TestApp::start().await;
    assert!(page(browse(&app, "/none").await, 404).await.contains("Not found"));
    assert!(page(browse(&app, "/no/such/path").await, 404).await.contains("Not found"));
    make(&app, json!({ "url": "https://example.com", "key": "k", "expires_in": 1 })).await;
    app.advance(Duration::from_secs(1));
    assert!(page(browse(&app, "/k").await, 410).await.contains("No longer there"));
    let json = app.get("/k").await;
    assert_eq!(json.headers()[header::VARY], "Accept");
    assert_error(json, 410, "gone").await;
}

#[tokio::test]
async fn a_preview_shows_where_a_link_leads_and_counts_nobody() {
    let app = TestApp::start().await;
    let url = "https://example.com/?a=%22%3Cb%3E&c=%27d%27";
    make(&app, json!({ "url": url, "key": "k", "title": "<script>", "max_visits": 1 })).await;
    let preview: Value = app.get("/k+").await.json().await.unwrap();
    assert_eq!(
        preview,
        json!({ "key": "k", "short_url": app.url("/k"), "url": url, "title": "<script>",
            "created_at": "2026-06-01T12:00:00Z", "expires_at": null })
    );
    let html = page(browse(&app, "/k+").await, 200).await;
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script>"), "{html}");
    assert!(html.contains("href=\"https://example.com/?a=%22%3Cb%3E&amp;c=%27d%27\""), "{html}");
    assert_eq!(app.get("/k").await.status(), 302, "the visit is still there");
    make(&app, json!({ "url": "https://secret.example", "key": "s", "password": "x" })).await;
    assert_eq!(app.get("/s+").await.json::<Value>().await.unwrap()["url"], Value::Null);
    assert!(!page(browse(&app, "/s+").await, 200).await.contains("secret.example"));
    assert_error(app.get("/none+").await, 404, "not_found").await;
    assert_error(app.get("/+").await, 404, "not_found").await;
}

#[tokio::test]
async fn a_qr_code_holds_the_short_url() {
    let app = TestApp::start().await;
    make(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let svg = app.get("/k/qr?size=200&margin=2&ecc=H").await;
    assert_eq!(svg.headers()[header::CONTENT_TYPE], "image/svg+xml");
    assert!(svg.text().await.unwrap().starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"200\""));
    for (query, accept) in [("?format=png&size=400", "*/*"), ("?size=400", "image/png")] {
        let request = app.client.get(app.url(&format!("/k/qr{query}"))).header(header::ACCEPT, accept);
        let png = request.send().await.unwrap();
        assert_eq!(png.headers()[header::CONTENT_TYPE], "image/png");
        let mut picture = rqrr::PreparedImage::prepare(
            image::load_from_memory(&png.bytes().await.unwrap()).unwrap().to_luma8(),
        );
        let (_, content) = picture.detect_grids()[0].decode().unwrap();
        assert_eq!(content, app.url("/k"));
    }
    for query in ["size=63", "size=2049", "margin=17", "ecc=X", "format=gif", "colour=red"] {
        assert_error(app.get(&format!("/k/qr?{query}")).await, 400, "invalid_query").await;
    }
    assert_error(app.get("/none/qr").await, 404, "not_found").await;
}
