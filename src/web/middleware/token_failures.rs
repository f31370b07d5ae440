//! Logging of failed token authentication, with a limit per client.

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

/// The maximum rate of failures per client. Failures within it are logged and get a 401.
const PER_CLIENT: Rate =
    Rate { requests: NonZeroU32::new(10).expect("10 is not 0"), period: Duration::from_mins(1) };

/// The limit on failed token authentication, per client.
///
/// The token is checked before the limit, so that a client with a valid token gets in even if others behind its address
/// keep failing. Tokens are protected from guessing by their length, not by the limit: at a million guesses a second,
/// even the shortest token allowed, 16 random hexadecimal digits, takes 290,000 years on average. The limit keeps a
/// flood of failures from filling the log, and its 429 tells the client to stop.
pub struct TokenFailures {
    clients: RateLimiter,
    metrics: Arc<Metrics>,
}

/// Why a request failed token authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenFailure {
    /// There is no `Authorization` header. This is not an attempt, so it is not limited.
    Missing,
    /// The `Authorization` header is not of the form `Bearer TOKEN`.
    Malformed,
    /// No such token exists.
    Unknown,
    /// The token with this name has expired.
    Expired(Creator),
}

impl TokenFailures {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { clients: RateLimiter::new(PER_CLIENT), metrics }
    }

    /// Counts and logs a failure, and returns the error to send.
    ///
    /// A client over its limit is not logged.
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
