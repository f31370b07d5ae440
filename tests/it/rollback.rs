//! Rollback: the previous version runs on data written by this one, and afterwards this one runs on data written by it.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::support::{Postgres, Process, Redis, client, sqlite_in};

const TOKEN: &str = "writer-0123456789";

/// Returns the program of the previous version, and builds it if needed.
fn previous() -> &'static PathBuf {
    static PREVIOUS: OnceLock<PathBuf> = OnceLock::new();
    PREVIOUS.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/checks/previous.sh");
        let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "the previous version can't be built");
        String::from_utf8(output.stdout).unwrap().trim().into()
    })
}

struct Service {
    process: Process,
    client: Client,
}

impl Service {
    fn newest(url: &str) -> Self {
        Self::new(Process::start(&Self::variables(url)))
    }

    fn previous(url: &str) -> Self {
        Self::new(Process::start_other(previous(), &Self::variables(url)))
    }

    fn variables(url: &str) -> [(&str, &str); 2] {
        [("STORE_URL", url), ("API_TOKENS", "ci:writer-0123456789")]
    }

    fn new(process: Process) -> Self {
        Self { process, client: client() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.process.url(path)).bearer_auth(TOKEN)
    }

    async fn status(&self, path: &str) -> StatusCode {
        self.request(Method::GET, path).send().await.unwrap().status()
    }

    async fn json(request: RequestBuilder) -> Value {
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    async fn create(&self, link: Value) {
        Self::json(self.request(Method::POST, "/api/v1/links").json(&link)).await;
    }

    async fn link(&self, key: &str) -> Value {
        Self::json(self.request(Method::GET, &format!("/api/v1/links/{key}"))).await
    }

    fn stop(self) {
        assert!(self.process.terminate().success());
    }
}

async fn a_rollback_keeps_every_link_and_its_restrictions(url: &str) {
    let newest = Service::newest(url);
    newest.create(json!({ "key": "plain", "url": "https://example.com/plain" })).await;
    let starts_at = "2999-01-01T00:00:00Z";
    let later = json!({ "key": "later", "url": "https://example.com/later", "starts_at": starts_at });
    newest.create(later).await;
    assert_eq!(newest.status("/later").await, StatusCode::NOT_FOUND);
    newest.stop();

    let previous = Service::previous(url);
    assert_eq!(previous.status("/plain").await, StatusCode::FOUND);
    let refused = previous.request(Method::GET, "/later").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "unsupported_link");
    let logged = std::iter::from_fn(|| previous.process.next_log_line()).find(|line| line["status"] == 503);
    assert!(logged.unwrap()["error"].as_str().unwrap().contains("newer version"));
    let title = previous.request(Method::PATCH, "/api/v1/links/later").json(&json!({ "title": "Later" }));
    assert_eq!(Service::json(title).await["title"], "Later");
    assert_eq!(previous.status("/later").await, StatusCode::SERVICE_UNAVAILABLE, "it is still restricted");
    previous.create(json!({ "key": "made-before", "url": "https://example.com/made-before" })).await;
    previous.stop();

    let newest = Service::newest(url);
    let later = newest.link("later").await;
    assert_eq!((&later["title"], &later["starts_at"]), (&json!("Later"), &json!(starts_at)));
    assert_eq!(newest.status("/later").await, StatusCode::NOT_FOUND);
    assert_eq!(newest.status("/made-before").await, StatusCode::FOUND);
    assert_eq!(newest.link("plain").await["clicks"], 1);
    newest.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_on_sqlite_keeps_every_link_and_its_restrictions() {
    let directory = tempfile::tempdir().unwrap();
    a_rollback_keeps_every_link_and_its_restrictions(&sqlite_in(directory.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_on_postgres_keeps_every_link_and_its_restrictions() {
    let server = Postgres::start();
    a_rollback_keeps_every_link_and_its_restrictions(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_on_redis_keeps_every_link_and_its_restrictions() {
    let server = Redis::start();
    a_rollback_keeps_every_link_and_its_restrictions(&server.url()).await;
}
