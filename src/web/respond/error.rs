//! Error responses of the form `{"error": "a sentence", "code": "snake_case"}`.

use std::{sync::Arc, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use thiserror::Error;
use utoipa::{IntoResponses, ToSchema};

use crate::{
    blocked_hosts::MAX_BLOCKED_HOSTS,
    gate::WorkError,
    keygen::KeygenError,
    link::{InvalidKey, InvalidTarget},
    links::ListError,
    observability::logging::Chain,
    password::HashError,
    policy::Refusal,
    shortener::{ChangeError, FollowError, take_down::TakeDownError},
    store::StoreError,
    web::respond::Json,
};

/// The default `Retry-After`, in seconds.
const RETRY_SECONDS: u64 = 1;

/// An error response. Its text is for the client, and its source is only for the log.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    #[error(transparent)]
    InvalidUrl(#[from] InvalidTarget),
    #[error(transparent)]
    RefusedUrl(Refusal),
    #[error("gone_url: {0}")]
    RefusedGoneUrl(Refusal),
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    #[error("this key is reserved by the service")]
    ReservedKey,
    #[error("this key is taken")]
    KeyTaken,
    #[error("could not allocate a key")]
    NoFreeKey,
    /// The text contains the position of the error, but no part of the body.
    #[error("the request body is not valid JSON: {0}")]
    BrokenJson(String),
    #[error("the request body must be a JSON object")]
    NotAnObject,
    #[error("the request body looks like JSON; send it with 'Content-Type: application/json'")]
    JsonAsForm,
    #[error("invalid request body: {0}")]
    UnexpectedBody(String),
    #[error("the request body did not arrive in full")]
    IncompleteBody,
    #[error("the request body did not arrive in time")]
    SlowBody,
    #[error("the request body is too large")]
    BodyTooLarge,
    #[error("send application/json or application/x-www-form-urlencoded")]
    UnsupportedMediaType,
    #[error("the request has no valid Host")]
    InvalidHost,
    #[error("{0}")]
    InvalidOption(String),
    #[error("invalid query: {0}")]
    InvalidQuery(String),
    #[error("an Idempotency-Key must have 1 to 255 visible ASCII characters")]
    InvalidIdempotencyKey,
    #[error("a valid bearer token is required")]
    Unauthorized,
    #[error("{0} can only be set with a token")]
    TokenNeeded(&'static str),
    #[error("this token does not allow that")]
    Forbidden,
    #[error("the form was sent by another website")]
    CrossOrigin,
    #[error("the link has changed since it was read")]
    Changed,
    #[error("this link needs a password")]
    PasswordNeeded,
    #[error("wrong password")]
    WrongPassword,
    #[error("this link has a visit limit, so only people can follow it")]
    OnlyPeople,
    #[error("a newer version of this service has restricted this link; this instance can't follow it")]
    UnsupportedLink(#[source] FollowError),
    #[error("not found")]
    NotFound,
    #[error("this link is no longer available")]
    Gone,
    #[error("there are {MAX_BLOCKED_HOSTS} blocked hosts already; block a .suffix or remove others")]
    TooManyBlockedHosts,
    #[error("method not allowed")]
    MethodNotAllowed,
    #[error("too many requests")]
    RateLimited(Duration),
    #[error("the service is busy; try again shortly")]
    Overloaded,
    #[error("the service did not respond in time")]
    Timeout(Duration),
    #[error("the link store is unavailable; try again shortly")]
    Store(#[source] StoreError),
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A handler panicked. The panic hook has already logged the message.
    #[error("internal error")]
    Panic,
}

/// The body of every error response.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// Human-readable message.
    #[schema(example = "a valid http(s) url is required")]
    error: String,
    /// Machine-readable code.
    #[schema(example = "invalid_url")]
    code: &'static str,
}

/// The error behind a response, for the log and the error pages.
///
/// The cause of the error is never sent to the client.
#[derive(Clone)]
pub(crate) struct Failed(pub(crate) Arc<ApiError>);

/// The errors that every route can return, for the OpenAPI document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document is generated from the declaration")]
pub(crate) enum ErrorResponses {
    /// The request was refused; `code` says why
    #[response(status = "4XX")]
    Client(ErrorBody),
    /// The service failed or is busy; `Retry-After` says when to retry
    #[response(status = "5XX")]
    Server(ErrorBody),
}

impl ApiError {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidUrl(_) => (StatusCode::BAD_REQUEST, "invalid_url"),
            Self::RefusedUrl(refusal) | Self::RefusedGoneUrl(refusal) => match refusal {
                Refusal::Loop => (StatusCode::BAD_REQUEST, "invalid_url"),
                Refusal::BlockedHost | Refusal::PrivateHost => (StatusCode::FORBIDDEN, "target_refused"),
            },
            Self::InvalidKey(_) => (StatusCode::BAD_REQUEST, "invalid_key"),
            Self::ReservedKey => (StatusCode::CONFLICT, "key_reserved"),
            Self::KeyTaken => (StatusCode::CONFLICT, "key_taken"),
            Self::NoFreeKey => (StatusCode::SERVICE_UNAVAILABLE, "no_key"),
            Self::BrokenJson(_)
            | Self::NotAnObject
            | Self::JsonAsForm
            | Self::UnexpectedBody(_)
            | Self::IncompleteBody => (StatusCode::BAD_REQUEST, "invalid_body"),
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::InvalidHost => (StatusCode::BAD_REQUEST, "invalid_host"),
            Self::InvalidOption(_) => (StatusCode::BAD_REQUEST, "invalid_option"),
            Self::InvalidQuery(_) => (StatusCode::BAD_REQUEST, "invalid_query"),
            Self::InvalidIdempotencyKey => (StatusCode::BAD_REQUEST, "invalid_idempotency_key"),
            Self::Unauthorized | Self::TokenNeeded(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Self::CrossOrigin => (StatusCode::FORBIDDEN, "cross_origin"),
            Self::Changed => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
            Self::PasswordNeeded => (StatusCode::FORBIDDEN, "password_needed"),
            Self::WrongPassword => (StatusCode::FORBIDDEN, "wrong_password"),
            Self::OnlyPeople => (StatusCode::FORBIDDEN, "only_people"),
            Self::UnsupportedLink(_) => (StatusCode::SERVICE_UNAVAILABLE, "unsupported_link"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::Gone => (StatusCode::GONE, "gone"),
            Self::TooManyBlockedHosts => (StatusCode::CONFLICT, "too_many_blocked_hosts"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::RateLimited(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            Self::Store(StoreError::Unavailable(_) | StoreError::Timeout(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable")
            }
            Self::Store(StoreError::Corrupt(_)) | Self::Internal(_) | Self::Panic => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status_and_code().0
    }

    pub(crate) fn option(error: impl std::fmt::Display) -> Self {
        Self::InvalidOption(error.to_string())
    }

    pub(crate) fn query(error: impl std::fmt::Display) -> Self {
        Self::InvalidQuery(error.to_string())
    }

    /// Converts the error to the status and body of a batch item.
    ///
    /// A 5xx is logged here, because the response as a whole has another status.
    pub(crate) fn into_item(self) -> (StatusCode, ErrorBody) {
        let (status, code) = self.status_and_code();
        if status.is_server_error() {
            tracing::error!(status = status.as_u16(), error = self.cause(), "batch item failed");
        }
        (status, ErrorBody { error: self.to_string(), code })
    }

    /// Returns the value of `Retry-After` in seconds (RFC 9110, section 10.2.3).
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited(wait) => Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
            Self::NoFreeKey | Self::Overloaded | Self::Store(_) | Self::UnsupportedLink(_) => {
                Some(RETRY_SECONDS)
            }
            _ => None,
        }
    }

    /// Returns the cause, for the log.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Store(error) => Chain(error).to_string(),
            Self::Timeout(limit) => format!("the request took longer than {limit:?}"),
            Self::Panic => "a handler panicked".into(),
            error => Chain(error).to_string(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let mut response = (status, Json(ErrorBody { error: self.to_string(), code })).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Failed(Arc::new(self)));
        response
    }
}

impl From<ListError> for ApiError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Busy => Self::Overloaded,
            ListError::Store(error) => Self::Store(error),
        }
    }
}

impl From<TakeDownError> for ApiError {
    fn from(error: TakeDownError) -> Self {
        match error {
            TakeDownError::List(error) => error.into(),
            TakeDownError::Change(error) => error.into(),
        }
    }
}

impl From<HashError> for ApiError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Overloaded,
            HashError::Failed(_) => Self::Internal(error.into()),
        }
    }
}

impl From<WorkError> for ApiError {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Full(_) => Self::Overloaded,
            WorkError::Panic(_) => Self::Internal(error.into()),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound => Self::NotFound,
            ChangeError::Conflict => Self::Changed,
            ChangeError::Refused(refusal) => Self::RefusedUrl(refusal),
            ChangeError::GoneUrlRefused(refusal) => Self::RefusedGoneUrl(refusal),
            ChangeError::TokenNeeded(field) => Self::TokenNeeded(field),
            ChangeError::KeyReserved => Self::ReservedKey,
            ChangeError::KeyTaken => Self::KeyTaken,
            ChangeError::NoFreeKey => Self::NoFreeKey,
            ChangeError::Keygen(KeygenError::Store(error)) | ChangeError::Store(error) => Self::Store(error),
            ChangeError::Keygen(error @ KeygenError::Exhausted(_)) => Self::Internal(error.into()),
            ChangeError::ExpiryPassed => Self::option(error),
            ChangeError::Hash(error) => error.into(),
        }
    }
}

impl From<FollowError> for ApiError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::NotFound => Self::NotFound,
            FollowError::Ended { .. } | FollowError::Gone => Self::Gone,
            FollowError::PasswordNeeded => Self::PasswordNeeded,
            FollowError::WrongPassword => Self::WrongPassword,
            FollowError::OnlyPeople => Self::OnlyPeople,
            error @ FollowError::Unsupported(_) => Self::UnsupportedLink(error),
            FollowError::Hash(error) => error.into(),
            FollowError::Store(error) => Self::Store(error),
        }
    }
}
