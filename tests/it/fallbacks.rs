//! Fallback URLs, to which the service redirects browsers instead of showing an error page.

mod table;

use std::sync::Arc;

use reqwest::{Method, RequestBuilder, Response, header};
use serde_json::{Value, json};
use urlshort::store::{Store, memory::MemoryStore};

use self::table::put_states;
use crate::support::{BROWSER, PATIENCE, Process, TestApp, assert_error, client, eventually};

const TOKEN: &str = "0123456789abcdef-write";
const TOKENS: &str = "anna:0123456789abcdef-write,viewer:0123456789abcdef-read:read";
const TARGET: &str = "https://target.example/";
const NOT_FOUND: &str = "https://www.example.com/not-found";
const GONE: &str = "https://www.example.com/gone";
const OWN: &str = "https://www.example.com/own";
const GLOBAL: [&str; 4] = ["--not-found-url", NOT_FOUND, "--gone-url", GONE];

fn browse(app: &TestApp, path: &str) -> RequestBuilder {
    app.client.get(app.url(path)).header(header::ACCEPT, BROWSER)
}

#[track_caller]
fn assert_redirects(response: &Response, status: u16, url: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[header::LOCATION], url);
}

#[tokio::test]
async fn a_fallback_is_a_separate_outcome_and_not_a_click() {
    let app = TestApp::start_with(&GLOBAL).await;
    put_states(&app).await;
    for path in ["/unknown", "/a.b", "/expired", "/expired-own"] {
        assert_eq!(browse(&app, path).send().await.unwrap().status(), 302, "{path}");
    }
    // The metric doesn't count requests for paths that can't be keys.
    assert_eq!(app.metric(r#"redirects_total{outcome="fallback"}"#), Some(3.0));
    for outcome in ["not_found", "gone"] {
        assert_eq!(app.metric(&format!("redirects_total{{outcome=\"{outcome}\"}}")), None);
    }
    let seconds = |outcome: &str| {
        let series =
            format!(r#"http_request_duration_seconds_count{{outcome="{outcome}",route="/{{key}}"}}"#);
        app.metric(&series)
    };
    assert_eq!((seconds("fallback"), seconds("redirect")), (Some(4.0), Some(0.0)));
    let series = r#"http_requests_total{method="GET",route="/{key}",status="302"}"#;
    assert_eq!(app.metric(series), Some(4.0));
    let links = app.links.clone();
    app.stop().await;
    // A memory store can still be read after it has been closed.
    let record = links.get(&crate::support::key("expired")).await.unwrap().unwrap();
    assert_eq!(record.clicks, 0);
}

#[test]
fn the_log_names_the_setting_that_redirected_a_browser() {
    let home = "https://www.example.com/";
    let process = Process::start(&[("NOT_FOUND_URL", NOT_FOUND), ("HOME_URL", home)]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = client();
        for path in ["/unknown", "/"] {
            let request = client.get(process.url(path)).header(header::ACCEPT, BROWSER);
            assert_eq!(request.send().await.unwrap().status(), 302, "{path}");
        }
        assert_eq!(client.get(process.url("/unknown")).send().await.unwrap().status(), 404);
    });
    assert_eq!(process.wait_for_log("request")["fallback"], "not_found");
    assert_eq!(process.wait_for_log("request")["fallback"], "home");
    assert_eq!(process.wait_for_log("request")["fallback"], Value::Null);
}

#[tokio::test]
async fn submitting_the_password_of_an_ended_link_redirects_to_its_fallback() {
    let app = TestApp::start_with(&[&GLOBAL[..], &["--api-tokens", TOKENS]].concat()).await;
    let body =
        json!({ "url": TARGET, "key": "once", "password": "sesame", "max_visits": 1, "gone_url": OWN });
    assert_eq!(app.post("/shorten").bearer_auth(TOKEN).json(&body).send().await.unwrap().status(), 201);
    let unlock = |key: &str| {
        let request = app.post(&format!("/{key}")).header(header::ACCEPT, BROWSER);
        request.form(&[("password", "sesame")]).send()
    };
    assert_redirects(&unlock("once").await.unwrap(), 303, TARGET);
    assert_redirects(&unlock("once").await.unwrap(), 303, OWN);
    assert_redirects(&unlock("unknown").await.unwrap(), 303, NOT_FOUND);
    assert_eq!(app.metric(r#"redirects_total{outcome="fallback"}"#), Some(2.0), "each of them");
    let program = app.post("/once").form(&[("password", "sesame")]).send().await.unwrap();
    assert_error(program, 410, "gone").await;
}

#[tokio::test]
async fn the_preview_and_qr_code_of_an_ended_link_do_not_reveal_its_fallback() {
    let app = TestApp::start_with(&GLOBAL).await;
    put_states(&app).await;
    for path in ["/expired-own+", "/expired-own/qr"] {
        let page = browse(&app, path).send().await.unwrap();
        assert_eq!(page.status(), 410, "{path}");
        assert!(!page.text().await.unwrap().contains("www.example.com"), "{path}");
        assert_error(app.get(path).await, 410, "gone").await;
    }
}

async fn shorten(app: &TestApp, token: &str, gone_url: &str) -> Response {
    let request = app.post("/shorten").json(&json!({ "url": TARGET, "key": "k", "gone_url": gone_url }));
    let request = if token.is_empty() { request } else { request.bearer_auth(token) };
    request.send().await.unwrap()
}

#[tokio::test]
async fn setting_the_fallback_of_a_link_requires_a_token() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS]).await;
    let refused = shorten(&app, "", OWN).await;
    assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Bearer");
    let sentence = assert_error(refused, 401, "unauthorized").await;
    assert_eq!(sentence, "gone_url can only be set with a token");
    assert_eq!(app.get("/k").await.status(), 404, "nothing was created");
    let form = app.post("/ui/new").header("sec-fetch-site", "same-origin");
    let refused = form.form(&[("url", TARGET), ("key", "k"), ("gone_url", OWN)]).send().await.unwrap();
    assert_eq!(refused.status(), 401);

    assert_eq!(shorten(&app, TOKEN, "HTTPS://www.EXAMPLE.com/own").await.status(), 201);
    let at = |method| app.client.request(method, app.url("/api/v1/links/k")).bearer_auth(TOKEN);
    let shown: Value = at(Method::GET).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown["gone_url"], OWN, "normalised like a target");
    let edited = at(Method::PATCH).json(&json!({ "gone_url": null })).send().await.unwrap();
    assert_eq!(edited.json::<Value>().await.unwrap()["gone_url"], Value::Null);
}

#[tokio::test]
async fn the_fallback_of_a_link_must_follow_the_rules_for_targets() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("blocked");
    std::fs::write(&file, "evil.example\n").unwrap();
    let blocked = file.to_str().unwrap();
    let flags = ["--api-tokens", TOKENS, "--blocked-hosts", blocked, "--block-private-targets"];
    let app = TestApp::start_with(&flags).await;
    let loops = app.url("/x");
    let long = format!("https://a.example/{}", "x".repeat(2048));
    let refusals = [
        ("example.com", 400, "invalid_option"),
        ("javascript:alert(1)", 400, "invalid_option"),
        ("https://u:p@a.example", 400, "invalid_option"),
        (&long, 400, "invalid_option"),
        (&loops, 400, "invalid_url"),
        ("https://evil.example", 403, "target_refused"),
        ("http://10.0.0.1/", 403, "target_refused"),
    ];
    for (url, status, code) in refusals {
        let sentence = assert_error(shorten(&app, TOKEN, url).await, status, code).await;
        assert!(sentence.starts_with("gone_url: "), "{url}: {sentence}");
    }
    assert_eq!(shorten(&app, TOKEN, OWN).await.status(), 201);
    for (url, status, code) in refusals {
        let request = app.client.patch(app.url("/api/v1/links/k")).bearer_auth(TOKEN);
        let refused = request.json(&json!({ "gone_url": url })).send().await.unwrap();
        assert_error(refused, status, code).await;
    }
}

#[tokio::test]
async fn a_fallback_whose_host_is_blocked_later_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("blocked");
    std::fs::write(&file, "").unwrap();
    for (flags, instead) in [(&[][..], None), (&GLOBAL[..], Some(GONE))] {
        std::fs::write(&file, "").unwrap();
        let app = TestApp::start_with(&[flags, &["--blocked-hosts", file.to_str().unwrap()]].concat()).await;
        put_states(&app).await;
        let lead = async || {
            let response = browse(&app, "/expired-own").send().await.unwrap();
            response.headers().get(header::LOCATION).map(|url| url.to_str().unwrap().to_owned())
        };
        assert_eq!(lead().await.as_deref(), Some(OWN));
        std::fs::write(&file, "www.example.com\n").unwrap();
        eventually(PATIENCE, async || {
            let url = lead().await;
            if url.as_deref() == instead { Ok(()) } else { Err(url) }
        })
        .await;
    }
}

#[test]
fn a_fallback_that_leads_back_to_the_service_prevents_startup() {
    for (variable, url) in [
        ("HOME_URL", "https://sho.rt/"),
        ("NOT_FOUND_URL", "http://www.sho.rt:8080/404"),
        ("GONE_URL", "https://sho.rt/gone"),
    ] {
        let variables = [("BASE_URL", "https://sho.rt"), (variable, url)];
        // Run a command instead of the service. The command reads the same options, but always exits.
        let output = Process::command(&variables).arg("export").output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains(variable) && line.contains("leads back to BASE_URL"), "{line}");
    }
}

#[tokio::test]
async fn without_base_url_a_fallback_never_leads_back_to_the_requested_host() {
    let app = TestApp::start_with(&[&GLOBAL[..], &["--home-url", "https://www.example.com/"]].concat()).await;
    put_states(&app).await;
    for (path, status) in [("/unknown", 404), ("/expired", 410), ("/expired-own", 410), ("/", 200)] {
        for host in ["example.com", "www.example.com:8080"] {
            let response = browse(&app, path).header(header::HOST, host).send().await.unwrap();
            assert_eq!(response.status(), status, "{path} of {host}");
        }
        assert_eq!(browse(&app, path).send().await.unwrap().status(), 302, "{path}");
    }
}

#[tokio::test]
async fn while_the_store_is_down_no_fallback_is_used() {
    use crate::support::{FaultyStore, Mood};
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(store.clone(), &GLOBAL).await;
    store.set_mood(Mood::Broken);
    assert_eq!(browse(&app, "/unknown").send().await.unwrap().status(), 503);
    assert_eq!(app.metric(r#"redirects_total{outcome="fallback"}"#), None);
}

#[tokio::test]
async fn home_url_redirects_browsers_and_the_form_moves_to_its_own_page() {
    const HOME: &str = "https://www.example.com/";
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let app = TestApp::start_on(store, &["--home-url", HOME, "--api-tokens", TOKENS]).await;
    let home = browse(&app, "/").send().await.unwrap();
    assert_redirects(&home, 302, HOME);
    assert_eq!(home.headers()[header::CACHE_CONTROL], "no-store");
    assert!(app.get("/").await.text().await.unwrap().starts_with("urlshort shortens links."));
    assert_eq!(
        app.metric(r#"redirects_total{outcome="fallback"}"#),
        None,
        "the home page is not a short link"
    );

    let form = browse(&app, "/ui/new").send().await.unwrap().text().await.unwrap();
    assert!(form.contains("Shorten a link") && form.contains("<a href=\"/ui/new\" aria-current"), "{form}");
    assert!(!form.contains("name=\"gone_url\""), "not signed in");
    let post = |path: &str, form: &[(&str, &str)], cookie: &str| {
        let request = app.post(path).header(header::ACCEPT, BROWSER).header("sec-fetch-site", "same-origin");
        request.header(header::COOKIE, cookie).form(form).send()
    };
    let created = post("/ui/new", &[("url", TARGET), ("key", "mine")], "").await.unwrap();
    assert_redirects(&created, 303, "/ui/new?made=mine");
    assert!(
        browse(&app, "/ui/new?made=mine").send().await.unwrap().text().await.unwrap().contains("data-copy")
    );

    let signed_in = post("/ui/sign-in", &[("token", TOKEN)], "").await.unwrap();
    assert_redirects(&signed_in, 303, "/ui/links");
    let cookie = signed_in.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
    let form = browse(&app, "/ui/new").header(header::COOKIE, cookie).send().await.unwrap();
    assert!(form.text().await.unwrap().contains("name=\"gone_url\""));
    let wrong = [("url", TARGET), ("gone_url", "nonsense")];
    let page = post("/ui/new", &wrong, cookie).await.unwrap();
    assert_eq!(page.status(), 400);
    assert!(page.text().await.unwrap().contains("id=\"gone_url-error\">Enter a web address"));
    let right = [("url", TARGET), ("key", "ours"), ("gone_url", "www.example.com/own")];
    assert_redirects(&post("/ui/new", &right, cookie).await.unwrap(), 303, "/ui/new?made=ours");
    let page = browse(&app, "/ui/links/ours").header(header::COOKIE, cookie).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("browsers go to <a href=\"https://www.example.com/own\""), "{page}");
    let offer = browse(&app, "/unknown").header(header::COOKIE, cookie).send().await.unwrap();
    assert!(offer.text().await.unwrap().contains("href=\"/ui/new?key=unknown\""));
    assert_redirects(&post("/ui/sign-out", &[], cookie).await.unwrap(), 303, "/ui/new");
}
