//! Blocked hosts: how they affect links, and who can block them.

mod file;
mod instances;

use std::{sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder, Response, header};
use serde_json::{Value, json};
use tokio::time::timeout;
use urlshort::store::memory::MemoryStore;

use crate::support::{FaultyStore, Mood, PATIENCE, Process, TestApp, assert_error, eventually};

const WRITE: &str = "writer-0123456789";
const READ: &str = "reader-0123456789";
const TOKENS: &str = "ci:writer-0123456789,dash:reader-0123456789:read";

async fn start() -> TestApp {
    TestApp::start_with(&["--api-tokens", TOKENS]).await
}

fn call(app: &TestApp, method: Method, path: &str) -> RequestBuilder {
    app.client.request(method, app.url(path)).bearer_auth(WRITE)
}

async fn send(app: &TestApp, method: Method, path: &str) -> Response {
    call(app, method, path).send().await.unwrap()
}

async fn body(app: &TestApp, path: &str) -> Value {
    send(app, Method::GET, path).await.error_for_status().unwrap().json().await.unwrap()
}

fn path_of(host: &str) -> String {
    let host: String = url::form_urlencoded::byte_serialize(host.as_bytes()).collect();
    format!("/api/v1/blocked-hosts/{}", host.replace('+', "%20"))
}

async fn block(app: &TestApp, host: &str) {
    assert_eq!(send(app, Method::PUT, &path_of(host)).await.status(), 200);
}

async fn unblock(app: &TestApp, host: &str) {
    assert_eq!(send(app, Method::DELETE, &path_of(host)).await.status(), 204);
}

async fn create(app: &TestApp, body: Value) {
    let created = call(app, Method::POST, "/api/v1/links").json(&body).send().await.unwrap();
    assert_eq!(created.status(), 201, "{body}");
}

#[tokio::test]
async fn links_to_a_blocked_host_are_gone_until_it_is_unblocked() {
    let app = start().await;
    create(&app, json!({ "url": "https://www.evil.example/a", "key": "plain" })).await;
    create(&app, json!({ "url": "https://evil.example/b", "key": "locked", "password": "secret" })).await;
    create(&app, json!({ "url": "https://evil.example/c", "key": "limited", "max_visits": 5 })).await;
    create(
        &app,
        json!({ "url": "https://evil.example/d", "key": "later", "starts_at": "2026-07-01T00:00:00Z" }),
    )
    .await;
    create(&app, json!({ "url": "https://good.example/", "key": "good" })).await;
    let before = body(&app, "/api/v1/links/plain").await;
    // The second request is served from the cache.
    for _ in 0..2 {
        assert_eq!(app.get("/plain").await.status(), 302);
    }
    block(&app, ".evil.example").await;
    for key in ["plain", "locked", "limited", "later"] {
        for _ in 0..2 {
            assert_error(app.get(&format!("/{key}")).await, 410, "gone").await;
        }
        assert_error(app.get(&format!("/{key}+")).await, 410, "gone").await;
        assert_error(app.get(&format!("/{key}/qr")).await, 410, "gone").await;
        let unlock = app.post(&format!("/{key}")).form(&[("password", "secret")]).send().await.unwrap();
        assert_error(unlock, 410, "gone").await;
        assert_eq!(app.client.head(app.url(&format!("/{key}"))).send().await.unwrap().status(), 410);
        let shown = body(&app, &format!("/api/v1/links/{key}")).await;
        assert_eq!((&shown["state"], &shown["blocked_host"]), (&json!("blocked"), &json!(".evil.example")));
    }
    assert_eq!(app.get("/good").await.status(), 302);
    let new = app.shorten(json!({ "url": "https://a.evil.example/" })).await;
    assert_error(new, 403, "target_refused").await;

    unblock(&app, ".evil.example").await;
    assert_eq!(app.get("/plain").await.status(), 302);
    assert_eq!(app.get("/locked").await.status(), 403);
    assert_eq!(app.get("/plain/qr").await.status(), 200);
    assert_eq!(
        body(&app, "/api/v1/links/plain").await["version"],
        before["version"],
        "no link was rewritten"
    );
    assert_eq!(app.shorten(json!({ "url": "https://a.evil.example/" })).await.status(), 201);
}

#[tokio::test]
async fn an_edited_or_restored_link_stays_blocked() {
    let app = start().await;
    create(&app, json!({ "url": "https://evil.example/", "key": "k" })).await;
    create(&app, json!({ "url": "https://good.example/", "key": "good" })).await;
    block(&app, "evil.example").await;
    let edit = |key: &str, body: Value| {
        call(&app, Method::PATCH, &format!("/api/v1/links/{key}")).json(&body).send()
    };
    assert_eq!(edit("k", json!({ "title": "new" })).await.unwrap().status(), 200);
    assert_eq!(app.get("/k").await.status(), 410);
    for action in ["take-down", "restore"] {
        send(&app, Method::POST, &format!("/api/v1/links/k/{action}")).await.error_for_status().unwrap();
        assert_eq!(app.get("/k").await.status(), 410);
    }
    let refused = edit("good", json!({ "url": "https://evil.example/" })).await.unwrap();
    assert_error(refused, 403, "target_refused").await;
    assert_eq!(edit("k", json!({ "url": "https://good.example/" })).await.unwrap().status(), 200);
    assert_eq!(app.get("/k").await.status(), 302, "the new target is not blocked");
}

#[tokio::test]
async fn links_are_found_by_blocked_state_and_by_host() {
    let app = start().await;
    for (key, url) in [
        ("evil", "https://evil.example/"),
        ("sub", "https://sub.evil.example:8443/"),
        ("path", "https://good.example/evil.example"),
        ("near", "https://notevil.example/"),
        ("address", "http://[::ffff:192.0.2.1]/"),
    ] {
        create(&app, json!({ "url": url, "key": key })).await;
    }
    let found = async |query: &str| {
        let page = body(&app, &format!("/api/v1/links?{query}")).await;
        let keys = page["links"].as_array().unwrap().iter().map(|link| link["key"].as_str().unwrap());
        let mut keys: Vec<String> = keys.map(str::to_owned).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(found("host=.evil.example").await, ["evil", "sub"]);
    assert_eq!(found("host=EVIL.example.").await, ["evil"]);
    assert_eq!(found("host=192.0.2.1").await, ["address"]);
    assert!(found("state=blocked").await.is_empty());
    block(&app, ".evil.example").await;
    assert_eq!(found("state=blocked").await, ["evil", "sub"]);
    assert_eq!(found("state=active").await, ["address", "near", "path"]);
    send(&app, Method::POST, "/api/v1/links/sub/take-down").await.error_for_status().unwrap();
    assert_eq!(found("state=blocked").await, ["evil"]);
    assert_eq!(found("state=taken_down").await, ["sub"]);
    let refused = send(&app, Method::GET, "/api/v1/links?host=https://evil.example").await;
    assert_error(refused, 400, "invalid_query").await;
}

#[tokio::test]
async fn a_host_is_normalised_and_an_invalid_one_is_refused() {
    let app = start().await;
    for (host, stored) in [
        ("EVIL.example.", "evil.example"),
        (".Bücher.example", ".xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("0xc0.0.2.2", "192.0.2.2"),
        ("[::1]", "[::1]"),
        ("2001:DB8::1", "[2001:db8::1]"),
    ] {
        let put = send(&app, Method::PUT, &path_of(host)).await;
        assert_eq!(put.status(), 200, "{host}");
        assert_eq!(put.json::<Value>().await.unwrap()["host"], stored);
        assert_eq!(body(&app, &path_of(host)).await["host"], stored, "{host} is found in this spelling too");
    }
    let before = body(&app, "/api/v1/blocked-hosts").await;
    for host in [
        "https://x",
        "*.x",
        "x/path",
        "x:80",
        "a b",
        "%",
        "..",
        ".",
        "a..b",
        "x,y",
        "\0",
        "é*",
        "[::1]:80",
        &"a".repeat(300),
        &"ü".repeat(700),
    ] {
        for method in [Method::PUT, Method::GET, Method::DELETE] {
            // Percent-encode dots. The HTTP client resolves "." and ".." segments even if they are encoded, so skip
            // them.
            let path = path_of(host).replace('.', "%2E");
            if ["..", "."].contains(&host) {
                continue;
            }
            assert_error(send(&app, method, &path).await, 400, "invalid_option").await;
        }
    }
    assert_eq!(body(&app, "/api/v1/blocked-hosts").await, before, "nothing was changed");
}

#[tokio::test]
async fn a_body_is_optional_but_must_be_valid() {
    let app = start().await;
    let put = |body: Value| call(&app, Method::PUT, &path_of("evil.example")).json(&body).send();
    for (body, code) in [
        (json!({ "reason": "x".repeat(256) }), "invalid_option"),
        (json!({ "reason": "a\nb" }), "invalid_option"),
        (json!({ "reason": " " }), "invalid_option"),
        (json!({ "reason": 1 }), "invalid_body"),
        (json!({ "note": "x" }), "invalid_body"),
        (json!([]), "invalid_body"),
    ] {
        assert_error(put(body).await.unwrap(), 400, code).await;
    }
    assert_error(send(&app, Method::GET, &path_of("evil.example")).await, 404, "not_found").await;
    assert_error(send(&app, Method::DELETE, &path_of("evil.example")).await, 404, "not_found").await;
    let expected = json!({ "host": "evil.example", "reason": "phishing", "blocked_by": "ci", "blocked_at": "2026-06-01T12:00:00Z" });
    let stored: Value = put(json!({ "reason": " phishing " })).await.unwrap().json().await.unwrap();
    assert_eq!(stored, expected);
    assert_eq!(body(&app, &path_of("evil.example")).await, expected);
    block(&app, "evil.example").await;
    assert_eq!(body(&app, &path_of("evil.example")).await["reason"], Value::Null, "the entry is replaced");
}

#[tokio::test]
async fn blocked_hosts_are_listed_a_page_at_a_time() {
    let app = start().await;
    for number in 0..25 {
        block(&app, &format!("{number:02}.example")).await;
    }
    let (mut hosts, mut sizes, mut cursor) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = body(&app, &format!("/api/v1/blocked-hosts?limit=10{cursor}")).await;
        sizes.push(page["hosts"].as_array().unwrap().len());
        hosts.extend(page["hosts"].as_array().unwrap().iter().map(|entry| entry["host"].clone()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(sizes, [10, 10, 5]);
    assert_eq!(hosts, (0..25).map(|number| json!(format!("{number:02}.example"))).collect::<Vec<_>>());
    for query in ["limit=0", "limit=1001", "limit=x", "cursor=a/b", "page=2"] {
        let refused = send(&app, Method::GET, &format!("/api/v1/blocked-hosts?{query}")).await;
        assert_error(refused, 400, "invalid_query").await;
    }
}

#[tokio::test]
async fn a_read_only_token_cannot_change_blocked_hosts() {
    let app = start().await;
    block(&app, "evil.example").await;
    for method in [Method::PUT, Method::DELETE] {
        let request = app.client.request(method, app.url(&path_of("evil.example"))).bearer_auth(READ);
        assert_error(request.send().await.unwrap(), 403, "forbidden").await;
    }
    let list = app.client.get(app.url("/api/v1/blocked-hosts")).bearer_auth(READ).send().await.unwrap();
    assert_eq!(list.json::<Value>().await.unwrap()["hosts"][0]["host"], "evil.example");
}

#[tokio::test]
async fn a_host_is_blocked_even_if_the_client_hangs_up() {
    let store = Arc::new(FaultyStore::around(Arc::new(MemoryStore::default())));
    let app = TestApp::start_on(store.clone(), &["--api-tokens", TOKENS]).await;
    create(&app, json!({ "url": "https://evil.example/", "key": "k" })).await;
    assert_eq!(app.get("/k").await.status(), 302);
    store.set_change_delay(Duration::from_millis(200));
    let put = call(&app, Method::PUT, &path_of("evil.example")).send();
    assert!(
        timeout(Duration::from_millis(100), put).await.is_err(),
        "the client hangs up before the response"
    );
    eventually(PATIENCE, async || match app.get("/k").await.status().as_u16() {
        410 => Ok(()),
        other => Err(other),
    })
    .await;
}

#[tokio::test]
async fn while_the_store_is_down_the_list_stays_in_force_and_changes_are_refused() {
    let store = Arc::new(FaultyStore::around(Arc::new(MemoryStore::default())));
    let app = TestApp::start_on(store.clone(), &["--api-tokens", TOKENS]).await;
    create(&app, json!({ "url": "https://evil.example/", "key": "k" })).await;
    create(&app, json!({ "url": "https://good.example/", "key": "good" })).await;
    for key in ["/k", "/good"] {
        assert_eq!(app.get(key).await.status(), 302);
    }
    block(&app, "evil.example").await;
    store.set_mood(Mood::Broken);
    let refused = send(&app, Method::PUT, &path_of("good.example")).await;
    assert_error(refused, 503, "store_unavailable").await;
    assert_error(send(&app, Method::GET, "/api/v1/blocked-hosts").await, 503, "store_unavailable").await;
    app.wait_for_metric("store_up{store=\"faulty\"}", |up| up == 0.0).await;
    assert_eq!(app.get("/k").await.status(), 410);
    assert_eq!(app.get("/good").await.status(), 302);
}

#[test]
fn each_change_is_logged_once() {
    let process = Process::start(&[("API_TOKENS", TOKENS)]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::new();
        let send = async |method: Method, host: &str| {
            let request = client.request(method, process.url(&path_of(host))).bearer_auth(WRITE);
            request.header("x-request-id", "id-1").send().await.unwrap().status().as_u16()
        };
        assert_eq!(send(Method::PUT, "Evil.example").await, 200);
        assert_eq!(send(Method::PUT, "*").await, 400);
        assert_eq!(send(Method::DELETE, "evil.example").await, 204);
        assert_eq!(send(Method::DELETE, "evil.example").await, 404);
    });
    for action in ["blocked", "unblocked"] {
        let line = process.wait_for_log("blocked hosts changed");
        let fields = ["action", "host", "token", "request_id", "client_ip"].map(|name| line[name].clone());
        assert_eq!(fields, [action, "evil.example", "ci", "id-1", "127.0.0.1"].map(Value::from));
    }
    process.signal(rustix::process::Signal::TERM);
    while let Some(line) = process.next_log_line() {
        assert_ne!(line["msg"], "blocked hosts changed");
    }
}

#[tokio::test]
async fn pages_about_links_show_the_abuse_contact() {
    let app = TestApp::start_with(&["--api-tokens", TOKENS, "--abuse-contact", "abuse+'&x@sho.rt"]).await;
    create(&app, json!({ "url": "https://evil.example/", "key": "k" })).await;
    create(&app, json!({ "url": "https://good.example/", "key": "good" })).await;
    create(&app, json!({ "url": "https://good.example/", "key": "locked", "password": "secret" })).await;
    block(&app, "evil.example").await;
    let page = async |app: &TestApp, path: &str| {
        let request = app.client.get(app.url(path)).header(header::ACCEPT, "text/html");
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    for (path, status) in
        [("/k", 410), ("/k+", 410), ("/nothing", 404), ("/good+", 200), ("/locked", 403), ("/locked+", 403)]
    {
        let (actual, html) = page(&app, path).await;
        assert_eq!(actual, status, "{path}");
        let link = "Report abuse: <a href=\"mailto:abuse+&#39;&#38;x@sho.rt\" rel=\"noreferrer\">abuse+&#39;&#38;x@sho.rt</a>";
        assert!(html.contains(link), "{path}: {html}");
    }
    assert!(!page(&app, "/").await.1.contains("Report abuse"));
    let app = start().await;
    assert!(!page(&app, "/nothing").await.1.contains("Report abuse"));
}
