//! The web UI, which calls the same use cases as the API.
//!
//! Pages are rendered on the server and work without scripts. Every path has at least two segments, as in `/ui/links`,
//! so that `ui` can be the key of a link. The pages are not part of the OpenAPI document. After a successful
//! submission, the browser is redirected to a page that shows the result, so that a reload doesn't repeat the change.
//! After a failed submission, the form is shown again, still filled in, and the response has the error's status.

pub(crate) mod assets;
mod blocked_hosts;
mod chart;
mod fields;
mod form;
pub(crate) mod frame;
mod link;
mod links;
pub(crate) mod new;
pub(crate) mod session;
mod sign_in;
mod words;

use axum::{
    Router,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use super::{respond::error::ApiError, state::AppState};
use crate::config::Config;

/// Returns the routes of the UI's pages and assets.
///
/// The assets are served even if the UI is disabled, because error pages use them.
pub(crate) fn routes(state: &AppState) -> Router<AppState> {
    let assets = Router::new().route("/ui/assets/{name}", get(assets::show));
    if !state.config.access.ui {
        return assets;
    }
    let pages = Router::new()
        .route("/ui/new", get(new::open).post(new::create))
        .route("/ui/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/ui/sign-out", post(sign_in::sign_out))
        .route("/ui/links", get(links::show))
        .route("/ui/links/{key}", get(link::show).post(link::edit::save))
        .route("/ui/links/{key}/stats.csv", get(link::stats))
        .route("/ui/links/{key}/qr", get(link::code))
        .route("/ui/links/{key}/take-down", post(link::stop::take_down))
        .route("/ui/links/{key}/restore", post(link::stop::restore))
        .route("/ui/links/{key}/delete", get(link::stop::confirm_delete).post(link::stop::delete))
        .route("/ui/blocked-hosts", get(blocked_hosts::show).post(blocked_hosts::block))
        .route("/ui/blocked-hosts/unblock", post(blocked_hosts::unblock))
        .layer(same_origin(&state.config));
    assets.merge(pages)
}

/// Returns a layer that refuses forms sent by other websites.
///
/// It checks the `Sec-Fetch-Site` and `Origin` headers.
fn same_origin(
    config: &Config,
) -> CsrfLayer<impl FnMut(ProtectionError) -> Response + Clone + Send + 'static> {
    let layer = CsrfLayer::new();
    // Behind a proxy that changes `Host`, the service knows its own origin only from `BASE_URL`.
    let layer = match &config.server.base_url {
        Some(base_url) => {
            layer.add_trusted_origin(base_url.origin()).expect("a base URL has an http(s) origin")
        }
        None => layer,
    };
    layer.with_rejection_response(|_| ApiError::CrossOrigin.into_response())
}

/// Returns a redirect to a page after a successful form submission.
fn see_other(path: String) -> Response {
    let location = HeaderValue::try_from(path).map_err(|error| ApiError::Internal(error.into()));
    location.map_or_else(IntoResponse::into_response, |location| {
        let headers: [(HeaderName, HeaderValue); 2] =
            [(header::LOCATION, location), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        (StatusCode::SEE_OTHER, headers).into_response()
    })
}
