//! Every metric of the service, in a registry of its own.
//!
//! No label takes its value from a client: routes are templates, methods and outcomes are closed sets.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector, process_collector::ProcessCollector,
};

/// Upper bounds of the request histogram, in seconds. 0.2 is the threshold of the service level indicator, so it has
/// to be a bound itself.
const REQUEST_SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Upper bounds of the store histogram, in seconds.
const STORE_SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// The metrics by the name of what they measure; `infra/monitoring` builds on the exported names.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Answers by `route`, `method` and `status`.
    pub http_requests: IntCounterVec,
    /// Seconds from a request's head to its answer's, by `route` and `outcome`.
    pub http_request_duration: HistogramVec,
    /// Requests that are being answered.
    pub http_requests_in_flight: IntGauge,
    /// Requests that may be answered at a time.
    pub http_requests_in_flight_limit: IntGauge,
    /// Connections that are open, on whichever listener.
    pub http_connections_open: IntGauge,
    /// Connections that the public listener may have open at a time.
    pub http_connections_limit: IntGauge,
    /// Connections refused because there were too many already.
    pub connections_rejected: IntCounter,
    /// Requests for a short link, by `outcome`: `redirected`, `not_found`, `gone` or `error`.
    pub redirects: IntCounterVec,
    /// Those of them that were redirected, found once for all.
    pub redirected: IntCounter,
    /// Links made, by `strategy` of their key; `custom` where the client chose it.
    pub links_created: IntCounterVec,
    /// Proposed keys that were taken already.
    pub key_collisions: IntCounter,
    /// Seconds that calls to the store took, by `store` and `operation`.
    pub store_operation_duration: HistogramVec,
    /// Calls to the store that failed or ran out of time, by `store` and `operation`.
    pub store_errors: IntCounterVec,
    /// Look-ups and listings that met a link which the store can't read.
    pub store_corrupt_links: IntCounter,
    /// 1 if the last call to the store worked, else 0, by `store`.
    pub store_up: IntGaugeVec,
    /// Look-ups in the cache, by `result`: `hit`, `negative` (known to be missing), `miss` or `stale`.
    pub cache_requests: IntCounterVec,
    /// Those of them that were hits, found once for all.
    pub cache_hits: IntCounter,
    /// Bytes that the cache uses.
    pub cache_bytes: IntGauge,
    /// Requests refused because their client sent too many.
    pub rate_limited: IntCounter,
    /// Requests whose token was refused.
    pub token_failures: IntCounter,
    /// Different visits that are not in the store yet.
    pub clicks_pending: IntGauge,
    /// Different visits that may wait at a time; one more is dropped.
    pub clicks_pending_limit: IntGauge,
    /// Clicks that were not counted: too many were waiting, or the program ended uncleanly.
    pub clicks_dropped: IntCounter,
    /// Log lines given up because the reader of standard output did not keep up.
    pub log_lines_dropped: IntCounter,
}

impl Metrics {
    /// Registers every metric, those of the process included.
    ///
    /// # Panics
    /// If two metrics have one name, which a test would see.
    #[expect(clippy::new_without_default, reason = "a registry is made on purpose, never by default")]
    pub fn new() -> Self {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self())).expect(VALID);
        let build = IntGaugeVec::new(
            Opts::new("urlshort_build_info", "Version and source revision of the running program, always 1."),
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
        let redirects = counters("redirects_total", "Requests for a short link.", &["outcome"]);
        let cache_requests = counters("cache_requests_total", "Look-ups in the cache.", &["result"]);
        Self {
            http_requests: counters(
                "http_requests_total",
                "HTTP requests answered.",
                &["route", "method", "status"],
            ),
            http_request_duration: histograms(
                "http_request_duration_seconds",
                "Time from a request's head to its answer's.",
                &["route", "outcome"],
                REQUEST_SECONDS,
            ),
            http_requests_in_flight: gauge("http_requests_in_flight", "HTTP requests being answered."),
            http_requests_in_flight_limit: gauge(
                "http_requests_in_flight_limit",
                "HTTP requests that may be answered at a time.",
            ),
            http_connections_open: gauge("http_connections_open", "Open connections."),
            http_connections_limit: gauge(
                "http_connections_limit",
                "Connections that may be open at a time.",
            ),
            connections_rejected: counter("connections_rejected_total", "Connections refused at the bound."),
            redirected: redirects.with_label_values(&["redirected"]),
            redirects,
            links_created: counters("links_created_total", "Links made.", &["strategy"]),
            key_collisions: counter("key_collisions_total", "Proposed keys that were taken already."),
            store_operation_duration: histograms(
                "store_operation_duration_seconds",
                "Time that calls to the store took.",
                &["store", "operation"],
                STORE_SECONDS,
            ),
            store_errors: counters(
                "store_errors_total",
                "Calls to the store that failed or ran out of time.",
                &["store", "operation"],
            ),
            store_corrupt_links: counter(
                "store_corrupt_links_total",
                "Damaged links met by look-ups and listings.",
            ),
            store_up: register(
                &registry,
                IntGaugeVec::new(Opts::new("store_up", "Whether the store's last call worked."), &["store"])
                    .expect(VALID),
            ),
            cache_hits: cache_requests.with_label_values(&["hit"]),
            cache_requests,
            cache_bytes: gauge("cache_bytes", "Bytes that the cache uses."),
            rate_limited: counter("rate_limited_total", "Requests refused by the rate limit."),
            token_failures: counter("token_failures_total", "Requests whose token was refused."),
            clicks_pending: gauge("clicks_pending", "Different visits that are not in the store yet."),
            clicks_pending_limit: gauge("clicks_pending_limit", "Different visits that may wait at a time."),
            clicks_dropped: counter("clicks_dropped_total", "Clicks that were not counted."),
            log_lines_dropped: counter("log_lines_dropped_total", "Log lines given up for a slow reader."),
            registry,
        }
    }

    /// All metrics in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// If a collector yields a value that the format can't hold.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The source revision that the program was built from, where the build was told.
pub const REVISION: &str = match option_env!("URLSHORT_REVISION") {
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
    use super::*;

    #[test]
    fn the_threshold_of_the_service_level_is_a_bucket() {
        let metrics = Metrics::new();
        metrics.http_request_duration.with_label_values(&["/{key}", "redirect"]).observe(0.1);
        assert!(metrics.render().unwrap().contains(r#"le="0.2""#));
    }
}
