//! `GET /`: what this is and how to use it.

use axum::{
    http::{HeaderMap, header},
    response::{Html, IntoResponse, Response},
};

use crate::web::extract::{accept::preferred, client::OwnBase};

/// How to use the service
#[utoipa::path(
    get,
    path = "/",
    responses((status = OK, description = "Five lines, or a page for browsers", content(
        (String = "text/plain"),
        (String = "text/html"),
    ))),
)]
pub(crate) async fn home(OwnBase(own): OwnBase, headers: HeaderMap) -> Response {
    let usage = format!(
        "urlshort makes short links.\n\
         Shorten:        curl -d url=https://example.com {own}shorten\n\
         With a key:     curl -d url=https://example.com -d key=mine {own}shorten\n\
         Only the link:  curl -H 'Accept: text/plain' -d url=https://example.com {own}shorten\n\
         Description:    {own}openapi.json\n"
    );
    let vary = [(header::VARY, "Accept"), (header::CACHE_CONTROL, "no-cache")];
    match preferred(&headers, &["text/plain", "text/html"]) {
        "text/html" => (vary, Html(page(&usage))).into_response(),
        _ => (vary, usage).into_response(),
    }
}

/// `usage` holds nothing that HTML would read as markup: a host has no `<`, `>` or `&` in it.
fn page(usage: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>urlshort</title></head>\
         <body><main><h1>urlshort</h1><pre>{usage}</pre></main></body></html>\n"
    )
}
