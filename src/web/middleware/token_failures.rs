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

/// The maximum rate of failures per client.
///
/// Failures within this rate are logged and get a 401. Further failures get a 429.
const PER_CLIENT: Rate =
    Rate { requests: NonZeroU32::new(10).expect("10 is not 0"), period: Duration::from_mins(1) };

/// The limit on failed token authentication, per client.
///
/// The token is checked before the limit. A client with a valid token is therefore accepted even if other clients at
/// the same address keep failing. The length of a token protects it from guessing; the limit does not. At a million
/// guesses per second, it takes 290,000 years on average to guess a token of the minimum length, 16 random hexadecimal
/// digits. The limit keeps a flood of failures from filling the log, and the 429 tells the client to stop.
pub struct TokenFailures {
    clients: RateLimiter,
    metrics: Arc<Metrics>,
}

/// The reason that token authentication failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenFailure {
    /// There is no `Authorization` header. Such a request is not an attempt to authenticate, so it is not limited.
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
    /// A missing token is neither counted nor logged. Above the limit, failures are counted but not logged.
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
