//! Extreme values in requests to `/api/v1/links`.

use reqwest::{Method, RequestBuilder, Response, header};
use serde_json::{Value, json};
use urlshort::{link::Link, store::History};

use crate::support::{TestApp, assert_error, link};

const TOKEN: &str = "writer-0123456789";

async fn app() -> TestApp {
    TestApp::start_with(&["--api-tokens", "ci:writer-0123456789"]).await
}

fn call(app: &TestApp, method: Method, path: &str) -> RequestBuilder {
    app.client.request(method, app.url(path)).bearer_auth(TOKEN)
}

async fn json_of(request: RequestBuilder) -> Value {
    request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

async fn create(app: &TestApp, body: Value) {
    json_of(call(app, Method::POST, "/api/v1/links").json(&body)).await;
}

async fn edit(app: &TestApp, key: &str, body: Value) -> Response {
    call(app, Method::PATCH, &format!("/api/v1/links/{key}")).json(&body).send().await.unwrap()
}

#[tokio::test]
async fn an_unparsable_if_match_never_matches() {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    for value in ["", " ", ",", "\u{e9}", "nonsense"] {
        for (method, path) in [
            (Method::PATCH, "/api/v1/links/k"),
            (Method::DELETE, "/api/v1/links/k"),
            (Method::POST, "/api/v1/links/k/take-down"),
        ] {
            let request = call(&app, method, path).header(header::IF_MATCH, value);
            let refused = request.json(&json!({ "title": "mine" })).send().await.unwrap();
            assert_error(refused, 412, "precondition_failed").await;
        }
    }
    assert_eq!(json_of(call(&app, Method::GET, "/api/v1/links/k")).await["version"], 1);
}

#[tokio::test]
async fn a_link_whose_key_is_an_api_path_is_managed_like_any_other() {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "batch" })).await;
    let path = "/api/v1/links/batch";
    let shown = json_of(call(&app, Method::GET, path)).await;
    assert_eq!((&shown["key"], &shown["url"]), (&json!("batch"), &json!("https://example.com/")));
    assert_error(app.get(path).await, 401, "unauthorized").await;
    let edited: Value = edit(&app, "batch", json!({ "title": "mine" })).await.json().await.unwrap();
    assert_eq!(edited["title"], "mine");
    let large = edit(&app, "batch", json!({ "title": "x".repeat(20_000) })).await;
    assert_error(large, 413, "body_too_large").await;
    let down = json_of(call(&app, Method::POST, "/api/v1/links/batch/take-down")).await;
    assert_eq!(down["state"], "taken_down");
    assert_eq!(call(&app, Method::DELETE, path).send().await.unwrap().status(), 204);
    assert_error(call(&app, Method::GET, path).send().await.unwrap(), 404, "not_found").await;
}

#[tokio::test]
async fn a_link_at_the_maximum_version_can_still_be_changed() {
    let app = app().await;
    let last = Link { version: u32::MAX, ..link("k", "https://example.com") };
    assert!(app.links.put_if_absent(last, History::default()).await.unwrap());
    let edited: Value = edit(&app, "k", json!({ "title": "mine" })).await.json().await.unwrap();
    assert_eq!((&edited["title"], &edited["version"]), (&json!("mine"), &json!(u32::MAX)));
    json_of(call(&app, Method::POST, "/api/v1/links/k/take-down")).await;
    assert_error(app.get("/k").await, 410, "gone").await;
}

#[tokio::test]
async fn a_timestamp_at_the_limit_is_stored_or_refused_and_damages_no_link() {
    let app = app().await;
    create(&app, json!({ "url": "https://example.com", "key": "k" })).await;
    for (time, is_good) in [
        ("9999-12-30T22:00:00Z", true),
        ("9999-12-30T22:00:00.001Z", false),
        ("9999-12-30T22:00:00.999Z", false),
        ("9999-12-30T22:00:00.999999999Z", false),
        ("-000001-01-01T00:00:00Z", false),
    ] {
        let new = json!({ "url": "https://example.com", "expires_at": time });
        let created = call(&app, Method::POST, "/api/v1/links").json(&new).send().await.unwrap();
        let edited = edit(&app, "k", json!({ "expires_at": time })).await;
        if is_good {
            assert_eq!((created.status().as_u16(), edited.status().as_u16()), (201, 200), "{time}");
            assert_eq!(edited.json::<Value>().await.unwrap()["expires_at"], time);
        } else {
            assert_error(created, 400, "invalid_option").await;
            assert_error(edited, 400, "invalid_option").await;
        }
    }
    let late = edit(&app, "k", json!({ "expires_in": "8000y" })).await;
    let sentence = assert_error(late, 400, "invalid_option").await;
    assert!(sentence.contains("9999-12-30T22:00:00Z"), "{sentence}");
    assert_eq!(json_of(call(&app, Method::GET, "/api/v1/links")).await["links"].as_array().unwrap().len(), 2);
}
