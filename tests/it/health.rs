//! Endpoints for load balancers and Prometheus.

use std::sync::Arc;

use reqwest::header;
use serde_json::{Value, json};

use crate::support::{FaultyStore, Mood, PATIENCE, Process, TestApp, eventually};

#[tokio::test]
async fn the_process_is_alive_even_if_the_store_fails() {
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(store.clone(), &[]).await;
    store.set_mood(Mood::Broken);
    let response = app.get("/healthz").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    assert_eq!(response.json::<Value>().await.unwrap(), json!({ "status": "ok" }));
}

async fn readiness(app: &TestApp, expected: u16) -> Value {
    let response = eventually(PATIENCE, async || {
        let response = app.get("/readyz").await;
        if response.status() == expected { Ok(response) } else { Err(response.status()) }
    });
    response.await.json().await.unwrap()
}

#[tokio::test]
async fn readiness_names_the_store_but_shows_no_cause_on_the_public_listener() {
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(store.clone(), &[]).await;
    let store_is = |status: &str| json!({ "name": "faulty", "status": status });
    assert_eq!(readiness(&app, 200).await, json!({ "status": "ready", "store": store_is("ok") }));
    store.set_mood(Mood::Broken);
    assert_eq!(readiness(&app, 503).await, json!({ "status": "unready", "store": store_is("unavailable") }));
    store.set_mood(Mood::Fine);
    readiness(&app, 200).await;
}

#[tokio::test]
async fn a_second_listener_moves_operational_endpoints_off_the_public_one() {
    let process = Process::start(&[("METRICS_ADDR", "127.0.0.1:0")]);
    let operations = process.metrics_address.clone().unwrap();
    let status = async |address: &str, path: &str| {
        reqwest::get(format!("http://{address}{path}")).await.unwrap().status().as_u16()
    };
    for (path, public, private) in
        [("/metrics", 404, 200), ("/readyz", 404, 200), ("/healthz", 200, 200), ("/openapi.json", 200, 404)]
    {
        assert_eq!(status(&process.address, path).await, public, "{path}");
        assert_eq!(status(&operations, path).await, private, "{path}");
    }
    let client = reqwest::Client::new();
    let form = [("url", "https://example.com"), ("key", "metrics")];
    let reserved = client.post(process.url("/shorten")).form(&form).send().await.unwrap();
    assert_eq!(reserved.status(), 409, "the key stays reserved");

    let form = [("url", "https://example.com"), ("key", "link")];
    client.post(process.url("/shorten")).form(&form).send().await.unwrap();
    let client = crate::support::client();
    for (address, expected) in
        [(&process.address, 302), (&operations, 404), (&process.address, 302), (&operations, 404)]
    {
        let response = client.get(format!("http://{address}/link")).send().await.unwrap();
        assert_eq!(response.status(), expected, "only the public listener follows links");
    }
    assert!(process.terminate().success());
}
