//! What load balancers and Prometheus ask.

use std::sync::Arc;

use reqwest::{header, redirect::Policy};
use serde_json::{Value, json};

use crate::support::{FaultyStore, Mood, Process, TestApp};

#[tokio::test]
async fn the_process_is_alive_whatever_the_store_does() {
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(store.clone(), &[]).await;
    store.set_mood(Mood::Broken);
    let response = app.get("/healthz").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    assert_eq!(response.json::<Value>().await.unwrap(), json!({ "status": "ok" }));
}

#[tokio::test]
async fn readiness_names_the_store_and_what_is_wrong_with_it() {
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(store.clone(), &[]).await;
    let ready = app.get("/readyz").await;
    assert_eq!(ready.status(), 200);
    assert_eq!(
        ready.json::<Value>().await.unwrap(),
        json!({ "status": "ready", "store": { "name": "faulty", "status": "ok" } })
    );
    store.set_mood(Mood::Broken);
    let unready = app.get("/readyz").await;
    assert_eq!(unready.status(), 503);
    assert_eq!(
        unready.json::<Value>().await.unwrap(),
        json!({ "status": "unready", "store": { "name": "faulty", "status": "the store failed: out of order" } })
    );
    store.set_mood(Mood::Fine);
    assert_eq!(app.get("/readyz").await.status(), 200);
}

#[tokio::test]
async fn a_second_listener_takes_operations_off_the_public_one() {
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
    let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    for (address, expected) in
        [(&process.address, 302), (&operations, 404), (&process.address, 302), (&operations, 404)]
    {
        let answer = client.get(format!("http://{address}/link")).send().await.unwrap();
        assert_eq!(answer.status(), expected, "links are followed on the public listener alone");
    }
    assert!(process.terminate().success());
}
