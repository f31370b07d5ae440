//! The limit on failed tokens, and their log.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::rate_limit::RateLimiter;
use crate::{
    config::Rate,
    link::Creator,
    observability::metrics::Metrics,
    tokens::Refused,
    web::{
        extract::{client::ClientIp, ids::RequestId},
        respond::error::ApiError,
    },
};

/// Failures of one client that are logged and answered with 401: ten at once, and ten per minute.
const PER_CLIENT: Rate =
    Rate { requests: NonZeroU32::new(10).expect("10 is not 0"), period: Duration::from_mins(1) };

/// The failed tokens of all clients.
///
/// A token is compared before the limit is looked at, so that a client with a right token gets in even if others behind the
/// same address fail all the time. The limit thus doesn't slow down guessing; the length of tokens does: at a million guesses
/// a second, even the shortest one that is allowed, 16 random hexadecimal digits, takes 290,000 years on average. What the
/// limit is for is the log, which a flood must not fill, and the client, which 429 tells to stop.
pub struct TokenFailures {
    clients: RateLimiter,
    metrics: Arc<Metrics>,
}

/// The reason why a request has no accepted token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenFailure {
    /// It has no `Authorization`. This is no attempt, so it is not limited.
    Missing,
    /// Its `Authorization` is not of the form `Bearer TOKEN`.
    Malformed,
    /// No token is like the request's.
    Unknown,
    /// The token of this name has expired.
    Expired(Creator),
}

impl TokenFailures {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { clients: RateLimiter::new(PER_CLIENT), metrics }
    }

    /// Counts and logs a failure, unless the client is beyond its limit. Returns the error for the client.
    pub(crate) fn refuse(
        &self,
        failure: &TokenFailure,
        client: ClientIp,
        request_id: &RequestId,
    ) -> ApiError {
        let (reason, token) = match failure {
            TokenFailure::Missing => return ApiError::Unauthorized,
            TokenFailure::Malformed => ("malformed", None),
            TokenFailure::Unknown => ("unknown", None),
            TokenFailure::Expired(name) => ("expired", Some(name.as_str())),
        };
        self.metrics.token_failures.inc();
        match self.clients.admit(&client.limit_key(), NonZeroU32::MIN) {
            Ok(()) => {
                let (ClientIp(client_ip), request_id) = (client, request_id.as_str());
                tracing::warn!(reason, token, request_id, %client_ip, "token refused");
                ApiError::Unauthorized
            }
            Err(excess) => excess.into(),
        }
    }
}

impl From<Refused> for TokenFailure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown => Self::Unknown,
            Refused::Expired(name) => Self::Expired(name),
        }
    }
}
