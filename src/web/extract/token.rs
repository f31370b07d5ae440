//! Authorization with bearer tokens (RFC 6750).

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use axum_extra::headers::{Authorization, HeaderMapExt, authorization::Bearer};
use jiff::Timestamp;

use crate::{
    blocked_hosts::HostPattern,
    link::{Creator, Key},
    tokens::{Scope, Token, Tokens},
    web::{
        extract::{client::ClientIp, ids::RequestId},
        middleware::token_failures::TokenFailure,
        respond::error::ApiError,
        state::AppState,
    },
};

/// A client whose token permits viewing links.
pub(crate) struct MayRead;

/// A client whose token permits changing links.
pub(crate) struct MayWrite(pub(crate) Author);

/// A client whose token permits creating a link, within its rate limit.
pub(crate) struct MayCreate(pub(crate) Author);

/// A client that may use `POST /shorten`, within its rate limit.
pub(crate) struct MayShorten(pub(crate) Author);

/// The author of a change, for the audit log.
#[derive(Clone)]
pub(crate) struct Author {
    pub(crate) name: Creator,
    request_id: RequestId,
    pub(crate) client: ClientIp,
}

/// A kind of change to a link, for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Created,
    Edited,
    TakenDown,
    Restored,
    Deleted,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Edited => "edited",
            Self::TakenDown => "taken_down",
            Self::Restored => "restored",
            Self::Deleted => "deleted",
        }
    }
}

/// A kind of change to the blocked hosts, for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostAction {
    Blocked,
    Unblocked,
}

impl HostAction {
    fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Unblocked => "unblocked",
        }
    }
}

impl Author {
    pub(crate) fn new(name: Creator, parts: &Parts) -> Self {
        Self { name, request_id: RequestId::of(parts), client: ClientIp::of(parts) }
    }

    /// Logs a change to a link.
    ///
    /// The target is not logged, because it may be confidential.
    pub(crate) fn log(&self, action: Action, key: &Key) {
        let Self { name, request_id, client: ClientIp(client_ip) } = self;
        let (action, request_id) = (action.as_str(), request_id.as_str());
        tracing::info!(action, %key, token = name.as_str(), request_id, %client_ip, "link changed");
    }

    /// Logs a change to the blocked hosts.
    pub(crate) fn log_host(&self, action: HostAction, host: &HostPattern) {
        let Self { name, request_id, client: ClientIp(client_ip) } = self;
        let (action, request_id) = (action.as_str(), request_id.as_str());
        tracing::info!(action, %host, token = name.as_str(), request_id, %client_ip, "blocked hosts changed");
    }
}

impl FromRequestParts<AppState> for MayRead {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        authorize(state, parts, Scope::Read).map(|_| Self)
    }
}

impl FromRequestParts<AppState> for MayWrite {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let name = authorize(state, parts, Scope::Write)?;
        Ok(Self(Author::new(name, parts)))
    }
}

impl FromRequestParts<AppState> for MayCreate {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let MayWrite(author) = MayWrite::from_request_parts(parts, state).await?;
        state.create_limits.admit(&author, 1)?;
        Ok(Self(author))
    }
}

impl FromRequestParts<AppState> for MayShorten {
    type Rejection = ApiError;

    /// Authorizes the request.
    ///
    /// A token in the request is checked even if none is required, because its name becomes the creator of the link.
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        if state.config.access.public_shorten && !parts.headers.contains_key(header::AUTHORIZATION) {
            let author = Author::new(Creator::PUBLIC, parts);
            state.create_limits.admit(&author, 1)?;
            return Ok(Self(author));
        }
        let MayCreate(author) = MayCreate::from_request_parts(parts, state).await?;
        Ok(Self(author))
    }
}

/// Returns the name of the request's token.
///
/// # Errors
/// [`ApiError::Unauthorized`] if the request has no valid token, [`ApiError::RateLimited`] if the client has sent too
/// many invalid tokens, or [`ApiError::Forbidden`] if the token lacks the `needed` scope.
fn authorize(state: &AppState, parts: &Parts, needed: Scope) -> Result<Creator, ApiError> {
    match identify(&state.tokens(), &parts.headers, state.shortener.clock.now()) {
        Ok(token) if token.scope >= needed => Ok(token.name.clone()),
        Ok(_) => Err(ApiError::Forbidden),
        Err(failure) => {
            Err(state.token_failures.refuse(&failure, ClientIp::of(parts), &RequestId::of(parts)))
        }
    }
}

/// Returns the valid token in a request's headers.
///
/// # Errors
/// See [`TokenFailure`].
pub(crate) fn identify<'a>(
    tokens: &'a Tokens,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<&'a Token, TokenFailure> {
    match headers.typed_get::<Authorization<Bearer>>() {
        Some(bearer) => Ok(tokens.find(bearer.token().trim(), now)?),
        None if headers.contains_key(header::AUTHORIZATION) => Err(TokenFailure::Malformed),
        None => Err(TokenFailure::Missing),
    }
}
