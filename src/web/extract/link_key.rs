//! The key in the path of a request.

use axum::{
    extract::{FromRequestParts, MatchedPath, Path, rejection::PathRejection},
    http::request::Parts,
};
use utoipa::IntoParams;

use crate::{
    link::Key,
    web::{respond::error::ApiError, state::AppState},
};

/// The key in the path of a request.
///
/// A request with an invalid key gets a 404.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct LinkKey {
    /// The key of the link
    #[param(value_type = String, example = "q0V8fYz")]
    pub(crate) key: Key,
}

/// The path of a short URL.
///
/// A key alone follows the link, and a key with a trailing `+` previews it.
pub(crate) enum ShortPath {
    Follow(Key),
    Preview(Key),
}

impl FromRequestParts<AppState> for LinkKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, ApiError> {
        let key = match (&segment(parts).await, parts.extensions.get::<MatchedPath>()) {
            (Ok(Path(key)), _) => key.parse(),
            // A route without a path parameter ends with the key itself: see `links::with_link_methods`.
            (Err(_), Some(route)) if !route.as_str().contains('{') => {
                route.as_str().rsplit('/').next().unwrap_or_default().parse()
            }
            (Err(_), _) => return Err(ApiError::NotFound),
        };
        key.map(|key| Self { key }).map_err(|_| ApiError::NotFound)
    }
}

impl FromRequestParts<AppState> for ShortPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, ApiError> {
        let Path(segment) = segment(parts).await.map_err(|_| ApiError::NotFound)?;
        if let Ok(key) = segment.parse() {
            return Ok(Self::Follow(key));
        }
        let key = segment.strip_suffix('+').and_then(|key| key.parse().ok());
        key.map(Self::Preview).ok_or(ApiError::NotFound)
    }
}

async fn segment(parts: &mut Parts) -> Result<Path<String>, PathRejection> {
    Path::from_request_parts(parts, &()).await
}
