//! The body of a request, JSON or a form, and its query.

use axum::{
    RequestExt,
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts,
};
use axum_extra::headers::{ContentType, HeaderMapExt, Mime};
use http_body_util::{BodyExt, LengthLimitError};
use serde::de::DeserializeOwned;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use crate::web::{middleware::in_flight::Slot, respond::error::ApiError, state::AppState};

/// The size of a body, in bytes, that takes well under a millisecond to decode.
const LARGE: usize = 64 << 10;

/// A body of type `T`, sent as a JSON object or as a form.
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
        // Half of the request's time, so that a slow client is told so before the service has to call itself slow.
        let limit = state.config.limits.request_timeout / 2;
        let body = timeout(limit, read(request.into_limited_body(), &slot)).await;
        let (body, _reserved) = body.map_err(|_| ApiError::SlowBody)??;
        decoded(body, decode).await.map(Self)
    }
}

/// Reads a whole body, without a slot and within the budget of bytes, and takes the slot again. The bytes count in the
/// budget until the permit is dropped.
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

/// Decodes a body. A large one is decoded elsewhere: the other connections of this thread would have to wait.
async fn decoded<T: Send + 'static>(
    body: Vec<u8>,
    decode: fn(&[u8]) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    if body.len() <= LARGE {
        return decode(&body);
    }
    let task = tokio::task::spawn_blocking(move || decode(&body));
    task.await.map_err(|panic| ApiError::Internal(panic.into()))?
}

/// The query of a request, as type `T`.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        serde_html_form::from_str(query).map(Self).map_err(ApiError::query)
    }
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // serde would also take the fields from an array, by their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::MalformedBody);
    }
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() { ApiError::UnexpectedBody(error.to_string()) } else { ApiError::MalformedBody }
    })
}

fn from_form<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_html_form::from_bytes(body).map_err(|error| ApiError::UnexpectedBody(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use super::*;

    #[tokio::test]
    async fn a_large_body_is_decoded_away_from_the_connections_thread() {
        fn here(_: &[u8]) -> Result<ThreadId, ApiError> {
            Ok(thread::current().id())
        }
        for (length, is_here) in [(LARGE, true), (LARGE + 1, false)] {
            let decoded = decoded(vec![b' '; length], here).await.unwrap();
            assert_eq!(decoded == thread::current().id(), is_here, "{length} bytes");
        }
    }
}
