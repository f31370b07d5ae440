//! Log lines and metrics.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use prometheus::IntCounter;
use reqwest::header;
use serde_json::Value;
use tokio::task::JoinSet;
use tracing::subscriber::DefaultGuard;
use urlshort::{
    config::{LogFormat, LogOptions},
    observability::{log_sink::LogSink, logging},
};

use crate::support::{FaultyStore, Mood, PATIENCE, Process, TestApp, client, eventually};

/// A capture of everything that this thread logs.
struct Log {
    written: Arc<Mutex<Vec<u8>>>,
    sink: LogSink,
    _guard: DefaultGuard,
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn capture(level: &str, log_format: LogFormat) -> Self {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink =
            LogSink::start(Shared(written.clone()), IntCounter::new("dropped", "dropped").unwrap()).unwrap();
        let subscriber =
            logging::subscriber(&LogOptions { log_level: level.parse().unwrap(), log_format }, sink.clone());
        Self { written, sink, _guard: tracing::subscriber::set_default(subscriber) }
    }

    fn text(self) -> String {
        self.sink.close(Duration::from_secs(60));
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }

    fn lines(self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn requests(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["msg"] == "request").collect()
}

#[tokio::test]
async fn a_request_is_logged_as_one_json_line_without_its_query() {
    let log = Log::capture("info", LogFormat::Json);
    let app = TestApp::start().await;
    let request = app.client.get(app.url("/nothing?token=secret"));
    request
        .header(header::USER_AGENT, "a \"test\"\n".trim())
        .header("x-request-id", "id-1")
        .send()
        .await
        .unwrap();
    let lines = log.lines();
    let [line] = requests(&lines)[..] else { panic!("{lines:?}") };
    assert!(!line.to_string().contains("secret"));
    line["ts"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    for (field, expected) in [
        ("level", "INFO"),
        ("method", "GET"),
        ("path", "/nothing"),
        ("route", "/{key}"),
        ("request_id", "id-1"),
        ("client_ip", "127.0.0.1"),
        ("user_agent", "a \"test\""),
    ] {
        assert_eq!(line[field], expected, "{line}");
    }
    assert_eq!(line["status"], 404);
    let fields: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields.len(), 11, "{fields:?}");
}

#[tokio::test]
async fn polls_are_logged_only_at_debug_level() {
    for (level, expected) in [("info", 1), ("debug", 4)] {
        let log = Log::capture(level, LogFormat::Json);
        let app = TestApp::start().await;
        for path in ["/healthz", "/readyz", "/metrics", "/"] {
            app.get(path).await;
        }
        assert_eq!(requests(&log.lines()).len(), expected, "{level}");
    }
}

#[tokio::test]
async fn each_failure_is_logged_once_with_its_cause() {
    let log = Log::capture("info", LogFormat::Json);
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(
        store.clone(),
        &["--request-timeout", "50ms", "--store-timeout", "1h", "--api-tokens", "ci:reader-0123456789:read"],
    )
    .await;
    app.get("/hang").await;
    let panics = app.client.get(app.url("/api/v1/links/panic")).bearer_auth("reader-0123456789");
    panics.send().await.unwrap();
    store.set_mood(Mood::Broken);
    app.get("/abc").await;
    store.set_mood(Mood::Fine);
    let lines = log.lines();
    let causes: Vec<_> = requests(&lines)
        .into_iter()
        .map(|line| (line["level"].as_str().unwrap(), line["status"].as_u64().unwrap(), &line["error"]))
        .collect();
    assert_eq!(
        causes,
        [
            ("ERROR", 504, &Value::from("the request took longer than 50ms")),
            ("ERROR", 500, &Value::from("a handler panicked")),
            ("ERROR", 503, &Value::from("the store failed: out of order")),
        ]
    );
}

#[tokio::test]
async fn an_abandoned_request_is_recorded_with_status_499() {
    let log = Log::capture("info", LogFormat::Json);
    let app = TestApp::start_on(Arc::new(FaultyStore::default()), &[]).await;
    let impatient = app.client.get(app.url("/hang")).timeout(Duration::from_millis(100));
    assert!(impatient.send().await.unwrap_err().is_timeout());
    let series = r#"http_requests_total{method="GET",route="/{key}",status="499"}"#;
    app.wait_for_metric(series, |count| count == 1.0).await;
    // The client was waiting for a redirect, so the request counts towards the service level objective.
    let duration = r#"http_request_duration_seconds_count{outcome="abandoned",route="/{key}"}"#;
    assert_eq!(app.metric(duration), Some(1.0));
    assert_eq!(requests(&log.lines())[0]["status"], 499);
}

#[tokio::test]
async fn the_series_of_the_service_level_exist_before_the_first_request() {
    let text = TestApp::start().await.get("/metrics").await.text().await.unwrap();
    for outcome in ["redirect", "client_error", "server_error", "abandoned"] {
        let series = format!(
            r#"http_request_duration_seconds_bucket{{outcome="{outcome}",route="/{{key}}",le="0.2"}} 0"#
        );
        assert!(text.contains(&series), "{series} is not in\n{text}");
    }
}

#[tokio::test]
async fn the_trace_id_of_a_request_is_logged() {
    let log = Log::capture("info", LogFormat::Json);
    let app = TestApp::start().await;
    for (name, value) in [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("x-amzn-trace-id", "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Sampled=0"),
        ("traceparent", "00-\"forged\"-00f067aa0ba902b7-01"),
    ] {
        app.client.get(app.url("/")).header(name, value).send().await.unwrap();
    }
    let lines = log.lines();
    let traces: Vec<_> = requests(&lines).into_iter().map(|line| line["trace_id"].as_str()).collect();
    let id = Some("4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(traces, [id, id, None]);
}

#[tokio::test]
async fn clicks_are_pending_until_the_store_has_them() {
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(store.clone(), &[]).await;
    let key = app.shorten_url("https://example.com").await;
    app.get(&format!("/{key}")).await;
    store.set_mood(Mood::Broken);
    let errors = r#"store_errors_total{operation="add_clicks",store="faulty"}"#;
    app.wait_for_metric(errors, |count| count >= 2.0).await;
    assert_eq!(app.metric("clicks_pending"), Some(1.0));
    store.set_mood(Mood::Fine);
    app.wait_for_metric("clicks_pending", |pending| pending == 0.0).await;
    assert_eq!(app.metric("clicks_dropped_total"), Some(0.0));
}

#[tokio::test]
async fn clicks_wait_for_the_end_of_the_flush_interval() {
    let app = TestApp::start_with(&["--flush-interval", "1h"]).await;
    app.get(&format!("/{}", app.shorten_url("https://example.com").await)).await;
    // This second app starts later and uses the default flush interval, which is shorter.
    let other = TestApp::start().await;
    other.get(&format!("/{}", other.shorten_url("https://example.com").await)).await;
    other.wait_for_metric("clicks_pending", |pending| pending == 0.0).await;
    assert_eq!(app.metric("clicks_pending"), Some(1.0));
}

#[tokio::test]
async fn text_logs_are_human_readable() {
    let log = Log::capture("info", LogFormat::Text);
    let app = TestApp::start().await;
    app.get("/nothing").await;
    let text = log.text();
    assert!(text.contains("INFO") && text.contains("path=\"/nothing\"") && !text.starts_with('{'), "{text}");
}

#[tokio::test]
async fn long_paths_and_user_agents_are_truncated() {
    let log = Log::capture("info", LogFormat::Json);
    let app = TestApp::start().await;
    let request = app.client.get(app.url(&format!("/{}", "p".repeat(5000))));
    request.header(header::USER_AGENT, "a".repeat(5000)).send().await.unwrap();
    let line = log.text();
    assert!(line.len() < 1500, "{} bytes", line.len());
}

#[tokio::test]
async fn random_paths_and_methods_add_no_series() {
    let app = TestApp::start().await;
    // Ignore the series of the store probe, which runs once a second in the background.
    let is_probe = |line: &&str| line.contains("operation=\"check\"");
    let series = |app: &TestApp| app.metrics.render().unwrap().lines().filter(|line| !is_probe(line)).count();
    for path in ["/x", "/x/y"] {
        app.get(path).await;
        app.client.request("BREW".parse().unwrap(), app.url(path)).send().await.unwrap();
    }
    let before = series(&app);
    for number in 0..10_000_u32 {
        // Alternate between paths of different shapes.
        let noise = number.wrapping_mul(2_654_435_761);
        let path = match number % 4 {
            0 => format!("/{noise:x}"),
            1 => format!("/{noise:x}/{number}"),
            2 => format!("/%{:02x}{noise}", number % 256),
            _ => format!("/{noise}?{noise}"),
        };
        let method = if number % 10 == 0 { format!("M{noise}") } else { "GET".into() };
        app.client.request(method.parse().unwrap(), app.url(&path)).send().await.unwrap();
    }
    assert_eq!(series(&app), before);
}

#[tokio::test]
async fn the_metrics_contain_the_series_that_dashboards_and_alerts_need() {
    let app = TestApp::start().await;
    let key = app.shorten_url("https://example.com").await;
    app.get(&format!("/{key}")).await;
    let response = app.get("/metrics").await;
    assert!(
        response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/plain; version=0.0.4")
    );
    let text = response.text().await.unwrap();
    for series in [
        r#"http_requests_total{method="GET",route="/{key}",status="302"} 1"#,
        r#"http_requests_total{method="POST",route="/shorten",status="201"} 1"#,
        r#"http_request_duration_seconds_bucket{outcome="redirect",route="/{key}",le="0.2"} 1"#,
        r#"redirects_total{outcome="redirected"} 1"#,
        r#"links_created_total{strategy="random"} 1"#,
        r#"store_operation_duration_seconds_count{operation="put",store="memory"} 1"#,
        concat!(r#"urlshort_build_info{revision="unknown",version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        "key_collisions_total 0",
        r#"rate_limited_total{limit="token"} 0"#,
        "token_failures_total 0",
        "clicks_dropped_total 0",
        "log_lines_dropped_total 0",
        "purged_links_total 0",
        "purged_day_counts_total 0",
        "purge_last_run_timestamp_seconds 0",
        "connections_rejected_total 0",
        // The scrape itself is the one request in flight.
        "http_requests_in_flight 1",
        "http_requests_in_flight_limit 1000",
        "http_connections_open 1",
        "http_connections_limit 10000",
        "clicks_pending_limit 100000",
    ] {
        assert!(text.contains(&format!("\n{series}\n")), "{series} is not in\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes"));
}

/// A log reader can stall, for example if the log is piped into a pager that nobody scrolls.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_log_reader_delays_no_redirect_and_dropped_lines_are_counted() {
    let process = Process::start(&[]);
    let client = client();
    let link = [("url", "https://example.com"), ("key", "link")];
    client.post(process.url("/shorten")).form(&link).send().await.unwrap();
    process.stop_reading();
    let metric = async |name: &str| -> f64 {
        let text = client.get(process.url("/metrics")).send().await.unwrap().text().await.unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
    };
    // Log more than the pipe and the service's buffer can hold.
    eventually(PATIENCE, async || {
        let mut clients = JoinSet::new();
        for _ in 0..16 {
            let request = client.get(process.url("/link"));
            clients.spawn(async move {
                for _ in 0..100 {
                    assert_eq!(request.try_clone().unwrap().send().await.unwrap().status(), 302);
                }
            });
        }
        clients.join_all().await;
        if metric("log_lines_dropped_total").await > 0.0 { Ok(()) } else { Err("no line was dropped") }
    })
    .await;
    assert!(metric("redirects_total{outcome=\"redirected\"}").await > 10_000.0);
    process.kill();
}
