//! Building blocks for responses: errors, pages, JSON and headers.

pub(crate) mod error;
pub(crate) mod fallback;
pub(crate) mod page;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use self::error::ApiError;

/// A JSON response body, with a trailing newline for readability in terminals.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut body) => {
                body.push(b'\n');
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(error) => ApiError::Internal(error.into()).into_response(),
        }
    }
}

/// Adds the security headers that are not set yet.
///
/// They forbid content sniffing, framing and scripts, and limit what the browser sends as `Referer`.
pub(crate) fn secure_headers(headers: &mut HeaderMap) {
    const HEADERS: [(HeaderName, HeaderValue); 3] = [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        ),
        (header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
    ];
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
}
