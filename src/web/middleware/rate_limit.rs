//! How often one client may ask for what costs much.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    str::FromStr,
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
use thiserror::Error;

use crate::{
    observability::metrics::Metrics,
    web::{extract::client::ClientIp, respond::error::ApiError},
};

/// So many requests in so much time, all of which may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    requests: NonZeroU32,
    period: Duration,
}

/// A string is not a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("takes a number per s, min or h, such as 60/min, or 0 for no limit")]
pub struct InvalidRateLimit;

impl RateLimit {
    /// Reads `60/min`; `0` is no limit.
    ///
    /// # Errors
    /// [`InvalidRateLimit`] for anything else.
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidRateLimit> {
        if text == "0" { Ok(None) } else { text.parse().map(Some) }
    }
}

impl FromStr for RateLimit {
    type Err = InvalidRateLimit;

    fn from_str(text: &str) -> Result<Self, InvalidRateLimit> {
        let (requests, unit) = text.split_once('/').ok_or(InvalidRateLimit)?;
        let period = match unit {
            "s" => Duration::from_secs(1),
            "min" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return Err(InvalidRateLimit),
        };
        Ok(Self { requests: requests.parse().map_err(|_| InvalidRateLimit)?, period })
    }
}

/// After so many requests, clients that are back within their limit are forgotten.
const REQUESTS_PER_CLEANUP: u32 = 4096;

/// Remembers what each of many has used up.
pub(crate) struct Limiter<K: Clone + Eq + Hash> {
    used: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    requests: AtomicU32,
}

impl<K: Clone + Eq + Hash> Limiter<K> {
    /// The generic cell rate algorithm: one cell each `period / requests`, and a burst of `requests`.
    pub(crate) fn new(requests: impl TryInto<NonZeroU32>, period: Duration) -> Self {
        let requests = requests.try_into().unwrap_or(NonZeroU32::MIN);
        let each = (period / requests.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(each).expect("the period is not zero").allow_burst(requests);
        let used = DefaultKeyedRateLimiter::dashmap(quota);
        Self { used, clock: DefaultClock::default(), requests: AtomicU32::new(0) }
    }

    /// Takes one request of `who`, or says how long it has to wait.
    pub(crate) fn admit(&self, who: &K) -> Result<(), Duration> {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(REQUESTS_PER_CLEANUP) {
            self.used.retain_recent();
        }
        self.used.check_key(who).map_err(|refusal| refusal.wait_time_from(self.clock.now()))
    }
}

/// Limits the requests of each client.
pub(crate) struct RateLimiter {
    clients: Limiter<IpAddr>,
    metrics: Arc<Metrics>,
}

impl RateLimiter {
    pub(crate) fn new(limit: RateLimit, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { clients: Limiter::new(limit.requests, limit.period), metrics })
    }

    fn admit(&self, client: ClientIp) -> Result<(), Duration> {
        self.clients.admit(&client.limit_key())
    }
}

/// The middleware: lets a request through to its route, or answers 429.
pub(crate) async fn limit(
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
    use super::*;

    #[test]
    fn a_limit_is_a_number_per_unit() {
        assert_eq!(RateLimit::parse("0"), Ok(None));
        for text in ["60/min", "1/s", "100000/h"] {
            assert!(matches!(RateLimit::parse(text), Ok(Some(_))), "{text}");
        }
        for text in ["", "60", "0/min", "-1/min", "60/day", "60/", "/min", "x/min"] {
            assert_eq!(RateLimit::parse(text), Err(InvalidRateLimit), "{text}");
        }
    }

    #[test]
    fn each_client_has_its_own_limit() {
        let limiter = RateLimiter::new("2/h".parse().unwrap(), Arc::new(Metrics::new()));
        let client = |text: &str| ClientIp(text.parse().unwrap());
        assert!(limiter.admit(client("192.0.2.1")).is_ok());
        assert!(limiter.admit(client("192.0.2.1")).is_ok());
        let wait = limiter.admit(client("192.0.2.1")).unwrap_err();
        assert!(wait > Duration::from_mins(29) && wait <= Duration::from_mins(30), "{wait:?}");
        assert!(limiter.admit(client("192.0.2.2")).is_ok());
    }
}
