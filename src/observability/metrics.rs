//! All metrics of the service, in their own registry.
//!
//! No label value comes from a client: routes are templates, and methods and outcomes are closed sets.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector, process_collector::ProcessCollector,
};

/// The bucket bounds of the request histogram, in seconds.
///
/// One of the bounds must be 0.2, which is the threshold of the service level indicator.
const REQUEST_SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The bucket bounds of the store histogram, in seconds.
const STORE_SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// The metrics of the service.
///
/// Each metric has a help text, which `infra/monitoring/REFERENCE.md` repeats.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub http_requests: IntCounterVec,
    pub http_request_duration: HistogramVec,
    pub http_requests_in_flight: IntGauge,
    pub http_requests_in_flight_limit: IntGauge,
    pub http_connections_open: IntGauge,
    pub http_connections_limit: IntGauge,
    pub connections_rejected: IntCounter,
    pub redirects: IntCounterVec,
    /// The most frequently used child of `redirects`, looked up once.
    pub redirected: IntCounter,
    pub links_created: IntCounterVec,
    pub key_collisions: IntCounter,
    pub store_operation_duration: HistogramVec,
    pub store_errors: IntCounterVec,
    pub store_corrupt_links: IntCounter,
    pub store_up: IntGaugeVec,
    pub cache_requests: IntCounterVec,
    /// The most frequently used children of `cache_requests`, looked up once.
    pub cache_hits: IntCounter,
    pub cache_misses: IntCounter,
    pub cache_bytes: IntGauge,
    pub rate_limited: IntCounterVec,
    pub token_failures: IntCounter,
    pub clicks_pending: IntGauge,
    pub clicks_pending_limit: IntGauge,
    pub clicks_written: IntCounter,
    pub clicks_dropped: IntCounter,
    pub purged_links: IntCounter,
    pub purged_day_counts: IntCounter,
    pub purge_last_run: IntGauge,
    pub log_lines_dropped: IntCounter,
}

impl Metrics {
    /// Registers all metrics, including the process metrics.
    ///
    /// # Panics
    /// Panics if two metrics have the same name. Any test that creates the metrics would detect that.
    #[expect(clippy::new_without_default, reason = "a registry is created explicitly, never by default")]
    pub fn new() -> Self {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self())).expect(VALID);
        let build = IntGaugeVec::new(
            Opts::new("urlshort_build_info", "Always 1; the labels identify the running build."),
            &["version", "revision"],
        );
        let build = register(&registry, build.expect(VALID));
        build.with_label_values(&[VERSION, REVISION]).set(1);

        let counter = |name: &str, help: &str| register(&registry, IntCounter::new(name, help).expect(VALID));
        let gauge = |name: &str, help: &str| register(&registry, IntGauge::new(name, help).expect(VALID));
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels).expect(VALID))
        };
        let histograms = |name: &str, help: &str, labels: &[&str], bounds: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
            register(&registry, HistogramVec::new(options, labels).expect(VALID))
        };
        let redirects = counters(
            "redirects_total",
            "Requests for short links. outcome: redirected, fallback, not_found, gone, refused or error.",
            &["outcome"],
        );
        let rate_limited = counters(
            "rate_limited_total",
            "Requests refused by RATE_LIMIT or TOKEN_RATE_LIMIT. limit: client, token or qr_code.",
            &["limit"],
        );
        for limit in ["client", "token", "qr_code"] {
            rate_limited.with_label_values(&[limit]);
        }
        let cache_requests = counters(
            "cache_requests_total",
            "Cache lookups. result: hit, negative (a hit on an unknown key), miss or stale.",
            &["result"],
        );
        Self {
            http_requests: counters("http_requests_total", "Responses sent.", &["route", "method", "status"]),
            http_request_duration: histograms(
                "http_request_duration_seconds",
                "Time from request head to response head. outcome: success, redirect, fallback, client_error, server_error or abandoned.",
                &["route", "outcome"],
                REQUEST_SECONDS,
            ),
            http_requests_in_flight: gauge("http_requests_in_flight", "Requests in progress."),
            http_requests_in_flight_limit: gauge(
                "http_requests_in_flight_limit",
                "Maximum number of requests in progress (MAX_IN_FLIGHT).",
            ),
            http_connections_open: gauge("http_connections_open", "Open connections on all listeners."),
            http_connections_limit: gauge(
                "http_connections_limit",
                "Maximum number of open connections on the public listener (MAX_CONNECTIONS).",
            ),
            connections_rejected: counter(
                "connections_rejected_total",
                "Connections refused or replaced because too many were open.",
            ),
            redirected: redirects.with_label_values(&["redirected"]),
            redirects,
            links_created: counters(
                "links_created_total",
                "Links created. strategy: random, counter, hash or custom.",
                &["strategy"],
            ),
            key_collisions: counter("key_collisions_total", "Generated keys that were already taken."),
            store_operation_duration: histograms(
                "store_operation_duration_seconds",
                "Duration of calls to the store.",
                &["store", "operation"],
                STORE_SECONDS,
            ),
            store_errors: counters(
                "store_errors_total",
                "Calls to the store that failed or timed out.",
                &["store", "operation"],
            ),
            store_corrupt_links: counter("store_corrupt_links_total", "Reads of damaged links."),
            store_up: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new("store_up", "1 if the last probe of the store succeeded, otherwise 0."),
                    &["store"],
                )
                .expect(VALID),
            ),
            cache_hits: cache_requests.with_label_values(&["hit"]),
            cache_misses: cache_requests.with_label_values(&["miss"]),
            cache_requests,
            cache_bytes: gauge("cache_bytes", "Memory used by the cache."),
            rate_limited,
            token_failures: counter(
                "token_failures_total",
                "Requests with an unknown, expired or malformed token.",
            ),
            clicks_pending: gauge(
                "clicks_pending",
                "Entries in the buffer of unwritten clicks. Clicks with the same link, day, device and referrer share an entry.",
            ),
            clicks_pending_limit: gauge(
                "clicks_pending_limit",
                "Maximum value of clicks_pending. At the limit, clicks that need a new entry are dropped.",
            ),
            clicks_written: counter("clicks_written_total", "Clicks written to the store."),
            clicks_dropped: counter(
                "clicks_dropped_total",
                "Clicks that were not counted, because the buffer was full or a write failed.",
            ),
            purged_links: counter("purged_links_total", "Links removed because of PURGE_EXPIRED_AFTER."),
            purged_day_counts: counter(
                "purged_day_counts_total",
                "Days of link statistics removed because of STATS_RETENTION.",
            ),
            purge_last_run: gauge(
                "purge_last_run_timestamp_seconds",
                "Unix time at which the last complete purge ended; 0 before the first one.",
            ),
            log_lines_dropped: counter(
                "log_lines_dropped_total",
                "Log lines dropped because the reader of standard output was too slow.",
            ),
            registry,
        }
    }

    /// Returns all metrics in the Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// An error if a collector returns a value that the format can't represent.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The source revision of this build, or `unknown` if the build did not set it.
pub(crate) const REVISION: &str = match option_env!("URLSHORT_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

const VALID: &str = "metric names, labels and bounds are valid";

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry.register(Box::new(collector.clone())).expect("metric names are distinct");
    collector
}

#[cfg(test)]
mod tests {
    use prometheus::proto::MetricFamily;

    use super::*;

    /// Returns all metrics, with at least one sample each.
    fn gather() -> Vec<MetricFamily> {
        let metrics = Metrics::new();
        // List every field, so that this code does not compile until a new metric is added here. A metric with labels
        // also needs a sample below.
        let Metrics {
            registry,
            http_requests,
            http_request_duration,
            redirects: _,
            links_created,
            store_operation_duration,
            store_errors,
            store_up,
            cache_requests: _,
            redirected: _,
            cache_hits: _,
            cache_misses: _,
            http_requests_in_flight: _,
            http_requests_in_flight_limit: _,
            http_connections_open: _,
            http_connections_limit: _,
            connections_rejected: _,
            key_collisions: _,
            store_corrupt_links: _,
            cache_bytes: _,
            rate_limited: _,
            token_failures: _,
            clicks_pending: _,
            clicks_pending_limit: _,
            clicks_written: _,
            clicks_dropped: _,
            purged_links: _,
            purged_day_counts: _,
            purge_last_run: _,
            log_lines_dropped: _,
        } = &metrics;
        http_requests.with_label_values(&["", "", ""]);
        http_request_duration.with_label_values(&["", ""]);
        links_created.with_label_values(&[""]);
        store_operation_duration.with_label_values(&["", ""]);
        store_errors.with_label_values(&["", ""]);
        store_up.with_label_values(&[""]);
        registry.gather()
    }

    fn unit(name: &str) -> &'static str {
        let base = name.trim_end_matches("_total");
        match base.rsplit('_').next() {
            Some("seconds") => "seconds",
            Some("bytes") => "bytes",
            _ => "",
        }
    }

    #[test]
    fn the_reference_lists_every_metric() {
        let mut table = String::from("| metric | type | labels | unit | meaning |\n|---|---|---|---|---|\n");
        for family in gather() {
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            let labels = family.get_metric()[0].get_label().iter().map(|label| format!("`{}`", label.name()));
            let labels = labels.collect::<Vec<_>>().join(" ");
            let (name, unit, help) = (family.name(), unit(family.name()), family.help());
            table += &format!("| `{name}` | {kind} | {labels} | {unit} | {help} |\n");
        }
        let reference = include_str!("../../infra/monitoring/REFERENCE.md");
        assert!(reference.contains(&table), "the table in infra/monitoring/REFERENCE.md must be:\n{table}");
    }

    #[test]
    fn the_threshold_of_the_service_level_is_a_bucket() {
        let metrics = Metrics::new();
        metrics.http_request_duration.with_label_values(&["/{key}", "redirect"]).observe(0.1);
        assert!(metrics.render().unwrap().contains(r#"le="0.2""#));
    }
}
