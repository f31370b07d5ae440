//! Who may manage links: `Authorization: Bearer TOKEN` (RFC 6750).

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};

use crate::{
    tokens::{Scope, Tokens},
    web::{respond::error::ApiError, state::Settings},
};

/// Whoever may look at links. The name is that of the token.
pub(crate) struct Reader;

/// Whoever may change them.
pub(crate) struct Writer(pub(crate) Arc<str>);

/// Whoever may make one: everybody, or only those who may change them.
pub(crate) struct Maker;

impl<S> FromRequestParts<S> for Reader
where
    S: Send + Sync,
    Arc<Settings>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        authorize(&Arc::<Settings>::from_ref(state).tokens, &parts.headers, Scope::Read).map(|_| Self)
    }
}

impl<S> FromRequestParts<S> for Writer
where
    S: Send + Sync,
    Arc<Settings>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        authorize(&Arc::<Settings>::from_ref(state).tokens, &parts.headers, Scope::Write).map(Self)
    }
}

impl<S> FromRequestParts<S> for Maker
where
    S: Send + Sync,
    Arc<Settings>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let settings = Arc::<Settings>::from_ref(state);
        if settings.public_shorten {
            return Ok(Self);
        }
        authorize(&settings.tokens, &parts.headers, Scope::Write).map(|_| Self)
    }
}

/// The name of the token that the request bears, if it allows what is `needed`.
pub(crate) fn authorize(tokens: &Tokens, headers: &HeaderMap, needed: Scope) -> Result<Arc<str>, ApiError> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = value.and_then(|value| value.split_once(' ')).ok_or(ApiError::Unauthorized)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::Unauthorized);
    }
    match tokens.find(token.trim()) {
        Some((name, scope)) if scope >= needed => Ok(name.into()),
        Some(_) => Err(ApiError::Forbidden),
        None => Err(ApiError::Unauthorized),
    }
}
