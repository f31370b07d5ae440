//! Headers of every answer.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers that keep a browser from guessing, framing or running anything.
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
