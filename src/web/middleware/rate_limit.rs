//! The rate limit of each client.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock, DefaultClock},
};

use crate::{
    config::Rate,
    observability::metrics::Metrics,
    web::{extract::client::ClientIp, respond::error::ApiError},
};

/// Requests after which the limiter forgets clients that are back within their limit.
const REQUESTS_PER_CLEANUP: u32 = 4096;

/// Limits the requests of each client.
pub(crate) struct RateLimiter {
    clients: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    requests: AtomicU32,
    metrics: Arc<Metrics>,
}

impl RateLimiter {
    /// Limits by the generic cell rate algorithm: a cell each `period / requests`, and a burst of `requests`.
    pub(crate) fn new(rate: Rate, metrics: Arc<Metrics>) -> Self {
        let each = (rate.period / rate.requests.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(each).expect("the period is not zero").allow_burst(rate.requests);
        let clients = DefaultKeyedRateLimiter::dashmap(quota);
        Self { clients, clock: DefaultClock::default(), requests: AtomicU32::new(0), metrics }
    }

    /// Takes a request of `client`.
    ///
    /// # Errors
    /// The time that the client has to wait.
    pub(super) fn admit(&self, client: ClientIp) -> Result<(), Duration> {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(REQUESTS_PER_CLEANUP) {
            self.clients.retain_recent();
        }
        let checked = self.clients.check_key(&client.limit_key());
        checked.map_err(|refusal| refusal.wait_time_from(self.clock.now()))
    }
}

/// Middleware: lets a request through to its route, or answers 429.
pub(crate) async fn limit_rate(
    State(limiter): State<Arc<RateLimiter>>,
    client: ClientIp,
    request: Request,
    next: Next,
) -> Response {
    match limiter.admit(client) {
        Ok(()) => next.run(request).await,
        Err(wait) => {
            limiter.metrics.rate_limited.inc();
            ApiError::RateLimited(wait).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn each_client_has_its_own_limit() {
        let rate = Rate { requests: NonZeroU32::new(2).unwrap(), period: Duration::from_hours(1) };
        let limiter = RateLimiter::new(rate, Arc::new(Metrics::new()));
        let client = |text: &str| ClientIp(text.parse().unwrap());
        assert!(limiter.admit(client("192.0.2.1")).is_ok());
        assert!(limiter.admit(client("192.0.2.1")).is_ok());
        let wait = limiter.admit(client("192.0.2.1")).unwrap_err();
        assert!(wait > Duration::from_mins(29) && wait <= Duration::from_mins(30), "{wait:?}");
        assert!(limiter.admit(client("192.0.2.2")).is_ok());
    }
}
