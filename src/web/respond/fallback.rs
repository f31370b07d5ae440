//! Redirects to fallback pages, which replace errors or the home page.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    shortener::fallback::{Fallback, FallbackSource},
    web::respond::error::ApiError,
};

/// The source of a response's fallback, for the log and the metrics.
#[derive(Clone, Copy)]
pub(crate) struct FallbackTaken(pub(crate) FallbackSource);

/// Returns a redirect to a fallback page.
///
/// The redirect isn't cacheable, because the link may be created or restored at any time.
pub(crate) fn redirect_to(status: StatusCode, Fallback { url, source }: &Fallback) -> Response {
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
    response.extensions_mut().insert(FallbackTaken(*source));
    response
}
