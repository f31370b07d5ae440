//! `GET /`: how to use the service.

use askama::Template;
use axum::{
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use crate::web::{
    extract::{accept::preferred, service_url::ServiceUrl},
    respond::page::page,
};

#[derive(Template)]
#[template(path = "home.html", config = "src/web/ui/askama.toml")]
struct HomePage {
    title: &'static str,
    usage: String,
}

/// Show how to use the service
#[utoipa::path(
    get,
    path = "/",
    responses((status = OK, description = "Five lines, or a page for browsers", content(
        (String = "text/plain"),
        (String = "text/html"),
    ))),
)]
pub(crate) async fn home(ServiceUrl(base_url): ServiceUrl, headers: HeaderMap) -> Response {
    let usage = format!(
        "urlshort makes short links.\n\
         Shorten:        curl -d url=https://example.com {base_url}shorten\n\
         With a key:     curl -d url=https://example.com -d key=mine {base_url}shorten\n\
         Only the link:  curl -H 'Accept: text/plain' -d url=https://example.com {base_url}shorten\n\
         Description:    {base_url}openapi.json\n"
    );
    if preferred(&headers, &["text/plain", "text/html"]) == "text/html" {
        return page(&HomePage { title: "urlshort", usage });
    }
    ([(header::VARY, "Accept"), (header::CACHE_CONTROL, "no-cache")], usage).into_response()
}
