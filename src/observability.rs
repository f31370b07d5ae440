//! Observability: the log, including a line for each request, and metrics for Prometheus.

pub mod log_sink;
pub mod logging;
pub mod metrics;
pub(crate) mod request_line;
