//! Rate limits per client and per token.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
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
use prometheus::IntCounter;

use crate::{
    config::{LimitOptions, Rate},
    link::Creator,
    observability::metrics::Metrics,
    web::{
        extract::{client::ClientIp, token::Author},
        respond::error::ApiError,
    },
};

/// The number of requests between two cleanups of idle keys.
const REQUESTS_PER_CLEANUP: u32 = 4096;

/// A rate limiter with a separate limit for each key.
///
/// By default, a key is a client's address.
pub(crate) struct RateLimiter<K: Hash + Eq + Clone = IpAddr> {
    keys: DefaultKeyedRateLimiter<K>,
    /// The maximum number of cells in a burst.
    burst: NonZeroU32,
    clock: DefaultClock,
    requests: AtomicU32,
}

/// The reason that a limiter refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// The client can retry after this time.
    Wait(Duration),
    /// The request exceeds this maximum burst, so it can never succeed.
    TooMany(NonZeroU32),
}

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// Creates a limiter that uses the generic cell rate algorithm.
    ///
    /// Each key gains a cell every `period / requests`, up to a burst of `requests` cells.
    pub(crate) fn new(rate: Rate) -> Self {
        let each = (rate.period / rate.requests.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(each).expect("the period is not zero").allow_burst(rate.requests);
        let keys = DefaultKeyedRateLimiter::dashmap(quota);
        Self { keys, burst: rate.requests, clock: DefaultClock::default(), requests: AtomicU32::new(0) }
    }

    /// Takes `number` cells from `key`, or none if too few are left.
    ///
    /// # Errors
    /// See [`Excess`].
    pub(super) fn admit(&self, key: &K, number: NonZeroU32) -> Result<(), Excess> {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(REQUESTS_PER_CLEANUP) {
            self.keys.retain_recent();
        }
        match self.keys.check_key_n(key, number) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refusal)) => Err(Excess::Wait(refusal.wait_time_from(self.clock.now()))),
            Err(_) => Err(Excess::TooMany(self.burst)),
        }
    }
}

impl From<Excess> for ApiError {
    fn from(excess: Excess) -> Self {
        match excess {
            Excess::Wait(wait) => Self::RateLimited(wait),
            Excess::TooMany(most) => Self::UnexpectedBody(format!(
                "links has more entries than the rate limit of this token allows at once, which is {most}"
            )),
        }
    }
}

/// A rate limit per client, regardless of tokens.
pub(crate) struct ClientLimit {
    clients: RateLimiter,
    refused: IntCounter,
}

impl ClientLimit {
    pub(crate) fn new(rate: Rate, refused: IntCounter) -> Self {
        Self { clients: RateLimiter::new(rate), refused }
    }
}

/// Passes a request on, or returns 429 above the limit.
pub(crate) async fn limit_rate(
    State(limit): State<Arc<ClientLimit>>,
    client: ClientIp,
    request: Request,
    next: Next,
) -> Response {
    match limit.clients.admit(&client.limit_key(), NonZeroU32::MIN) {
        Ok(()) => next.run(request).await,
        Err(excess) => {
            limit.refused.inc();
            ApiError::from(excess).into_response()
        }
    }
}

/// The rate limits on new links, per client and per token.
///
/// All clients that use the same token share its limit. Requests with a token don't count towards the limit of the
/// client's address.
pub struct CreateLimits {
    clients: Option<RateLimiter<IpAddr>>,
    tokens: Option<RateLimiter<Creator>>,
    metrics: Arc<Metrics>,
}

impl CreateLimits {
    pub(crate) fn new(options: &LimitOptions, metrics: Arc<Metrics>) -> Self {
        Self {
            clients: options.rate_limit.0.map(RateLimiter::new),
            tokens: options.token_rate_limit.0.map(RateLimiter::new),
            metrics,
        }
    }

    /// Takes one cell from the author's limit for each new link.
    ///
    /// If too few cells are left, none are taken.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] if too few cells are left, or [`ApiError::UnexpectedBody`] if `links` exceeds the
    /// maximum burst.
    pub(crate) fn admit(&self, author: &Author, links: usize) -> Result<(), ApiError> {
        let number = u32::try_from(links).unwrap_or(u32::MAX);
        let Some(number) = NonZeroU32::new(number) else { return Ok(()) };
        let (admitted, limit) = if author.name == Creator::PUBLIC {
            let client = author.client.limit_key();
            (self.clients.as_ref().map(|clients| clients.admit(&client, number)), "client")
        } else {
            (self.tokens.as_ref().map(|tokens| tokens.admit(&author.name, number)), "token")
        };
        admitted.unwrap_or(Ok(())).map_err(|excess| {
            if let Excess::Wait(_) = excess {
                self.metrics.rate_limited.with_label_values(&[limit]).inc();
            }
            excess.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_an_hour<K: Hash + Eq + Clone>() -> RateLimiter<K> {
        let requests = NonZeroU32::new(2).unwrap();
        RateLimiter::new(Rate { requests, period: Duration::from_hours(1) })
    }

    #[test]
    fn each_client_has_its_own_limit() {
        let limiter = two_an_hour();
        let admit =
            |client: &str| limiter.admit(&ClientIp(client.parse().unwrap()).limit_key(), NonZeroU32::MIN);
        assert!(admit("192.0.2.1").is_ok());
        assert!(admit("192.0.2.1").is_ok());
        let Err(Excess::Wait(wait)) = admit("192.0.2.1") else { panic!("it is over its limit") };
        assert!(wait > Duration::from_mins(29) && wait <= Duration::from_mins(30), "{wait:?}");
        assert!(admit("192.0.2.2").is_ok());
    }

    #[test]
    fn a_batch_takes_all_its_cells_or_none() {
        let limiter = two_an_hour();
        let admit = |number| limiter.admit(&"ci", NonZeroU32::new(number).unwrap());
        assert_eq!(admit(3), Err(Excess::TooMany(NonZeroU32::new(2).unwrap())));
        assert!(admit(1).is_ok());
        assert!(matches!(admit(2), Err(Excess::Wait(_))));
        assert!(admit(1).is_ok(), "a refusal takes no cell");
    }
}
