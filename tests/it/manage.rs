//! `/api/v1/links`: authorization and behaviour.

mod listing;
mod stats;

use std::{collections::HashSet, time::Duration};

use reqwest::{Method, RequestBuilder, Response, header};
use serde_json::{Value, json};

use crate::support::{Process, TestApp, assert_error};

const WRITE: &str = "writer-0123456789";
const READ: &str = "reader-0123456789";

async fn app() -> TestApp {
    app_with(&[]).await
}

async fn app_with(flags: &[&str]) -> TestApp {
    let tokens = format!("ci:{WRITE},dash:{READ}:read");
    TestApp::start_with(&[&["--api-tokens", &tokens], flags].concat()).await
}

/// Builds a request with a token that has the write scope.
fn call(app: &TestApp, method: Method, path: &str) -> RequestBuilder {
    app.client.request(method, app.url(path)).bearer_auth(WRITE)
}

async fn json_of(request: RequestBuilder) -> Value {
    request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

async fn create(app: &TestApp, body: Value) -> Value {
    json_of(call(app, Method::POST, "/api/v1/links").json(&body)).await
}

async fn show(app: &TestApp, key: &str) -> Value {
    json_of(call(app, Method::GET, &format!("/api/v1/links/{key}"))).await
}

async fn edit(app: &TestApp, key: &str, body: Value) -> Response {
    call(app, Method::PATCH, &format!("/api/v1/links/{key}")).json(&body).send().await.unwrap()
}

/// Every route that needs a token. The last field is `true` for read-only routes.
const ROUTES: [(&str, &str, bool); 14] = [
    ("GET", "/api/v1/links", true),
    ("POST", "/api/v1/links", false),
    ("POST", "/api/v1/links/batch", false),
    ("GET", "/api/v1/links/k", true),
    ("PATCH", "/api/v1/links/k", false),
    ("DELETE", "/api/v1/links/k", false),
    ("POST", "/api/v1/links/k/take-down", false),
    ("POST", "/api/v1/links/k/restore", false),
    ("GET", "/api/v1/links/k/stats", true),
    ("POST", "/api/v1/links/take-down", false),
    ("GET", "/api/v1/blocked-hosts", true),
    ("GET", "/api/v1/blocked-hosts/h.example", true),
    ("PUT", "/api/v1/blocked-hosts/h.example", false),
    ("DELETE", "/api/v1/blocked-hosts/h.example", false),
];

#[tokio::test]
async fn the_table_of_routes_that_need_a_token_is_complete() {
    let app = app().await;
    let document: Value = app.get("/openapi.json").await.json().await.unwrap();
    let mut secured = HashSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let is_optional = operation["security"][0] == json!({});
            if operation.get("security").is_some() && !is_optional {
                secured.insert((
                    method.to_uppercase(),
                    path.replace("{key}", "k").replace("{host}", "h.example"),
                ));
            }
        }
    }
    let tested = ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()));
    assert_eq!(secured, tested.collect());
}

#[tokio::test]
async fn without_the_right_token_nothing_is_read_or_changed() {
    let app = app_with(&["--trusted-proxies", "1"]).await;
    create(&app, json!({ "url": "https://example.com/kept", "key": "k" })).await;
    let host = "/api/v1/blocked-hosts/h.example";
    call(&app, Method::PUT, host).send().await.unwrap().error_for_status().unwrap();
    let before = show(&app, "k").await;
    let wrong = [
        None,
        Some("Bearer wrong-0123456789".to_owned()),
        Some("Bearer ".to_owned()),
        Some(format!("Bearer {WRITE}x")),
        Some(format!("Bearer {}", &WRITE[1..])),
        Some(format!("Basic {WRITE}")),
        Some(WRITE.to_owned()),
        Some("Bearer ci".to_owned()),
    ];
    for (number, (method, path, reads)) in ROUTES.into_iter().enumerate() {
        let body = match path {
            "/api/v1/links/batch" => json!({ "links": [{ "url": "https://example.com/new" }] }),
            "/api/v1/links/take-down" => json!({ "by": "ci" }),
            "/api/v1/links" => json!({ "url": "https://example.com/new", "key": "new" }),
            _ => json!({ "url": "https://example.com/changed" }),
        };
        let request = |authorization: Option<&str>| {
            let mut request = app.client.request(method.parse().unwrap(), app.url(path)).json(&body);
            // Use a different client address for each route, because an address with too many failures gets a 429.
            request = request.header("x-forwarded-for", format!("192.0.2.{number}"));
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            request.send()
        };
        for authorization in &wrong {
            let response = request(authorization.as_deref()).await.unwrap();
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer", "{method} {path}");
            assert_error(response, 401, "unauthorized").await;
        }
        let read_only = request(Some(&format!("Bearer {READ}"))).await.unwrap();
        if reads {
            assert_eq!(read_only.status(), 200, "{method} {path}");
        } else {
            assert_error(read_only, 403, "forbidden").await;
        }
    }
    assert_eq!(show(&app, "k").await, before);
    let all = json_of(call(&app, Method::GET, "/api/v1/links")).await;
    assert_eq!(all["links"].as_array().unwrap().len(), 1, "nothing was created");
    assert_eq!(json_of(call(&app, Method::GET, host)).await["blocked_by"], "ci");
}

#[tokio::test]
async fn without_configured_tokens_the_api_is_closed() {
    let app = TestApp::start().await;
    assert_error(app.get("/api/v1/links").await, 401, "unauthorized").await;
}

#[tokio::test]
async fn without_configured_tokens_everybody_can_shorten() {
    let app = TestApp::start().await;
    assert_eq!(app.shorten(json!({ "url": "https://example.com" })).await.status(), 201);
}

#[tokio::test]
async fn shortening_can_be_limited_to_clients_with_a_token() {
    let app = app_with(&["--public-shorten", "false"]).await;
    assert_error(app.shorten(json!({ "url": "https://example.com" })).await, 401, "unauthorized").await;
    let shorten =
        |token| app.post("/shorten").bearer_auth(token).json(&json!({ "url": "https://example.com" })).send();
    assert_error(shorten(READ).await.unwrap(), 403, "forbidden").await;
    assert_eq!(shorten(WRITE).await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_link_is_shown_with_all_its_fields() {
    let app = app().await;
    let created = create(
        &app,
        json!({
            "url": "https://example.com", "key": "k", "expires_at": "2026-07-01T00:00:00Z", "max_visits": 3,
            "redirect": 308, "forward_query": true, "title": "Spring", "tags": ["b", "a"], "password": "secret",
        }),
    )
    .await;
    let expected = json!({
        "key": "k", "short_url": app.url("/k"), "url": "https://example.com/", "state": "active", "blocked_host": null,
        "title": "Spring", "tags": ["a", "b"], "created_at": "2026-06-01T12:00:00Z", "created_by": "ci",
        "starts_at": null, "expires_at": "2026-07-01T00:00:00Z", "max_visits": 3, "visits": 0, "clicks": 0, "redirect": 308,
        "forward_query": true, "gone_url": null, "has_password": true, "version": 1,
    });
    assert_eq!(created, expected);
    assert_eq!(show(&app, "k").await, expected);
}

#[tokio::test]
async fn a_link_that_has_not_changed_is_not_sent_again() {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let shown = call(&app, Method::GET, "/api/v1/links/k").send().await.unwrap();
    let tag = shown.headers()[header::ETAG].clone();
    let again = call(&app, Method::GET, "/api/v1/links/k").header(header::IF_NONE_MATCH, tag);
    assert_eq!(again.send().await.unwrap().status(), 304);
}

#[tokio::test]
async fn an_unknown_link_can_be_neither_shown_nor_edited() {
    let app = app().await;
    let shown = call(&app, Method::GET, "/api/v1/links/none").send().await.unwrap();
    for response in [shown, edit(&app, "none", json!({ "title": "x" })).await] {
        assert_error(response, 404, "not_found").await;
    }
}

#[tokio::test]
async fn an_edit_changes_the_fields_it_names_and_null_clears_them() {
    let app = app().await;
    create(
        &app,
        json!({ "url": "https://example.com", "key": "k", "title": "One", "tags": ["a"], "max_visits": 3 }),
    )
    .await;
    let edited: Value = edit(&app, "k", json!({ "url": "https://example.com/2", "title": null }))
        .await
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!((&edited["url"], &edited["title"]), (&json!("https://example.com/2"), &Value::Null));
    assert_eq!((&edited["tags"], &edited["max_visits"]), (&json!(["a"]), &json!(3)));
    assert_eq!(edited["version"], 2);
}

#[tokio::test]
async fn an_edit_that_changes_nothing_creates_no_version() {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let same: Value = edit(&app, "k", json!({})).await.json().await.unwrap();
    assert_eq!(same["version"], 1);
}

#[tokio::test]
async fn an_invalid_edit_changes_nothing() {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let before = show(&app, "k").await;
    let own = app.url("/k");
    for (body, code) in [
        (json!({ "url": "nonsense" }), "invalid_url"),
        (json!({ "url": null }), "invalid_url"),
        (json!({ "url": own }), "invalid_url"),
        (json!({ "colour": "red" }), "invalid_body"),
        (json!({ "colour": null }), "invalid_body"),
        (json!({ "key": "other" }), "invalid_body"),
        (json!({ "key": null }), "invalid_body"),
        (json!({ "password": 5 }), "invalid_body"),
        (json!({ "redirect": 300 }), "invalid_option"),
        (json!({ "max_visits": 0 }), "invalid_body"),
        (json!({ "expires_at": "2020-01-01T00:00:00Z" }), "invalid_option"),
        (json!({ "starts_at": "2999-01-01T00:00:00Z", "expires_in": 5 }), "invalid_option"),
        (json!({ "expires_in": 5, "expires_at": "2030-01-01T00:00:00Z" }), "invalid_option"),
        (json!({ "tags": ["a,b"] }), "invalid_option"),
        (json!({ "title": "" }), "invalid_option"),
        (json!({ "password": "" }), "invalid_option"),
    ] {
        assert_error(edit(&app, "k", body).await, 400, code).await;
    }
    assert_eq!(show(&app, "k").await, before);
}

#[tokio::test]
async fn the_second_of_two_edits_of_one_version_is_refused() {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let shown = call(&app, Method::GET, "/api/v1/links/k").send().await.unwrap();
    let seen = shown.headers()[header::ETAG].clone();
    let change = |method, path: &str, seen: &header::HeaderValue| {
        let request = call(&app, method, path).header(header::IF_MATCH, seen);
        request.json(&json!({ "title": "mine" })).send()
    };
    let first = change(Method::PATCH, "/api/v1/links/k", &seen).await.unwrap();
    assert_eq!(first.status(), 200);
    let newer = first.headers()[header::ETAG].clone();
    for (method, path) in [
        (Method::PATCH, "/api/v1/links/k"),
        (Method::DELETE, "/api/v1/links/k"),
        (Method::POST, "/api/v1/links/k/take-down"),
        (Method::POST, "/api/v1/links/k/restore"),
    ] {
        let refused = change(method, path, &seen).await.unwrap();
        assert_error(refused, 412, "precondition_failed").await;
    }
    assert_eq!(change(Method::DELETE, "/api/v1/links/k", &newer).await.unwrap().status(), 204);
}

#[tokio::test]
async fn an_etag_does_not_match_a_new_link_with_the_key_of_a_deleted_one() {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let shown = call(&app, Method::GET, "/api/v1/links/k").send().await.unwrap();
    let seen = shown.headers()[header::ETAG].clone();
    let removed = call(&app, Method::DELETE, "/api/v1/links/k").send().await.unwrap();
    assert_eq!(removed.status(), 204);
    app.advance(Duration::from_secs(1));
    create(&app, json!({ "url": "https://example.com/other", "key": "k" })).await;
    let refused = call(&app, Method::DELETE, "/api/v1/links/k").header(header::IF_MATCH, seen);
    assert_error(refused.send().await.unwrap(), 412, "precondition_failed").await;
}

#[tokio::test]
async fn a_taken_down_link_is_gone_until_it_is_restored() {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    let down = json_of(call(&app, Method::POST, "/api/v1/links/k/take-down")).await;
    assert_eq!(down["state"], "taken_down");
    assert_error(app.get("/k").await, 410, "gone").await;
    let up = json_of(call(&app, Method::POST, "/api/v1/links/k/restore")).await;
    assert_eq!(up["state"], "active");
    assert_eq!(app.get("/k").await.status(), 302);
}

#[tokio::test]
async fn every_change_is_logged_with_its_author_and_without_secrets() {
    let tokens = format!("ci:{WRITE}");
    let process = Process::start(&[("API_TOKENS", &tokens)]);
    let client = reqwest::Client::new();
    let send = async |request: reqwest::RequestBuilder| {
        request.header("x-request-id", "id-1").send().await.unwrap().error_for_status().unwrap()
    };
    let call = |method: Method, path: &str| client.request(method, process.url(path)).bearer_auth(WRITE);
    let body =
        json!({ "url": "https://example.com", "key": "k", "title": "x", "password": "a secret password" });
    send(call(Method::POST, "/api/v1/links").json(&body)).await;
    let edit = json!({ "title": "y", "password": "a secret password" });
    send(call(Method::PATCH, "/api/v1/links/k").json(&edit)).await;
    for path in ["take-down", "restore"] {
        send(call(Method::POST, &format!("/api/v1/links/k/{path}"))).await;
    }
    send(call(Method::DELETE, "/api/v1/links/k")).await;
    let batch = json!({ "links": [{ "url": "https://example.com", "key": "batched" }] });
    send(call(Method::POST, "/api/v1/links/batch").json(&batch)).await;
    let shorten = |key| json!({ "url": "https://example.com", "key": key });
    send(call(Method::POST, "/shorten").json(&shorten("by-token"))).await;
    send(client.post(process.url("/shorten")).json(&shorten("by-nobody"))).await;
    process.signal(rustix::process::Signal::TERM);
    let mut changes = Vec::new();
    while let Some(line) = process.next_log_line() {
        let text = line.to_string();
        assert!(!text.contains(WRITE) && !text.contains("secret"), "{text}");
        if line["msg"] == "link changed" {
            assert_eq!((&line["request_id"], &line["client_ip"]), (&json!("id-1"), &json!("127.0.0.1")));
            changes.push(["action", "key", "token"].map(|name| line[name].as_str().unwrap().to_owned()));
        }
    }
    let expected = [
        ["created", "k", "ci"],
        ["edited", "k", "ci"],
        ["taken_down", "k", "ci"],
        ["restored", "k", "ci"],
        ["deleted", "k", "ci"],
        ["created", "batched", "ci"],
        ["created", "by-token", "ci"],
        ["created", "by-nobody", "public"],
    ];
    assert_eq!(changes, expected.map(|change| change.map(str::to_owned)));
}

#[tokio::test]
async fn a_link_keeps_its_creator() {
    let app = app().await;
    let shorten = |key| json!({ "url": "https://example.com", "key": key });
    app.shorten(shorten("by-nobody")).await;
    app.post("/shorten").bearer_auth(WRITE).json(&shorten("by-token")).send().await.unwrap();
    create(&app, shorten("k")).await;
    for (key, creator) in [("by-nobody", "public"), ("by-token", "ci"), ("k", "ci")] {
        assert_eq!(show(&app, key).await["created_by"], creator, "{key}");
    }
    let edited: Value = edit(&app, "by-nobody", json!({ "title": "x" })).await.json().await.unwrap();
    assert_eq!(edited["created_by"], "public");
    assert_error(edit(&app, "k", json!({ "created_by": "anna" })).await, 400, "invalid_body").await;
}

#[tokio::test]
async fn a_token_must_be_valid_even_where_none_is_required() {
    let app = app().await;
    let shorten =
        |token| app.post("/shorten").bearer_auth(token).json(&json!({ "url": "https://example.com" })).send();
    assert_error(shorten("not-a-known-token-at-all").await.unwrap(), 401, "unauthorized").await;
    assert_error(shorten(READ).await.unwrap(), 403, "forbidden").await;
}
