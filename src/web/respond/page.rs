//! Pages for browsers: self-contained, accessible, without scripts, under a policy that allows nothing else.

use askama::Template;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::web::{
    extract::accept::preferred,
    respond::error::{ApiError, Failed},
};

/// Nothing but the style of the layout, by its hash; a form may be sent here, and lead on to any target.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'sha256-Xv1xMjm+jKYlKI6QiffaZp5BmmGxZI9JYaXIoHqNv0k='; form-action 'self' http: https:; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// Returns a page, which is not cached.
pub(crate) fn page(template: &impl Template) -> Response {
    let html = match template.render() {
        Ok(html) => html,
        Err(error) => return ApiError::Internal(error.into()).into_response(),
    };
    let mut response = Response::new(Body::from(html));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    set_page_headers(response.headers_mut());
    response
}

fn set_page_headers(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
}

/// Returns whether the client prefers a page to JSON.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    preferred(headers, &["application/json", "text/html"]) == "text/html"
}

#[derive(Template)]
#[template(path = "error.html", config = "src/web/ui/askama.toml")]
struct ErrorPage<'a> {
    title: &'a str,
    text: &'a str,
}

#[derive(Template)]
#[template(path = "password.html", config = "src/web/ui/askama.toml")]
struct PasswordPage {
    title: &'static str,
    is_wrong: bool,
}

/// Middleware: shows errors to browsers as pages, with the same status and headers.
pub(crate) async fn show_errors(request: Request, next: Next) -> Response {
    let is_wanted = is_wanted(request.headers());
    let mut response = next.run(request).await;
    let Some(Failed(error)) = response.extensions().get().cloned() else { return response };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    if is_wanted && let Ok(html) = render(&error) {
        *response.body_mut() = Body::from(html);
        set_page_headers(response.headers_mut());
    }
    response
}

fn render(error: &ApiError) -> askama::Result<String> {
    let sentence = error.to_string();
    let (title, text) = match error {
        ApiError::PasswordNeeded | ApiError::WrongPassword => {
            let is_wrong = matches!(error, ApiError::WrongPassword);
            return PasswordPage { title: "Password needed", is_wrong }.render();
        }
        ApiError::NotFound => ("Not found", "There is no such short link. Was it typed or copied in full?"),
        ApiError::Gone => ("No longer there", "This short link has expired, was used up, or was taken down."),
        ApiError::RateLimited(_) => ("Too many attempts", "Please wait a moment before you try again."),
        _ => (error.status().canonical_reason().unwrap_or("Error"), sentence.as_str()),
    };
    ErrorPage { title, text }.render()
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_allows_the_style_of_the_layout() {
        let html = render(&ApiError::NotFound).unwrap();
        let (_, rest) = html.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        let expected = format!("style-src 'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(style)));
        assert!(POLICY.to_str().unwrap().contains(&expected), "{expected}");
    }

    #[test]
    fn text_can_not_become_markup() {
        let html = ErrorPage { title: "<a>", text: "<a href=\"'&'\">" }.render().unwrap();
        assert!(!html.contains("<a"), "{html}");
    }
}
