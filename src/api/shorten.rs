//! `POST /shorten`.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{
    accept::preferred,
    client::OwnBase,
    error::{ApiError, ErrorBody},
    extract::Payload,
    json::Json,
};
use crate::{
    link::InvalidTarget,
    shortener::{NewLink, Shortened, Shortener},
};

/// The link to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShortenRequest {
    /// Where it shall lead: an absolute http or https URL, without user name and password, of at most 2,048 bytes.
    #[serde(default, deserialize_with = "string_or_nothing")]
    #[schema(value_type = String, format = Uri, required = true, example = "https://example.com/a/long/path")]
    url: Option<String>,
    /// The key that it shall have, where the client cares.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$", example = "spring-sale")]
    key: Option<String>,
}

/// A URL that is no string gets the same answer as one that is missing.
fn string_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Any {
        String(String),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Any::deserialize(deserializer)? {
        Any::String(text) => Some(text),
        Any::Other(_) => None,
    })
}

/// The link that was made.
#[derive(Serialize, ToSchema)]
struct ShortenResponse<'a> {
    /// Its key.
    #[schema(example = "q0V8fYz")]
    key: &'a str,
    /// The URL that redirects.
    #[schema(format = Uri, example = "https://sho.rt/q0V8fYz")]
    short_url: &'a str,
    /// Where it leads, normalised.
    #[schema(format = Uri, example = "https://example.com/a/long/path")]
    url: &'a str,
}

/// Make a short link
#[utoipa::path(
    post,
    path = "/shorten",
    request_body(content(
        (ShortenRequest = "application/json"),
        (ShortenRequest = "application/x-www-form-urlencoded"),
    )),
    responses(
        (
            status = CREATED,
            description = "The link stands and is durable",
            headers(("Location" = String, description = "The short URL")),
            content(
                (ShortenResponse<'static> = "application/json"),
                (String = "text/plain", example = "https://sho.rt/q0V8fYz\n"),
            ),
        ),
        (status = OK, description = "The same link stood already (strategy `hash`)", body = ShortenResponse<'static>),
        (status = BAD_REQUEST, description = "`invalid_url`, `invalid_key` or `invalid_body`", body = ErrorBody),
        (status = FORBIDDEN, description = "`target_refused`", body = ErrorBody),
        (status = CONFLICT, description = "`key_taken`", body = ErrorBody),
        (status = PAYLOAD_TOO_LARGE, description = "`body_too_large`", body = ErrorBody),
        (status = UNSUPPORTED_MEDIA_TYPE, description = "`unsupported_media_type`", body = ErrorBody),
        (status = TOO_MANY_REQUESTS, description = "`rate_limited`", body = ErrorBody),
        (status = SERVICE_UNAVAILABLE, description = "`no_key`, `store_unavailable` or `overloaded`", body = ErrorBody),
    ),
)]
pub(super) async fn shorten(
    State(shortener): State<Arc<Shortener>>,
    OwnBase(own): OwnBase,
    headers: HeaderMap,
    payload: Result<Payload<ShortenRequest>, ApiError>,
) -> Result<Response, ApiError> {
    let Payload(request) = payload.map_err(|error| match error {
        ApiError::MalformedBody => ApiError::InvalidUrl(InvalidTarget::NotHttp),
        error => error,
    })?;
    let new = NewLink {
        target: request.url.unwrap_or_default().parse()?,
        key: request.key.map(|key| key.parse()).transpose()?,
    };
    let (status, link) = match shortener.shorten(new, &own).await? {
        Shortened::Created(link) => (StatusCode::CREATED, link),
        Shortened::Existing(link) => (StatusCode::OK, link),
    };
    let short_url = own.short_url(&link.key);
    let location = [(header::LOCATION, short_url.clone()), (header::CACHE_CONTROL, "no-store".into())];
    let body = match preferred(&headers, &["application/json", "text/plain"]) {
        "text/plain" => format!("{short_url}\n").into_response(),
        _ => {
            Json(ShortenResponse { key: link.key.as_str(), short_url: &short_url, url: link.target.as_str() })
                .into_response()
        }
    };
    Ok((status, location, body).into_response())
}
