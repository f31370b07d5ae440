//! Extractors for request bodies (JSON or a form) and for query strings.

use std::fmt::Display;

use axum::{
    RequestExt,
    body::Body,
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request},
    http::request::Parts,
};
use axum_extra::headers::{ContentType, HeaderMapExt, Mime};
use http_body_util::{BodyExt, LengthLimitError};
use hyper::body::Body as _;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Map, Value};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use crate::web::{middleware::in_flight::Slot, respond::error::ApiError, state::AppState};

/// The maximum size in bytes of a body that is decoded inline.
///
/// Decoding such a body takes well under a millisecond.
const MAX_INLINE: usize = 64 << 10;

/// A body of type `T`, sent as a JSON object or a form.
pub(crate) struct Payload<T>(pub(crate) T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for Payload<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let media_type: Option<Mime> = request.headers().typed_get::<ContentType>().map(Into::into);
        let decode = match media_type.as_ref().map(Mime::essence_str) {
            Some("application/json" | "application/merge-patch+json") => from_json,
            Some("application/x-www-form-urlencoded") => from_form,
            _ => return Err(ApiError::UnsupportedMediaType),
        };
        let slot = request.extensions().get().cloned().expect("the router gives each request a slot");
        // Use half of the request timeout, so that a slow client gets a 408 before the request times out with a 504.
        let limit = state.config.limits.request_timeout / 2;
        let body = timeout(limit, read(request.into_limited_body(), &slot)).await;
        let (body, _reserved) = body.map_err(|_| ApiError::SlowBody)??;
        decoded(body, decode).await.map(Self)
    }
}

impl<T: DeserializeOwned + Send + 'static> OptionalFromRequest<AppState> for Payload<T> {
    type Rejection = ApiError;

    /// Returns `None` for a request without a body.
    async fn from_request(request: Request, state: &AppState) -> Result<Option<Self>, ApiError> {
        if request.body().is_end_stream() {
            return Ok(None);
        }
        <Self as FromRequest<AppState>>::from_request(request, state).await.map(Some)
    }
}

/// Reads a whole body without holding a slot.
///
/// The bytes count towards the body budget until the returned permit is dropped.
async fn read(mut body: Body, slot: &Slot) -> Result<(Vec<u8>, OwnedSemaphorePermit), ApiError> {
    slot.pause();
    let (mut bytes, mut reserved) = (Vec::new(), slot.reserve(0)?);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error.into_inner().is::<LengthLimitError>() {
            true => ApiError::BodyTooLarge,
            false => ApiError::IncompleteBody,
        })?;
        if let Ok(data) = frame.into_data() {
            reserved.merge(slot.reserve(data.len())?);
            bytes.extend_from_slice(&data);
        }
    }
    slot.resume()?;
    Ok((bytes, reserved))
}

/// Decodes a body.
///
/// A large body is decoded on another thread, so that it doesn't delay other connections.
async fn decoded<T: Send + 'static>(
    body: Vec<u8>,
    decode: fn(&[u8]) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    if body.len() <= MAX_INLINE {
        return decode(&body);
    }
    let task = tokio::task::spawn_blocking(move || decode(&body));
    task.await.map_err(|panic| ApiError::Internal(panic.into()))?
}

/// The query string of a request, decoded as type `T`.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        url_encoded(query.as_bytes()).map(Self).map_err(ApiError::InvalidQuery)
    }
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let broken = |error: serde_json::Error| ApiError::BrokenJson(error.to_string());
    // Without this check, serde would also accept an array of the field values in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        let is_empty = body.trim_ascii().is_empty();
        return Err(match serde_json::from_slice::<IgnoredAny>(body) {
            Err(error) if !is_empty => broken(error),
            _ => ApiError::NotAnObject,
        });
    }
    serde_json::from_slice(body).map_err(|error| match error.is_data() {
        true => {
            let mut again = serde_json::Deserializer::from_slice(body);
            ApiError::UnexpectedBody(wrong_field::<T, _>(&mut again, &error))
        }
        false => broken(error),
    })
}

fn from_form<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // By default, `curl -d` declares its data as a form, even if it is JSON. A real form would percent-encode the
    // brace.
    if body.trim_ascii_start().first() == Some(&b'{') {
        return Err(ApiError::JsonAsForm);
    }
    url_encoded(body).map_err(ApiError::UnexpectedBody)
}

/// Decodes a JSON object into `T`.
pub(crate) fn from_fields<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, ApiError> {
    let decoded = serde_path_to_error::deserialize(Value::Object(fields));
    decoded.map_err(|error| ApiError::UnexpectedBody(description(&error)))
}

fn url_encoded<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let again = || serde_html_form::Deserializer::from_bytes(text);
    serde_html_form::from_bytes(text).map_err(|error| wrong_field::<T, _>(again(), &error))
}

/// Describes an error and the field that caused it, by decoding again.
///
/// Decoding that tracks the path of each field is slow, so it is done only after an error.
fn wrong_field<'de, T: Deserialize<'de>, D: Deserializer<'de, Error: Display>>(
    again: D,
    error: &D::Error,
) -> String {
    match serde_path_to_error::deserialize::<D, T>(again) {
        Err(traced) => description(&traced),
        Ok(_) => error.to_string(),
    }
}

/// Returns the path of the field and the reason.
///
/// The value of a password is never included.
fn description(error: &serde_path_to_error::Error<impl Display>) -> String {
    let (path, reason) = (error.path().to_string(), error.inner().to_string());
    // Drop the position that serde_json appends to the reason: the path is more useful.
    let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason);
    match path.rsplit('.').next() {
        _ if reason.starts_with("unknown field") || path == "." => reason.into(),
        Some("password") => format!("{path}: takes a string"),
        _ => format!("{path}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use super::*;

    #[tokio::test]
    async fn a_large_body_is_decoded_off_the_connection_thread() {
        fn here(_: &[u8]) -> Result<ThreadId, ApiError> {
            Ok(thread::current().id())
        }
        for (length, is_here) in [(MAX_INLINE, true), (MAX_INLINE + 1, false)] {
            let decoded = decoded(vec![b' '; length], here).await.unwrap();
            assert_eq!(decoded == thread::current().id(), is_here, "{length} bytes");
        }
    }
}
