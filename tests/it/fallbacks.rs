//! The pages elsewhere that browsers are led to.

use std::{num::NonZeroU32, sync::Arc};

use jiff::{Timestamp, ToSpan};
use reqwest::{Client, Method, RequestBuilder, Response, header, redirect::Policy};
use serde_json::{Value, json};
use urlshort::{
    link::{
        Link,
        options::{Options, PasswordHash},
    },
    store::{History, Store, memory::MemoryStore},
};

use crate::support::{PATIENCE, Process, TestApp, assert_error, eventually, link, target, with};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const TOKEN: &str = "0123456789abcdef-write";
const TOKENS: &str = "anna:0123456789abcdef-write,viewer:0123456789abcdef-read:read";
const TARGET: &str = "https://target.example/";
const NOT_FOUND: &str = "https://www.example.com/not-found";
const GONE: &str = "https://www.example.com/gone";
const OWN: &str = "https://www.example.com/own";
const GLOBAL: [&str; 4] = ["--not-found-url", NOT_FOUND, "--gone-url", GONE];

type State = (&'static str, fn(&mut Link, Timestamp));

/// The states of a link. A row here is all that another one takes.
const STATES: [State; 6] = [
    ("scheduled", |link, now| link.doc.options.starts_at = Some(now + 1.hour())),
    ("active", |_, _| {}),
    ("expired", |link, now| link.doc.options.expires_at = Some(now - 1.hour())),
    // Its one visit is used.
    ("used-up", |link, _| link.doc.options.max_visits = NonZeroU32::new(1)),
    ("taken-down", |link, now| {
        link.doc.options.expires_at = Some(now - 1.hour());
        link.doc.taken_down_at = Some(now);
    }),
    ("locked", |link, _| {
        link.doc.options.password = Some(PasswordHash::from_phc("$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA"));
    }),
];

type ClientKind = (&'static str, Method, &'static [(&'static str, &'static str)]);

/// The kinds of client: a name, a method and headers.
const CLIENTS: [ClientKind; 6] = [
    ("browser", Method::GET, &[("accept", BROWSER)]),
    ("API", Method::GET, &[("accept", "*/*")]),
    ("HEAD", Method::HEAD, &[("accept", BROWSER)]),
    ("API HEAD", Method::HEAD, &[]),
    ("bot", Method::GET, &[("accept", BROWSER), ("user-agent", "Googlebot/2.1")]),
    ("prefetch", Method::GET, &[("accept", BROWSER), ("sec-purpose", "prefetch")]),
];

const TABLE: &str = "
state      fallback browser       API           HEAD          API HEAD      bot           prefetch
unknown    none     404           404           404           404           404           404
unknown    global   302 not-found 404           302 not-found 404           302 not-found 302 not-found
scheduled  none     404           404           404           404           404           404
scheduled  link     404           404           404           404           404           404
scheduled  global   302 not-found 404           302 not-found 404           302 not-found 302 not-found
scheduled  both     302 not-found 404           302 not-found 404           302 not-found 302 not-found
active     none     302 target    302 target    302 target    302 target    302 target    302 target
active     link     302 target    302 target    302 target    302 target    302 target    302 target
active     global   302 target    302 target    302 target    302 target    302 target    302 target
active     both     302 target    302 target    302 target    302 target    302 target    302 target
expired    none     410           410           410           410           410           410
expired    link     302 own       410           302 own       410           302 own       302 own
expired    global   302 gone      410           302 gone      410           302 gone      302 gone
expired    both     302 own       410           302 own       410           302 own       302 own
used-up    none     410           410           410           410           410           410
used-up    link     302 own       410           302 own       410           302 own       302 own
used-up    global   302 gone      410           302 gone      410           302 gone      302 gone
used-up    both     302 own       410           302 own       410           302 own       302 own
taken-down none     410           410           410           410           410           410
taken-down link     410           410           410           410           410           410
taken-down global   410           410           410           410           410           410
taken-down both     410           410           410           410           410           410
locked     none     403           403           403           403           403           403
locked     link     403           403           403           403           403           403
locked     global   403           403           403           403           403           403
locked     both     403           403           403           403           403           403
";

/// Puts each state of a link into the store, with and without a fallback of its own.
async fn put_states(app: &TestApp) {
    for (name, set) in STATES {
        for own in [false, true] {
            let key = if own { format!("{name}-own") } else { name.to_owned() };
            let options = Options { gone_url: own.then(|| target(OWN)), ..Options::default() };
            let mut link = with(options, link(&key, TARGET));
            set(&mut link, app.now());
            let history = History { visits: u64::from(name == "used-up"), ..History::default() };
            assert!(app.links.put_if_absent(link, history).await.unwrap());
        }
    }
}

async fn ask(app: &TestApp, key: &str, method: &Method, headers: &[(&str, &str)]) -> String {
    let request = app.client.request(method.clone(), app.url(&format!("/{key}")));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    let location = response.headers().get(header::LOCATION).map(|location| location.to_str().unwrap());
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store", "{key} {headers:?}");
    let name = match location {
        None => "",
        Some(TARGET) => " target",
        Some(NOT_FOUND) => " not-found",
        Some(GONE) => " gone",
        Some(OWN) => " own",
        Some(other) => panic!("{key} leads to {other}"),
    };
    if location.is_some_and(|location| location != TARGET) {
        assert_eq!(response.headers()[header::VARY], "Accept", "{key} {headers:?}");
        assert_eq!(response.content_length().unwrap_or(0), 0);
    }
    format!("{}{name}", response.status().as_u16())
}

#[tokio::test]
async fn every_state_client_and_fallback_has_its_outcome() {
    let (plain, global) = (TestApp::start().await, TestApp::start_with(&GLOBAL).await);
    put_states(&plain).await;
    put_states(&global).await;
    let mut table = format!("\n{:<10} {:<8}", "state", "fallback");
    for (name, ..) in CLIENTS {
        table += &format!(" {name:<13}");
    }
    let states = ["unknown"].into_iter().chain(STATES.iter().map(|(name, _)| *name));
    for (app, fallback, suffix, state) in states.flat_map(|state| {
        let own = if state == "unknown" { None } else { Some("-own") };
        let rows = [
            Some((&plain, "none", "")),
            own.map(|own| (&plain, "link", own)),
            Some((&global, "global", "")),
            own.map(|own| (&global, "both", own)),
        ];
        rows.into_iter().flatten().map(move |(app, fallback, suffix)| (app, fallback, suffix, state))
    }) {
        table = format!("{}\n{state:<10} {fallback:<8}", table.trim_end());
        for (_, method, headers) in CLIENTS {
            table += &format!(" {:<13}", ask(app, &format!("{state}{suffix}"), &method, headers).await);
        }
    }
    let table = format!("{}\n", table.trim_end());
    assert!(table == TABLE, "the table is\n{table}");
}

fn browse(app: &TestApp, path: &str) -> RequestBuilder {
    app.client.get(app.url(path)).header(header::ACCEPT, BROWSER)
}

#[track_caller]
fn assert_leads(response: &Response, status: u16, url: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[header::LOCATION], url);
}

#[tokio::test]
async fn a_fallback_is_an_outcome_of_its_own_and_no_click() {
    let app = TestApp::start_with(&GLOBAL).await;
    put_states(&app).await;
    for path in ["/unknown", "/a.b", "/expired", "/expired-own"] {
        assert_eq!(browse(&app, path).send().await.unwrap().status(), 302, "{path}");
    }
    // An address that no key can have is no request for a link.
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
    // The store is closed, and in memory it still answers.
    let record = links.get(&crate::support::key("expired")).await.unwrap().unwrap();
    assert_eq!(record.clicks, 0);
}

#[test]
fn the_log_says_which_setting_led_a_browser_elsewhere() {
    let home = "https://www.example.com/";
    let process = Process::start(&[("NOT_FOUND_URL", NOT_FOUND), ("HOME_URL", home)]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
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
async fn a_form_with_the_password_of_a_link_that_has_ended_leads_on_as_well() {
    let app = TestApp::start_with(&[&GLOBAL[..], &["--api-tokens", TOKENS]].concat()).await;
    let body =
        json!({ "url": TARGET, "key": "once", "password": "sesame", "max_visits": 1, "gone_url": OWN });
    assert_eq!(app.post("/shorten").bearer_auth(TOKEN).json(&body).send().await.unwrap().status(), 201);
    let unlock = |key: &str| {
        let request = app.post(&format!("/{key}")).header(header::ACCEPT, BROWSER);
        request.form(&[("password", "sesame")]).send()
    };
    assert_leads(&unlock("once").await.unwrap(), 303, TARGET);
    assert_leads(&unlock("once").await.unwrap(), 303, OWN);
    assert_leads(&unlock("unknown").await.unwrap(), 303, NOT_FOUND);
    assert_eq!(app.metric(r#"redirects_total{outcome="fallback"}"#), Some(1.0));
    let program = app.post("/once").form(&[("password", "sesame")]).send().await.unwrap();
    assert_error(program, 410, "gone").await;
}

#[tokio::test]
async fn the_preview_and_the_code_of_a_link_that_has_ended_show_nothing_of_its_fallback() {
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
async fn only_a_token_can_set_the_fallback_of_a_link() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS]).await;
    let refused = shorten(&app, "", OWN).await;
    assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Bearer");
    let sentence = assert_error(refused, 401, "unauthorized").await;
    assert_eq!(sentence, "gone_url can only be set with a token");
    assert_eq!(app.get("/k").await.status(), 404, "nothing was made");
    let form = app.post("/ui/new").header("sec-fetch-site", "same-origin");
    let refused = form.form(&[("url", TARGET), ("key", "k"), ("gone_url", OWN)]).send().await.unwrap();
    assert_eq!(refused.status(), 401);

    assert_eq!(shorten(&app, TOKEN, "HTTPS://www.EXAMPLE.com/own").await.status(), 201);
    let at = |method| app.client.request(method, app.url("/api/v1/links/k")).bearer_auth(TOKEN);
    let shown: Value = at(Method::GET).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown["gone_url"], OWN, "it is normalised as a target is");
    let edited = at(Method::PATCH).json(&json!({ "gone_url": null })).send().await.unwrap();
    assert_eq!(edited.json::<Value>().await.unwrap()["gone_url"], Value::Null);
}

#[tokio::test]
async fn the_fallback_of_a_link_is_held_to_the_rules_of_targets() {
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
fn a_fallback_that_leads_back_to_the_service_stops_the_start() {
    for (variable, url) in [
        ("HOME_URL", "https://sho.rt/"),
        ("NOT_FOUND_URL", "http://www.sho.rt:8080/404"),
        ("GONE_URL", "https://sho.rt/gone"),
    ] {
        let variables = [("BASE_URL", "https://sho.rt"), (variable, url)];
        // A command reads the options as the service does, and ends in any case.
        let output = Process::command(&variables).arg("export").output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains(variable) && line.contains("leads back to BASE_URL"), "{line}");
    }
}

#[tokio::test]
async fn without_base_url_a_fallback_never_leads_back_to_the_host_that_was_asked() {
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
async fn a_link_that_has_ended_in_a_store_without_answers_leads_nowhere() {
    use crate::support::{FaultyStore, Mood};
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(store.clone(), &GLOBAL).await;
    store.set_mood(Mood::Broken);
    assert_eq!(browse(&app, "/unknown").send().await.unwrap().status(), 503);
    assert_eq!(app.metric(r#"redirects_total{outcome="fallback"}"#), None);
}

#[tokio::test]
async fn home_leads_browsers_away_and_the_form_keeps_a_page() {
    const HOME: &str = "https://www.example.com/";
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let app = TestApp::start_on(store, &["--home-url", HOME, "--api-tokens", TOKENS]).await;
    let home = browse(&app, "/").send().await.unwrap();
    assert_leads(&home, 302, HOME);
    assert_eq!(home.headers()[header::CACHE_CONTROL], "no-store");
    assert!(app.get("/").await.text().await.unwrap().starts_with("urlshort makes short links."));
    assert_eq!(app.metric(r#"redirects_total{outcome="fallback"}"#), None, "it is no short link");

    let form = browse(&app, "/ui/new").send().await.unwrap().text().await.unwrap();
    assert!(form.contains("Shorten a link") && form.contains("<a href=\"/ui/new\" aria-current"), "{form}");
    assert!(!form.contains("name=\"gone_url\""), "nobody has signed in");
    let post = |path: &str, form: &[(&str, &str)], cookie: &str| {
        let request = app.post(path).header(header::ACCEPT, BROWSER).header("sec-fetch-site", "same-origin");
        request.header(header::COOKIE, cookie).form(form).send()
    };
    let made = post("/ui/new", &[("url", TARGET), ("key", "mine")], "").await.unwrap();
    assert_leads(&made, 303, "/ui/new?made=mine");
    assert!(
        browse(&app, "/ui/new?made=mine").send().await.unwrap().text().await.unwrap().contains("data-copy")
    );

    let signed_in = post("/ui/sign-in", &[("token", TOKEN)], "").await.unwrap();
    assert_leads(&signed_in, 303, "/ui/links");
    let cookie = signed_in.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
    let form = browse(&app, "/ui/new").header(header::COOKIE, cookie).send().await.unwrap();
    assert!(form.text().await.unwrap().contains("name=\"gone_url\""));
    let wrong = [("url", TARGET), ("gone_url", "nonsense")];
    let page = post("/ui/new", &wrong, cookie).await.unwrap();
    assert_eq!(page.status(), 400);
    assert!(page.text().await.unwrap().contains("id=\"gone_url-error\">Enter a web address"));
    let right = [("url", TARGET), ("key", "ours"), ("gone_url", "www.example.com/own")];
    assert_leads(&post("/ui/new", &right, cookie).await.unwrap(), 303, "/ui/new?made=ours");
    let page = browse(&app, "/ui/links/ours").header(header::COOKIE, cookie).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("browsers are led to <a href=\"https://www.example.com/own\""), "{page}");
    let offer = browse(&app, "/unknown").header(header::COOKIE, cookie).send().await.unwrap();
    assert!(offer.text().await.unwrap().contains("href=\"/ui/new?key=unknown\""));
    assert_leads(&post("/ui/sign-out", &[], cookie).await.unwrap(), 303, "/ui/new");
}
