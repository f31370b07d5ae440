//! `GET /`: the home page for browsers, and usage instructions for other clients.

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::web::{
    extract::{accept::preferred, body::Query, service_url::ServiceUrl},
    respond::{error::ApiError, fallback::redirect_to, page::page},
    state::AppState,
    ui::{
        frame::Frame,
        new::{self, HomeQuery},
    },
};

/// The home page without a form, for a service whose UI is disabled.
#[derive(Template)]
#[template(path = "usage.html", config = "src/web/ui/askama.toml")]
struct UsagePage {
    title: &'static str,
    frame: Frame,
    usage: String,
}

/// Show how to use the service
#[utoipa::path(
    get,
    path = "/",
    responses(
        (status = OK, description = "Usage in five lines, or a page for browsers", content(
            (String = "text/plain"),
            (String = "text/html"),
        )),
        (status = FOUND, description = "Redirect to `HOME_URL`, for browsers", headers(("Location" = String))),
    ),
)]
pub(crate) async fn home(
    State(state): State<AppState>,
    ServiceUrl(base_url): ServiceUrl,
    frame: Frame,
    headers: HeaderMap,
    query: Result<Query<HomeQuery>, ApiError>,
) -> Response {
    let usage = usage(&base_url.to_string());
    if preferred(&headers, &["text/plain", "text/html"]) == "text/plain" {
        return ([(header::VARY, "Accept"), (header::CACHE_CONTROL, "no-cache")], usage).into_response();
    }
    if let Some(fallback) = state.shortener.home_fallback(&base_url) {
        return redirect_to(StatusCode::FOUND, &fallback);
    }
    if !state.config.access.ui {
        return page(&UsagePage { title: "urlshort", frame, usage });
    }
    let query = query.map(|Query(query)| query).unwrap_or_default();
    new::show(&state, &base_url, frame, query).await
}

/// Returns five lines of usage instructions, for a terminal.
pub(crate) fn usage(base_url: &str) -> String {
    format!(
        "urlshort shortens links.\n\
         Shorten:        curl -d url=https://example.com {base_url}shorten\n\
         With a key:     curl -d url=https://example.com -d key=mine {base_url}shorten\n\
         As plain text:  curl -H 'Accept: text/plain' -d url=https://example.com {base_url}shorten\n\
         API document:   {base_url}openapi.json\n"
    )
}
