//! The web pages, as used by a browser without JavaScript.

mod blocked_hosts;
mod links;
mod sessions;

use std::sync::Arc;

use reqwest::{RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};
use urlshort::store::memory::MemoryStore;

use crate::support::{BROWSER, FaultyStore, Mood, TestApp};

const WRITE: &str = "0123456789abcdef-write";
const READ: &str = "0123456789abcdef-read";
const TOKENS: &str = "anna:0123456789abcdef-write,viewer:0123456789abcdef-read:read";

/// A browser that stores at most one cookie.
struct Browser<'a> {
    app: &'a TestApp,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn new(app: &'a TestApp) -> Self {
        Self { app, cookie: None }
    }

    async fn signed_in(app: &'a TestApp, token: &str) -> Self {
        let mut browser = Self::new(app);
        let response = browser.post("/ui/sign-in", &[("token", token)]).await;
        assert_eq!(response.status(), 303, "{}", response.text().await.unwrap());
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        browser.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        browser
    }

    fn request(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.header(header::ACCEPT, BROWSER);
        match &self.cookie {
            Some(cookie) => request.header(header::COOKIE, cookie),
            None => request,
        }
    }

    async fn get(&self, path: &str) -> Response {
        self.request(self.app.client.get(self.app.url(path))).send().await.unwrap()
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Response {
        let request = self.request(self.app.post(path)).header("sec-fetch-site", "same-origin");
        request.form(form).send().await.unwrap()
    }

    async fn text(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// Returns whether the browser gets the list of links instead of the sign-in form.
    async fn is_signed_in(&self) -> bool {
        self.get("/ui/links").await.status() == StatusCode::OK
    }
}

#[track_caller]
fn location(response: &Response, status: u16) -> String {
    assert_eq!(response.status(), status);
    response.headers()[header::LOCATION].to_str().unwrap().to_owned()
}

/// Returns the value of the hidden field with the link's version.
fn etag(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"etag\" value=\"").unwrap();
    rest.split('"').next().unwrap().replace("&#34;", "\"")
}

async fn start() -> TestApp {
    TestApp::start_with(&["--api-tokens", TOKENS]).await
}

async fn link(app: &TestApp, key: &str) -> Value {
    let request = app.client.get(app.url(&format!("/api/v1/links/{key}"))).bearer_auth(WRITE);
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn the_form_creates_a_link_and_redirects_to_a_page_that_shows_it() {
    let app = start().await;
    let browser = Browser::new(&app);
    assert!(browser.text("/").await.contains("Shorten a link"));
    let form = [("url", "example.com/long"), ("key", "mine"), ("max_visits", ""), ("expires_in", "1d")];
    let created = location(&browser.post("/ui/new", &form).await, 303);
    assert_eq!(created, "/?made=mine");
    let page = browser.text(&created).await;
    assert!(page.contains(&format!("data-copy=\"{}\"", app.url("/mine"))), "{page}");
    assert!(
        page.contains("https://example.com/long") && page.contains("src=\"/mine/qr?format=svg\""),
        "{page}"
    );
    assert_eq!(app.get("/mine").await.headers()[header::LOCATION], "https://example.com/long");
    assert_eq!(link(&app, "mine").await["created_by"], "public");
    assert!(!browser.text("/?made=unknown").await.contains("data-copy"));
}

#[tokio::test]
async fn an_invalid_form_is_shown_again_with_its_input() {
    let app = start().await;
    let browser = Browser::new(&app);
    let form =
        [("url", "https://example.com"), ("key", "a b"), ("title", "T <&\" t"), ("password", "secret-word")];
    let response = browser.post("/ui/new", &form).await;
    assert_eq!(response.status(), 400);
    let page = response.text().await.unwrap();
    for part in [
        "value=\"https://example.com\"",
        "value=\"a b\"",
        "T &#60;&#38;&#34; t",
        "href=\"#key\"",
        "role=\"alert\"",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("secret-word"), "a password is not sent back");
    for (form, status, sentence) in [
        (&[("url", "nonsense")][..], 400, "Enter a web address"),
        (&[("url", "https://a.example"), ("key", "api")], 409, "is reserved"),
        (&[("url", "https://a.example"), ("max_visits", "0")], 400, "Enter a whole number"),
        (&[("url", "https://a.example"), ("expires_at", "soon")], 400, "Enter a date"),
        (&[("url", &app.url("/x"))], 400, "Long URL"),
    ] {
        let response = browser.post("/ui/new", form).await;
        assert_eq!(response.status(), status, "{form:?}");
        let page = response.text().await.unwrap();
        assert!(page.contains(sentence), "{sentence}: {page}");
    }
}

#[tokio::test]
async fn without_public_creation_people_must_sign_in_first() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS, "--public-shorten", "false"]).await;
    let stranger = Browser::new(&app);
    assert!(!stranger.text("/").await.contains("name=\"url\""));
    let form = [("url", "https://example.com"), ("key", "k")];
    assert!(location(&stranger.post("/ui/new", &form).await, 303).starts_with("/ui/sign-in"));
    let viewer = Browser::signed_in(&app, READ).await;
    assert!(!viewer.text("/").await.contains("name=\"url\""));
    assert_eq!(viewer.post("/ui/new", &form).await.status(), 403);
    assert_eq!(app.get("/k").await.status(), 404);
    let anna = Browser::signed_in(&app, WRITE).await;
    assert!(anna.text("/").await.contains("name=\"url\""));
    assert_eq!(location(&anna.post("/ui/new", &form).await, 303), "/?made=k");
    assert_eq!(link(&app, "k").await["created_by"], "anna");
}

#[tokio::test]
async fn markup_in_user_input_is_escaped() {
    let app = start().await;
    let anna = Browser::signed_in(&app, WRITE).await;
    let text = "</title><script>alert(1)</script>\" onfocus='x'";
    let form = [
        ("url", "https://x.example/?\"><script>alert(1)</script>"),
        ("key", "k"),
        ("title", text),
        ("tags", text),
    ];
    assert_eq!(anna.post("/ui/new", &form).await.status(), 303);
    let query = "/ui/links?search=%22%3E%3Cscript%3E&tag=%22%3E%3Cscript%3E&by=%22%3E%3Cscript%3E&deleted=%3Cscript%3E";
    for path in [
        "/ui/links",
        "/ui/links/k",
        "/?made=k",
        "/ui/links/k/delete",
        "/k+",
        query,
        "/?url=%22%3E%3Cscript%3E",
    ] {
        let page = anna.text(path).await;
        assert_eq!(page.matches("<script").count(), 1, "only the page's own script: {path}: {page}");
        assert!(!page.contains("\" onfocus"), "{path}: {page}");
    }
}

#[tokio::test]
async fn a_page_loads_only_what_its_policy_allows() {
    let app = start().await;
    let browser = Browser::new(&app);
    let response = browser.get("/").await;
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self'"), "{policy}");
    assert!(policy.contains("form-action 'self';") && !policy.contains("unsafe"), "{policy}");
    browser.post("/ui/new", &[("url", "https://example.com"), ("key", "k"), ("password", "x")]).await;
    let locked = browser.get("/k").await;
    let policy = locked.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(
        policy.contains("form-action 'self' http: https:;"),
        "its form redirects to any target: {policy}"
    );
    let page = response.text().await.unwrap();
    assert!(!page.contains("style=") && !page.contains(" onclick") && !page.contains("<style"), "{page}");
    let assets = page.split('"').filter(|part| part.starts_with("/ui/assets/"));
    let mut bytes = page.len();
    for path in assets.collect::<std::collections::BTreeSet<_>>() {
        let asset = app.get(path).await;
        assert_eq!(asset.status(), 200, "{path}");
        assert_eq!(asset.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        assert_eq!(asset.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        bytes += asset.bytes().await.unwrap().len();
    }
    assert!(bytes < 20_000, "a first visit takes {bytes} bytes");
    let stale = app.get("/ui/assets/style.000000000000.css").await;
    assert_eq!(stale.headers()[header::CACHE_CONTROL], "no-store");
    assert_eq!(app.get("/ui/assets/other.css").await.status(), 404);
    for (path, media_type) in [("/favicon.ico", "image/x-icon"), ("/robots.txt", "text/plain; charset=utf-8")]
    {
        assert_eq!(app.get(path).await.headers()[header::CONTENT_TYPE], media_type);
    }
    let robots = app.get("/robots.txt").await.text().await.unwrap();
    assert_eq!(robots, "User-agent: *\nDisallow: /ui/\nDisallow: /api/\n");
}

#[tokio::test]
async fn without_the_ui_there_are_only_the_home_and_error_pages() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS, "--ui", "false"]).await;
    let browser = Browser::new(&app);
    let home = browser.text("/").await;
    assert!(home.contains("curl -d") && !home.contains("<form"), "{home}");
    for path in ["/ui/links", "/ui/sign-in", "/ui/links/k", "/ui/new"] {
        assert_eq!(browser.get(path).await.status(), 404, "{path}");
        assert_eq!(browser.post(path, &[]).await.status(), 404, "{path}");
    }
    let style = home.split('"').find(|part| part.ends_with(".css")).unwrap();
    assert_eq!(app.get(style).await.status(), 200, "error pages need it");
}

#[tokio::test]
async fn ui_can_be_a_key_like_any_other() {
    let app = start().await;
    let form = [("url", "https://example.com"), ("key", "ui")];
    assert_eq!(Browser::new(&app).post("/ui/new", &form).await.status(), 303);
    assert_eq!(app.get("/ui").await.status(), 302);
    assert_eq!(app.get("/ui/qr").await.headers()[header::CONTENT_TYPE], "image/svg+xml");
    assert_eq!(app.get("/ui+").await.status(), 200);
}

#[tokio::test]
async fn below_a_base_path_every_reference_starts_with_it() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS, "--base-url", "http://example.com/s"]).await;
    let anna = Browser::signed_in(&app, WRITE).await;
    let created = anna.post("/ui/new", &[("url", "https://a.example"), ("key", "k")]).await;
    assert_eq!(location(&created, 303), "/s/?made=k");
    assert_eq!(
        location(&Browser::new(&app).get("/ui/links").await, 303),
        "/s/ui/sign-in?next=%2Fs%2Fui%2Flinks"
    );
    for path in ["/", "/ui/links", "/ui/links/k", "/none", "/ui/links/k/delete"] {
        let page = anna.get(path).await.text().await.unwrap();
        for attribute in ["href=\"/", "src=\"/", "action=\"/"] {
            for reference in page.split(attribute).skip(1) {
                assert!(reference.starts_with("s/"), "{path}: {attribute}{}", &reference[..20]);
            }
        }
    }
}

#[tokio::test]
async fn while_the_store_is_down_the_input_is_kept() {
    let store = Arc::new(FaultyStore::around(Arc::new(MemoryStore::default())));
    let app = TestApp::start_on(store.clone(), &["--api-tokens", TOKENS]).await;
    let anna = Browser::signed_in(&app, WRITE).await;
    store.set_mood(Mood::Broken);
    let response = anna.post("/ui/new", &[("url", "https://example.com/kept")]).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert!(response.text().await.unwrap().contains("value=\"https://example.com/kept\""));
    let response = anna.get("/ui/links?search=abc").await;
    assert_eq!(response.status(), 503);
    let page = response.text().await.unwrap();
    assert!(
        page.contains("Try again") && page.contains("value=\"abc\"") && !page.contains("out of order"),
        "{page}"
    );
    assert_eq!(anna.get("/ui/links/k").await.status(), 503);
}

#[tokio::test]
async fn the_form_shares_the_rate_limit_of_the_api() {
    let app = TestApp::start_with(&["--rate-limit", "2/h"]).await;
    let browser = Browser::new(&app);
    app.shorten(json!({ "url": "https://example.com" })).await;
    let form = [("url", "https://example.com")];
    assert_eq!(browser.post("/ui/new", &form).await.status(), 303);
    let response = browser.post("/ui/new", &form).await;
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert!(response.text().await.unwrap().contains("<h1>Too many attempts</h1>"));
}
