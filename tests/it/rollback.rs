//! Rollback: the previous version runs on data written by this one, and afterwards this one runs on data written by it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};
use urlshort::{link::Link, store::History};

use crate::support::{BROWSER, Postgres, Process, Redis, client, key, link, open, sqlite_in};

const WRITE: &str = "writer-0123456789";
const OTHER: &str = "anna-0123456789ab";
const TOKENS: &str = "ci:writer-0123456789,anna:anna-0123456789ab";

/// The response to a browser for each link: path, status and location.
const VISITS: [(&str, u16, &str); 12] = [
    ("/plain", 302, "https://example.com/plain"),
    ("/permanent?a=1", 308, "https://example.com/permanent?a=1"),
    ("/limited", 302, "https://example.com/limited"),
    ("/labelled", 302, "https://example.com/labelled"),
    ("/expiring", 302, "https://example.com/expiring"),
    ("/anna", 302, "https://example.com/anna"),
    ("/used-up", 302, "https://gone.example/"),
    ("/later", 404, ""),
    ("/locked", 403, ""),
    ("/taken-down", 410, ""),
    ("/blocked", 410, ""),
    ("/deleted", 404, ""),
];

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

    fn variables(url: &str) -> [(&str, &str); 3] {
        [("STORE_URL", url), ("API_TOKENS", TOKENS), ("BASE_URL", "https://sho.rt")]
    }

    fn new(process: Process) -> Self {
        Self { process, client: client() }
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.process.url(path)).bearer_auth(WRITE)
    }

    async fn json(request: RequestBuilder) -> Value {
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    async fn create(&self, token: &str, key: &str, options: Value) {
        let mut fields = json!({ "key": key, "url": format!("https://example.com/{key}") });
        fields.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let request = self.client.post(self.process.url("/api/v1/links")).bearer_auth(token);
        Self::json(request.json(&fields)).await;
    }

    async fn set_title(&self, path: &str, title: &str) -> Value {
        let request = self.call(Method::PATCH, path);
        Self::json(request.json(&json!({ "title": title }))).await
    }

    async fn delete(&self, path: &str) {
        let deleted = self.call(Method::DELETE, path).send().await.unwrap();
        assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    }

    /// Follows a link as a browser.
    async fn visit(&self, path: &str) -> Response {
        self.client.get(self.process.url(path)).header(header::ACCEPT, BROWSER).send().await.unwrap()
    }

    /// Visits every link once, and unlocks the one with a password.
    async fn visit_all(&self) {
        for (path, status, target) in VISITS {
            let response = self.visit(path).await;
            let location =
                response.headers().get(header::LOCATION).map_or("", |value| value.to_str().unwrap());
            assert_eq!((response.status().as_u16(), location), (status, target), "{path}");
        }
        let unlock = self.client.post(self.process.url("/locked")).form(&[("password", "open sesame")]);
        assert_eq!(unlock.send().await.unwrap().status(), StatusCode::SEE_OTHER);
    }

    /// Returns all links, without their counts, and all blocked hosts, by path.
    ///
    /// Checks the counts after this many rounds of [`Self::visit_all`].
    async fn contents(&self, rounds: u64) -> BTreeMap<String, Value> {
        let mut contents = BTreeMap::new();
        let page = Self::json(self.call(Method::GET, "/api/v1/links?limit=100")).await;
        for mut link in page["links"].as_array().unwrap().clone() {
            let path = format!("/api/v1/links/{}", link["key"].as_str().unwrap());
            let stats = Self::json(self.call(Method::GET, &format!("{path}/stats"))).await;
            let expected = match link["key"].as_str().unwrap() {
                "plain" | "permanent" | "labelled" | "expiring" | "anna" | "locked" => [rounds, 0, rounds],
                "limited" => [rounds; 3],
                "used-up" => [1; 3],
                _ => [0; 3],
            };
            let counts = [link["clicks"].take(), link["visits"].take(), stats["people"].clone()];
            assert_eq!(counts, expected.map(Value::from), "{path}");
            contents.insert(path, link);
        }
        let list = Self::json(self.call(Method::GET, "/api/v1/blocked-hosts")).await;
        for host in list["hosts"].as_array().unwrap() {
            contents
                .insert(format!("/api/v1/blocked-hosts/{}", host["host"].as_str().unwrap()), host.clone());
        }
        contents
    }

    fn stop(self) {
        assert!(self.process.terminate().success());
    }
}

/// Returns the members of `newer` that `older` also has.
fn known(newer: &Value, older: &Value) -> Value {
    let mut known = newer.clone();
    known.as_object_mut().unwrap().retain(|name, _| older.get(name).is_some());
    known
}

/// Creates a link in every state and with every option.
async fn fill(service: &Service) {
    let block = service.call(Method::PUT, "/api/v1/blocked-hosts/.blocked.example");
    for (token, key, options) in [
        (WRITE, "plain", json!({})),
        (WRITE, "permanent", json!({ "redirect": 308, "forward_query": true })),
        (WRITE, "limited", json!({ "max_visits": 9 })),
        (WRITE, "labelled", json!({ "title": "Labelled", "tags": ["a", "b c"] })),
        (WRITE, "expiring", json!({ "expires_at": "2999-01-01T00:00:00Z" })),
        (OTHER, "anna", json!({})),
        (WRITE, "used-up", json!({ "max_visits": 1, "gone_url": "https://gone.example" })),
        (WRITE, "later", json!({ "starts_at": "2999-01-01T00:00:00Z" })),
        (WRITE, "locked", json!({ "password": "open sesame" })),
        (WRITE, "taken-down", json!({})),
        (WRITE, "blocked", json!({ "url": "https://www.blocked.example" })),
        (WRITE, "deleted", json!({})),
        (WRITE, "spare", json!({})),
    ] {
        service.create(token, key, options).await;
    }
    let random = json!({ "url": "https://example.com/random" });
    Service::json(service.call(Method::POST, "/api/v1/links").json(&random)).await;
    assert_eq!(service.visit("/used-up").await.headers()[header::LOCATION], "https://example.com/used-up");
    Service::json(service.call(Method::POST, "/api/v1/links/taken-down/take-down")).await;
    Service::json(block.json(&json!({ "reason": "phishing" }))).await;
    service.delete("/api/v1/links/deleted").await;
}

#[track_caller]
fn assert_same(actual: &BTreeMap<String, Value>, expected: &BTreeMap<String, Value>) {
    assert!(actual.keys().eq(expected.keys()), "{:?} instead of {:?}", actual.keys(), expected.keys());
    for (path, expected) in expected {
        assert_eq!(&actual[path], expected, "{path}");
    }
}

async fn a_rollback_loses_nothing(url: &str) {
    let newest = Service::newest(url);
    fill(&newest).await;
    newest.visit_all().await;
    newest.stop();
    let newest = Service::newest(url);
    let mut expected = newest.contents(1).await;
    assert_eq!(expected.len(), 14, "13 links and a host");
    newest.stop();

    let previous = Service::previous(url);
    let contents = previous.contents(1).await;
    let known = expected.iter().map(|(path, newer)| (path.clone(), known(newer, &contents[path])));
    assert_same(&known.collect(), &contents);
    previous.visit_all().await;
    // An edit writes the whole link.
    for (path, link) in expected.iter_mut().filter(|(path, _)| path.contains("links")) {
        previous.set_title(path, "Edited").await;
        link["title"] = "Edited".into();
        link["version"] = (link["version"].as_u64().unwrap() + 1).into();
    }
    previous.delete("/api/v1/links/spare").await;
    expected.remove("/api/v1/links/spare");
    previous.create(WRITE, "made-before", json!({})).await;
    let block = previous.call(Method::PUT, "/api/v1/blocked-hosts/other.example").json(&json!({}));
    Service::json(block).await;
    previous.stop();

    let newest = Service::newest(url);
    let mut contents = newest.contents(2).await;
    let made = contents.remove("/api/v1/links/made-before").unwrap();
    assert_eq!(made["url"], "https://example.com/made-before");
    let blocked = contents.remove("/api/v1/blocked-hosts/other.example").unwrap();
    assert_eq!(blocked["blocked_by"], "ci");
    assert_same(&contents, &expected);
    newest.visit_all().await;
    newest.stop();
}

/// Neither version knows the restriction, so both must refuse to follow the link.
async fn a_link_with_an_unknown_restriction_stays_restricted(url: &str) {
    let mut doc = json!({ "needs": 99, "target": "https://example.com/", "weekdays": ["monday"] });
    let store = open(url).await;
    let newer = link("newer", "https://example.com");
    let newer = Link { doc: serde_json::from_value(doc.clone()).unwrap(), ..newer };
    assert!(store.put_if_absent(newer, History::default()).await.unwrap());
    store.close().await;

    for (start, title) in [(Service::previous as fn(&str) -> Service, "First"), (Service::newest, "Second")] {
        let service = start(url);
        let refused = service.call(Method::GET, "/newer").send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "unsupported_link");
        let mut log = std::iter::from_fn(|| service.process.next_log_line());
        let logged = log.find(|line| line["status"] == 503).unwrap();
        assert!(logged["error"].as_str().unwrap().contains("newer version"), "{logged}");
        assert_eq!(service.set_title("/api/v1/links/newer", title).await["title"], title);
        assert_eq!(service.visit("/newer").await.status(), StatusCode::SERVICE_UNAVAILABLE, "{title}");
        service.stop();
        doc["title"] = title.into();
        let store = open(url).await;
        let record = store.get(&key("newer")).await.unwrap().unwrap();
        assert_eq!(serde_json::to_value(&record.link.doc).unwrap(), doc);
        store.close().await;
    }
}

async fn a_rollback_keeps_every_link_and_its_restrictions(url: &str) {
    a_rollback_loses_nothing(url).await;
    a_link_with_an_unknown_restriction_stays_restricted(url).await;
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
