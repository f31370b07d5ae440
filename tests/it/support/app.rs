use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use rand::{SeedableRng, rngs::StdRng};
use reqwest::{Client, RequestBuilder, Response, header};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Handle, sync::oneshot, task::JoinHandle};
use urlshort::{
    app::{App, Dependencies},
    clock::Clock,
    command::Cli,
    links::Links,
    observability::metrics::Metrics,
    server::Workers,
    store::{Store, memory::MemoryStore},
};

use super::{PATIENCE, client, eventually};

/// The service, running in this process on a free port.
///
/// It stops when dropped or when [`TestApp::stop`] is called.
pub(crate) struct TestApp {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) metrics: Arc<Metrics>,
    /// The links, accessed through the service's cache.
    pub(crate) links: Arc<Links>,
    clock: Arc<Mutex<Timestamp>>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl TestApp {
    /// Starts the service with an empty memory store and no rate limit.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts the service with additional flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        Self::start_on(Arc::new(MemoryStore::default()), flags).await
    }

    /// Starts the service on the given store.
    pub(crate) async fn start_on(store: Arc<dyn Store>, flags: &[&str]) -> Self {
        // The given flags come last, so they override these defaults.
        let defaults = ["urlshort", "--rate-limit", "0", "--drain-delay", "0s"];
        let config = Cli::read(defaults.iter().chain(flags).map(Into::into)).unwrap().config;
        let metrics = Arc::new(Metrics::new());
        let clock = Arc::new(Mutex::new("2026-06-01T12:00:00Z".parse().unwrap()));
        let dependencies = Dependencies {
            store,
            metrics: metrics.clone(),
            clock: {
                let clock = clock.clone();
                Clock::new(move || *clock.lock().unwrap())
            },
            rng: StdRng::seed_from_u64(7),
        };
        let app = App::new(&config, dependencies).unwrap();
        let links = app.links();
        links.load_blocked_hosts().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let workers = Workers::on([Handle::current()]);
        let running = tokio::spawn(app.run(listener, None, workers, async {
            // An error means that the `TestApp` was dropped, which also stops the service.
            let _ = stopped.await;
        }));
        let client = client();
        Self { address, client, metrics, links, clock, stop, running }
    }

    /// Stops the service, as a signal would.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }

    /// Returns the time on the service's clock. Only [`TestApp::advance`] changes it.
    pub(crate) fn now(&self) -> Timestamp {
        *self.clock.lock().unwrap()
    }

    /// Advances the service's clock.
    pub(crate) fn advance(&self, duration: Duration) {
        *self.clock.lock().unwrap() += duration;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    pub(crate) async fn shorten(&self, body: Value) -> Response {
        self.post("/shorten").json(&body).send().await.unwrap()
    }

    /// Shortens `url` and returns the key.
    #[track_caller]
    pub(crate) fn shorten_url(&self, url: &str) -> impl Future<Output = String> {
        let request = self.post("/shorten").json(&serde_json::json!({ "url": url }));
        async move {
            let link: Value = request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
            link["key"].as_str().unwrap().to_owned()
        }
    }

    /// Returns the value of a series, or `None` if `/metrics` has no such series.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics.render().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// Returns all values that a label has in a metric's series.
    pub(crate) fn labels(&self, metric: &str, label: &str) -> BTreeSet<String> {
        let (series, label) = (format!("{metric}{{"), format!("{label}=\""));
        let text = self.metrics.render().unwrap();
        let lines = text.lines().filter(|line| line.starts_with(&series));
        lines.map(|line| line.split_once(&label).unwrap().1.split('"').next().unwrap().to_owned()).collect()
    }

    /// Waits until `is_expected` accepts the value of a series.
    #[track_caller]
    pub(crate) fn wait_for_metric(
        &self,
        series: &str,
        is_expected: impl Fn(f64) -> bool,
    ) -> impl Future<Output = ()> {
        eventually(PATIENCE, async move || match self.metric(series) {
            Some(value) if is_expected(value) => Ok(()),
            other => Err(format!("{series}: {other:?}")),
        })
    }

    /// Waits until the store has counted `expected` clicks on a link.
    #[track_caller]
    pub(crate) fn wait_for_clicks(&self, key: &str, expected: u64) -> impl Future<Output = ()> {
        let key = super::key(key);
        eventually(PATIENCE, async move || {
            let clicks = self.links.get(&key).await.unwrap().map(|record| record.clicks);
            if clicks == Some(expected) { Ok(()) } else { Err(format!("{key}: {clicks:?} clicks")) }
        })
    }
}

/// Asserts that `response` is an error in the common envelope, and returns its message.
#[track_caller]
pub(crate) fn assert_error(response: Response, status: u16, code: &str) -> impl Future<Output = String> {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let code = code.to_owned();
    async move {
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["code"], code);
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
        body["error"].as_str().unwrap().to_owned()
    }
}
