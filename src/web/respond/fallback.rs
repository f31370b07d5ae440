//! Redirects of browsers to a page elsewhere, instead of an error or a page of the service.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    shortener::fallback::{Fallback, FallbackSource},
    web::respond::error::ApiError,
};

/// Marks a response that leads to a fallback, for the log and the metrics.
#[derive(Clone, Copy)]
pub(crate) struct LedElsewhere(pub(crate) FallbackSource);

/// Returns a redirect that nobody may keep: a link may be made, or may be restored, at any time.
pub(crate) fn lead(status: StatusCode, Fallback { url, source }: &Fallback) -> Response {
    let location = match HeaderValue::from_str(url.as_str()) {
        Ok(location) => location,
        Err(error) => return ApiError::Internal(error.into()).into_response(),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response.extensions_mut().insert(LedElsewhere(*source));
    response
}
