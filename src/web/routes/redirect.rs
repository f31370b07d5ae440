//! `GET /{key}`: what the service does a million times for each thing else.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequest, Path, RawQuery, Request, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    link::Link,
    shortener::{FollowError, Follower, Shortener},
    web::{
        extract::{
            body::Payload,
            client::{ClientIp, own_base},
            visitor::visitor,
        },
        middleware::password_attempts::Attempt,
        respond::{
            error::{ApiError, ErrorBody},
            page,
        },
        routes::{
            links::KeyPath,
            preview::{PreviewBody, preview},
        },
        state::{AppState, Settings},
    },
};

/// A link may be edited or taken down at any time, and each visit is to be counted.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// How long clients may remember a permanent redirect, in seconds: so long does an edit take to reach all of them.
const PERMANENT: i64 = 24 * 60 * 60;

/// The route, as metrics and logs name it.
pub(crate) const ROUTE: &str = "/{key}";

/// Headers that a redirect bears in the end, so that there is room for all of them from the start.
pub(crate) const HEADERS: usize = 8;

/// Follow a short link
///
/// HEAD answers the same and is never counted. With a `+` behind the key it shows where the link leads instead, as a page
/// for browsers and as JSON for others. A link that has a limited number of visits lets only people through: HEAD,
/// prefetches, previews and bots get 403 `only_people`. What keeps a link from being followed keeps it from being shown
/// as well.
#[utoipa::path(
    method(get, head),
    path = "/{key}",
    params(("key" = String, Path, description = "The key of the link", example = "q0V8fYz")),
    responses(
        (status = OK, description = "Where the link leads, for a key with `+`", content((PreviewBody = "application/json"), (String = "text/html"))),
        (status = MOVED_PERMANENTLY, description = "The way to the target", headers(("Location" = String, description = "The target"))),
        (status = FOUND, description = "The way to the target", headers(("Location" = String, description = "The target"))),
        (status = TEMPORARY_REDIRECT, description = "The way to the target", headers(("Location" = String, description = "The target"))),
        (status = PERMANENT_REDIRECT, description = "The way to the target", headers(("Location" = String, description = "The target"))),
        (status = FORBIDDEN, description = "`password_needed` or `only_people`", content((ErrorBody = "application/json"), (String = "text/html"))),
        (status = NOT_FOUND, description = "`not_found`: no link has this key", content((ErrorBody = "application/json"), (String = "text/html"))),
        (status = GONE, description = "`gone`: the link has expired, is used up, or was taken down", content((ErrorBody = "application/json"), (String = "text/html"))),
        (status = SERVICE_UNAVAILABLE, description = "`store_unavailable`, `overloaded` or `unsupported_link`", body = ErrorBody),
    ),
)]
pub(crate) async fn redirect(
    State(shortener): State<Arc<Shortener>>,
    State(settings): State<Arc<Settings>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    answer(&shortener, &settings, path, &parts)
        .await
        .unwrap_or_else(|error| page::error(error, &parts.headers))
}

async fn answer(
    shortener: &Shortener,
    settings: &Settings,
    path: Result<Path<String>, PathRejection>,
    parts: &Parts,
) -> Result<Response, ApiError> {
    let Path(path) = path.map_err(|_| ApiError::NotFound)?;
    let follower = match parts.method {
        Method::HEAD => Follower::Preview,
        _ => Follower::Visitor(visitor(&parts.headers)),
    };
    if let Ok(key) = path.parse() {
        let link = shortener.follow(&key, follower, None).await?;
        return to_target(&link, parts.uri.query(), shortener, HeaderMap::with_capacity(HEADERS));
    }
    let key = path.strip_suffix('+').and_then(|key| key.parse().ok()).ok_or(ApiError::NotFound)?;
    preview(shortener, &own_base(parts, settings)?, &key, &follower, &parts.headers).await
}

/// The answer that leads on to the target, as the link says, with these headers besides.
pub(crate) fn to_target(
    link: &Link,
    query: Option<&str>,
    shortener: &Shortener,
    mut headers: HeaderMap,
) -> Result<Response, ApiError> {
    headers.insert(header::LOCATION, location(link, query)?);
    headers.insert(header::CACHE_CONTROL, lifetime(link, || shortener.clock.now()));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(link.doc.options.redirect.code())
        .map_err(|error| ApiError::Internal(error.into()))?;
    *response.headers_mut() = headers;
    Ok(response)
}

/// The target, with the query of the request where the link says so.
fn location(link: &Link, query: Option<&str>) -> Result<HeaderValue, ApiError> {
    let location = match query.filter(|query| link.doc.options.forward_query && !query.is_empty()) {
        Some(query) => HeaderValue::from_str(&link.doc.target.with_query(query)),
        None => HeaderValue::from_str(link.doc.target.as_str()),
    };
    location.map_err(|error| ApiError::Internal(error.into()))
}

/// How long a client may go by what it has heard: not at all where each visit counts, and never past the link's end.
fn lifetime(link: &Link, now: impl Fn() -> Timestamp) -> HeaderValue {
    let options = &link.doc.options;
    if !options.redirect.is_permanent() || options.max_visits.is_some() {
        return NO_STORE;
    }
    let left = options.expires_at.map_or(PERMANENT, |expiry| expiry.as_second() - now().as_second());
    HeaderValue::from_str(&format!("private, max-age={}", left.clamp(0, PERMANENT))).unwrap_or(NO_STORE)
}

/// What a visitor knows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unlock {
    /// The link's password.
    #[schema(format = Password)]
    password: String,
}

/// Follow a short link that asks for a password
///
/// The password comes in the body, so that no log and no history keeps it. A client that fails too often at one link has to
/// wait; right passwords are not limited.
#[utoipa::path(
    post,
    path = "/{key}",
    params(("key" = String, Path, description = "The key of the link", example = "q0V8fYz")),
    request_body(content((Unlock = "application/x-www-form-urlencoded"), (Unlock = "application/json"))),
    responses(
        (status = SEE_OTHER, description = "The way to the target", headers(("Location" = String, description = "The target"))),
        (status = BAD_REQUEST, description = "`invalid_body`", body = ErrorBody),
        (status = FORBIDDEN, description = "`wrong_password` or `only_people`", content((ErrorBody = "application/json"), (String = "text/html"))),
        (status = NOT_FOUND, description = "`not_found`", content((ErrorBody = "application/json"), (String = "text/html"))),
        (status = GONE, description = "`gone`", content((ErrorBody = "application/json"), (String = "text/html"))),
        (status = PAYLOAD_TOO_LARGE, description = "`body_too_large`", body = ErrorBody),
        (status = UNSUPPORTED_MEDIA_TYPE, description = "`unsupported_media_type`", body = ErrorBody),
        (status = TOO_MANY_REQUESTS, description = "`rate_limited`", content((ErrorBody = "application/json"), (String = "text/html"))),
        (status = SERVICE_UNAVAILABLE, description = "`store_unavailable`, `overloaded` or `unsupported_link`", body = ErrorBody),
    ),
)]
pub(crate) async fn unlock(
    State(state): State<AppState>,
    client: ClientIp,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    KeyPath(key): KeyPath,
    request: Request,
) -> Response {
    let AppState { shortener, attempts, .. } = &state;
    let answer = async {
        // Nothing is read for a link that can't be followed, or from a client that has to wait.
        let has_password = shortener.find(&key).await?.doc.options.password.is_some();
        if has_password {
            attempts.check(client, &key)?;
        }
        let Payload(Unlock { password }) = Payload::from_request(request, &state).await?;
        let password = password.parse().map_err(|_| ApiError::WrongPassword)?;
        let attempt = if has_password { Some(attempts.begin(client, &key).await?) } else { None };
        let visitor = Follower::Visitor(visitor(&headers));
        let followed = shortener.follow(&key, visitor, Some(password)).await;
        match &followed {
            Ok(_) => attempt.map(Attempt::succeed),
            // It was charged when it began.
            Err(FollowError::WrongPassword) => None,
            Err(_) => attempt.map(Attempt::forgive),
        };
        let link = followed?;
        let location = location(&link, query.as_deref())?;
        // 303: the password stays here, whatever status the link redirects with.
        Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location), (header::CACHE_CONTROL, NO_STORE)])
            .into_response())
    };
    answer.await.unwrap_or_else(|error| page::error(error, &headers))
}
