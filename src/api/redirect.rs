//! `GET /{key}`: what the service does a million times for each thing else.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::error::{ApiError, ErrorBody};
use crate::{
    clicks::{Device, Visitor},
    shortener::Shortener,
};

/// A link may be edited or taken down at any time, and each visit is to be counted.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("no-store");

/// Follow a short link
///
/// HEAD answers the same and is never counted.
#[utoipa::path(
    method(get, head),
    path = "/{key}",
    params(("key" = String, Path, description = "The key of the link", example = "q0V8fYz")),
    responses(
        (status = FOUND, description = "The way to the target", headers(("Location" = String, description = "The target"))),
        (status = NOT_FOUND, description = "`not_found`: no link has this key", body = ErrorBody),
        (status = GONE, description = "`gone`: the link has expired or was taken down", body = ErrorBody),
        (status = SERVICE_UNAVAILABLE, description = "`store_unavailable` or `overloaded`", body = ErrorBody),
    ),
)]
pub(super) async fn redirect(
    State(shortener): State<Arc<Shortener>>,
    method: Method,
    key: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let key = key.ok().and_then(|Path(key)| key.parse().ok()).ok_or(ApiError::NotFound)?;
    let visitor =
        (method != Method::HEAD).then_some(Visitor::Person { device: Device::Other, referrer: None });
    let link = shortener.follow(&key, visitor).await?;
    let location =
        HeaderValue::from_str(link.target.as_str()).map_err(|error| ApiError::Internal(error.into()))?;
    Ok((StatusCode::FOUND, [(header::LOCATION, location), (header::CACHE_CONTROL, CACHE_CONTROL)])
        .into_response())
}
