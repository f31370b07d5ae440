//! `POST /shorten`: creates a short link.

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
        extract::{
            accept::preferred,
            body::Payload,
            link_fields::LinkFields,
            service_url::ServiceUrl,
            token::{Action, MayShorten},
        },
        respond::{
            Json,
            error::{ApiError, ErrorBody, ErrorResponses},
        },
    },
};

/// A short link and its target.
#[derive(Serialize, ToSchema)]
struct ShortenResponse<'a> {
    #[schema(example = "q0V8fYz")]
    key: &'a str,
    /// URL that redirects to the target.
    #[schema(format = Uri, example = "https://sho.rt/q0V8fYz")]
    short_url: &'a str,
    /// Normalised target.
    #[schema(format = Uri, example = "https://example.com/a/long/path")]
    url: &'a str,
}

/// Create a short link
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
            description = "The link is created and durable",
            headers(("Location" = String, description = "The short URL")),
            content(
                (ShortenResponse<'static> = "application/json"),
                (String = "text/plain", example = "https://sho.rt/q0V8fYz\n"),
            ),
        ),
        (status = OK, description = "The same link already exists (strategy `hash`)", body = ShortenResponse<'static>),
        (status = CONFLICT, description = "`key_taken` or `key_reserved`", body = ErrorBody),
        (status = TOO_MANY_REQUESTS, description = "`rate_limited`", body = ErrorBody),
        ErrorResponses,
    ),
)]
pub(crate) async fn shorten(
    MayShorten(author): MayShorten,
    State(shortener): State<Arc<Shortener>>,
    ServiceUrl(base_url): ServiceUrl,
    headers: HeaderMap,
    payload: Result<Payload<LinkFields>, ApiError>,
) -> Result<Response, ApiError> {
    let Payload(fields) = payload.map_err(|error| match error {
        // A body that isn't an object is treated like an object without a `url`.
        ApiError::NotAnObject => ApiError::InvalidUrl(InvalidTarget::NotHttp),
        error => error,
    })?;
    let new = fields.read(shortener.clock.now())?;
    let (status, link) = match shortener.shorten(new, &author.name, &base_url).await? {
        Shortened::Created(link) => {
            author.log(Action::Created, &link.key);
            (StatusCode::CREATED, link)
        }
        Shortened::Existing(link) => (StatusCode::OK, link),
    };
    let short_url = base_url.short_url(&link.key);
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
