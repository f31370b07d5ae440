//! `GET /{key}`: follows a short link.
//!
//! This is the hot path of the service.

use axum::{
    body::Body,
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts},
    response::Response,
};
use jiff::Timestamp;
use utoipa::IntoResponses;

use crate::{
    base_url::BaseUrl,
    link::{Key, Link},
    shortener::{FollowError, Follower, Shortener},
    web::{
        extract::{
            link_key::{LinkKey, ShortPath},
            service_url::ServiceUrl,
            visitor::visitor,
        },
        respond::{
            error::{ApiError, ErrorBody, ErrorResponses},
            fallback::redirect_to,
            page,
        },
        routes::preview::{PreviewBody, preview},
        state::AppState,
        ui::frame::Frame,
    },
};

/// The `Cache-Control` value for most redirects, which can change and must be counted.
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The cache lifetime of a permanent redirect, in seconds.
///
/// An edit can take this long to reach a client that has cached the redirect.
const PERMANENT: i64 = 24 * 60 * 60;

/// The route, as named in metrics and logs.
pub(crate) const ROUTE: &str = "/{key}";

/// The initial capacity for the headers of a redirect.
///
/// A complete redirect has at most this many headers, so the map never has to grow.
pub(crate) const HEADERS: usize = 8;

/// The errors that clients must distinguish, for the OpenAPI document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document is generated from the declaration")]
pub(crate) enum FollowErrors {
    /// `password_needed`, `wrong_password` or `only_people`
    #[response(status = FORBIDDEN)]
    Forbidden(ErrorBody),
    /// `not_found`: no link has this key
    #[response(status = NOT_FOUND)]
    NotFound(ErrorBody),
    /// `gone`: the link has expired, is used up, or was taken down
    #[response(status = GONE)]
    Gone(ErrorBody),
}

/// Follow a short link
///
/// HEAD returns the same headers and is never counted as a visit. With a `+` after the key, the response shows the
/// target instead of redirecting to it: as a page for browsers, and as JSON for other clients. A link that can't be
/// followed can't be previewed either. Only people can follow a link with a visit limit: HEAD requests, prefetches and
/// bots, including those that fetch link previews, get 403 `only_people`. Instead of a 404 or 410, browsers may get a
/// 302 to a fallback page: see `NOT_FOUND_URL`, `GONE_URL` and `gone_url`.
#[utoipa::path(
    method(get, head),
    path = "/{key}",
    params(LinkKey),
    responses(
        (status = OK, description = "The target, for a key with `+`", content((PreviewBody = "application/json"), (String = "text/html"))),
        (status = "3XX", description = "Redirect to the target with the status of the link: 301, 302, 307 or 308", headers(("Location" = String, description = "The target"))),
        FollowErrors,
        ErrorResponses,
    ),
)]
pub(crate) async fn redirect(
    State(state): State<AppState>,
    path: Result<ShortPath, ApiError>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let shortener = &state.shortener;
    match path {
        Ok(ShortPath::Follow(key)) => follow(&key, &mut parts, &state).await,
        // The path is not a valid key.
        Err(error) => {
            let base_url = base_url_for_fallback(&mut parts, &state).await;
            let fallback =
                base_url.and_then(|base_url| shortener.fallback(&FollowError::NotFound, &base_url));
            fallback.map(|fallback| redirect_to(StatusCode::FOUND, &fallback)).ok_or(error)
        }
        Ok(ShortPath::Preview(key)) => {
            let ServiceUrl(base_url) = ServiceUrl::from_request_parts(&mut parts, &state).await?;
            let Ok(frame) = Frame::from_request_parts(&mut parts, &state).await;
            preview(shortener, &base_url, &key, &follower(&parts), &parts.headers, frame).await
        }
    }
}

fn follower(parts: &Parts) -> Follower {
    match parts.method {
        Method::HEAD => Follower::Preview,
        _ => Follower::Visitor(visitor(&parts.headers)),
    }
}

/// Follows a link, or redirects a browser to a fallback page.
///
/// # Errors
/// The reason that the link can't be followed, if there is no fallback.
pub(crate) async fn follow(key: &Key, parts: &mut Parts, state: &AppState) -> Result<Response, ApiError> {
    let shortener = &state.shortener;
    match shortener.follow(key, || follower(parts), None).await {
        Ok(link) => to_target(&link, parts.uri.query(), shortener, HeaderMap::with_capacity(HEADERS)),
        Err(error) => {
            let base_url = base_url_for_fallback(parts, state).await;
            Ok(redirect_to(StatusCode::FOUND, &shortener.refuse(error, base_url.as_ref())?))
        }
    }
}

/// Returns the base URL for a browser, or `None` for other clients.
///
/// Only browsers are redirected to fallback pages.
pub(crate) async fn base_url_for_fallback(parts: &mut Parts, state: &AppState) -> Option<BaseUrl> {
    if !page::is_wanted(&parts.headers) {
        return None;
    }
    ServiceUrl::from_request_parts(parts, state).await.ok().map(|ServiceUrl(base_url)| base_url)
}

/// Returns a link's redirect, with these additional headers.
pub(crate) fn to_target(
    link: &Link,
    query: Option<&str>,
    shortener: &Shortener,
    mut headers: HeaderMap,
) -> Result<Response, ApiError> {
    headers.insert(header::LOCATION, location(link, query)?);
    headers.insert(header::CACHE_CONTROL, cache_control(link, || shortener.clock.now()));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(link.doc.options.redirect.code())
        .map_err(|error| ApiError::Internal(error.into()))?;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Returns the target, with `query` appended if the link forwards queries.
pub(crate) fn location(link: &Link, query: Option<&str>) -> Result<HeaderValue, ApiError> {
    let location = match query.filter(|query| link.doc.options.forward_query && !query.is_empty()) {
        Some(query) => HeaderValue::from_str(&link.doc.target.with_query(query)),
        None => HeaderValue::from_str(link.doc.target.as_str()),
    };
    location.map_err(|error| ApiError::Internal(error.into()))
}

/// Returns the `Cache-Control` value for a redirect.
///
/// Only permanent redirects without a visit limit can be cached, and only until the link expires.
fn cache_control(link: &Link, now: impl Fn() -> Timestamp) -> HeaderValue {
    let options = &link.doc.options;
    if !options.redirect.is_permanent() || options.max_visits.is_some() {
        return NO_STORE;
    }
    let left = options.expires_at.map_or(PERMANENT, |expiry| expiry.as_second() - now().as_second());
    HeaderValue::from_str(&format!("private, max-age={}", left.clamp(0, PERMANENT))).unwrap_or(NO_STORE)
}
