//! Who may manage links: `Authorization: Bearer TOKEN` (RFC 6750).

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use axum_extra::headers::{Authorization, HeaderMapExt, authorization::Bearer};

use crate::{
    tokens::{Scope, Tokens},
    web::{respond::error::ApiError, state::AppState},
};

/// A client that may look at links.
pub(crate) struct MayRead;

/// A client that may change links, by the name of its token.
pub(crate) struct MayWrite(pub(crate) Arc<str>);

/// A client that may make a link: any client, or only one that may change links.
pub(crate) struct MayShorten;

impl FromRequestParts<AppState> for MayRead {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        authorize(state.config.access.api_tokens.as_ref(), &parts.headers, Scope::Read).map(|_| Self)
    }
}

impl FromRequestParts<AppState> for MayWrite {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        authorize(state.config.access.api_tokens.as_ref(), &parts.headers, Scope::Write).map(Self)
    }
}

impl FromRequestParts<AppState> for MayShorten {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        if state.config.access.public_shorten {
            return Ok(Self);
        }
        authorize(state.config.access.api_tokens.as_ref(), &parts.headers, Scope::Write).map(|_| Self)
    }
}

/// Returns the name of the request's token.
///
/// # Errors
/// [`ApiError::Unauthorized`] without a valid token, [`ApiError::Forbidden`] if its scope is less than `needed`.
pub(crate) fn authorize(
    tokens: Option<&Tokens>,
    headers: &HeaderMap,
    needed: Scope,
) -> Result<Arc<str>, ApiError> {
    let bearer = headers.typed_get::<Authorization<Bearer>>().ok_or(ApiError::Unauthorized)?;
    match tokens.and_then(|tokens| tokens.find(bearer.token().trim())) {
        Some((name, scope)) if scope >= needed => Ok(name.into()),
        Some(_) => Err(ApiError::Forbidden),
        None => Err(ApiError::Unauthorized),
    }
}
