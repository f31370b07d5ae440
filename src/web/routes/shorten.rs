//! `POST /shorten`.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    link::InvalidTarget,
    shortener::{Shortened, Shortener},
    web::{
        extract::{accept::preferred, body::Payload, client::OwnBase, link_fields::LinkFields, token::Maker},
        respond::{
            error::{ApiError, ErrorBody},
            json::Json,
        },
    },
};

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
    security((), ("token" = ["write"])),
    request_body(content(
        (LinkFields = "application/json"),
        (LinkFields = "application/x-www-form-urlencoded"),
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
        (status = BAD_REQUEST, description = "`invalid_url`, `invalid_key`, `invalid_option`, `invalid_body` or `invalid_host`", body = ErrorBody),
        (status = UNAUTHORIZED, description = "`unauthorized`, where only tokens may shorten", body = ErrorBody),
        (status = FORBIDDEN, description = "`target_refused`, or `forbidden`", body = ErrorBody),
        (status = CONFLICT, description = "`key_taken`", body = ErrorBody),
        (status = PAYLOAD_TOO_LARGE, description = "`body_too_large`", body = ErrorBody),
        (status = UNSUPPORTED_MEDIA_TYPE, description = "`unsupported_media_type`", body = ErrorBody),
        (status = TOO_MANY_REQUESTS, description = "`rate_limited`", body = ErrorBody),
        (status = SERVICE_UNAVAILABLE, description = "`no_key`, `store_unavailable` or `overloaded`", body = ErrorBody),
    ),
)]
pub(crate) async fn shorten(
    _maker: Maker,
    State(shortener): State<Arc<Shortener>>,
    OwnBase(own): OwnBase,
    headers: HeaderMap,
    payload: Result<Payload<LinkFields>, ApiError>,
) -> Result<Response, ApiError> {
    let Payload(fields) = payload.map_err(|error| match error {
        ApiError::MalformedBody => ApiError::InvalidUrl(InvalidTarget::NotHttp),
        error => error,
    })?;
    let new = fields.read(shortener.clock.now())?;
    let (status, link) = match shortener.shorten(new, &own).await? {
        Shortened::Created(link) => (StatusCode::CREATED, link),
        Shortened::Existing(link) => (StatusCode::OK, link),
    };
    let short_url = own.short_url(&link.key);
    let location = [(header::LOCATION, short_url.clone()), (header::CACHE_CONTROL, "no-store".into())];
    let body = match preferred(&headers, &["application/json", "text/plain"]) {
        "text/plain" => format!("{short_url}\n").into_response(),
        _ => Json(ShortenResponse {
            key: link.key.as_str(),
            short_url: &short_url,
            url: link.doc.target.as_str(),
        })
        .into_response(),
    };
    Ok((status, location, body).into_response())
}
