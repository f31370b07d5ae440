//! HTML pages, with a Content-Security-Policy that allows only the service's own files.

use askama::Template;
use axum::{
    body::Body,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    link::Key,
    web::{
        extract::accept::preferred,
        respond::error::{ApiError, Failed},
        state::AppState,
        ui::frame::Frame,
    },
};

/// The Content-Security-Policy for most pages, which allows only the service's own resources.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// The Content-Security-Policy for the password page, whose form redirects to the target.
const PASSWORD_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self' http: https:; \
     base-uri 'none'; frame-ancestors 'none'",
);

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Returns a page that must not be cached.
pub(crate) fn page(template: &impl Template) -> Response {
    let html = match template.render() {
        Ok(html) => html,
        Err(error) => return ApiError::Internal(error.into()).into_response(),
    };
    let mut response = Response::new(Body::from(html));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Cookie"));
    response.headers_mut().insert(header::CONTENT_TYPE, HTML);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// Returns an error response with a custom page as its body.
pub(crate) fn page_of_error(error: ApiError, template: &impl Template) -> Response {
    let page = page(template);
    let mut response = error.into_response();
    *response.body_mut() = page.into_body();
    response.headers_mut().insert(header::CONTENT_TYPE, HTML);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// Returns whether the client prefers an HTML page to JSON.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    preferred(headers, &["application/json", "text/html"]) == "text/html"
}

#[derive(Template)]
#[template(path = "error.html", config = "src/web/ui/askama.toml")]
struct ErrorPage<'a> {
    title: &'a str,
    frame: Frame,
    text: &'a str,
    /// True for an error about a link. The page then shows the abuse contact.
    is_of_link: bool,
    offer: Option<Offer>,
}

/// A suggested next step, shown as a button.
struct Offer {
    href: String,
    label: String,
}

#[derive(Template)]
#[template(path = "password.html", config = "src/web/ui/askama.toml")]
struct PasswordPage {
    title: &'static str,
    frame: Frame,
    is_wrong: bool,
}

/// Renders errors as pages for browsers, without changing the status.
pub(crate) async fn show_errors(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let parts = is_wanted(request.headers()).then(|| head_of(&request));
    show_error(next.run(request).await, parts, &state).await
}

/// Renders a response's error as a page, if `parts` is given.
///
/// `parts` is the head of the request, or `None` if the client is not a browser.
pub(crate) async fn show_error(mut response: Response, parts: Option<Parts>, state: &AppState) -> Response {
    let Some(Failed(error)) = response.extensions().get().cloned() else { return response };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    let is_page = response.headers().get(header::CONTENT_TYPE) == Some(&HTML);
    if let Some(mut parts) = parts
        && !is_page
        && let Ok((html, policy)) = render(&error, &mut parts, state).await
    {
        *response.body_mut() = Body::from(html);
        response.headers_mut().insert(header::CONTENT_TYPE, HTML);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn head_of(request: &Request) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = request.uri().clone();
    parts.headers = request.headers().clone();
    parts
}

async fn render(
    error: &ApiError,
    parts: &mut Parts,
    state: &AppState,
) -> askama::Result<(String, HeaderValue)> {
    let Ok(frame) = Frame::from_request_parts(parts, state).await;
    let sentence = error.to_string();
    let mut offer = None;
    let (title, text) = match error {
        ApiError::PasswordNeeded | ApiError::WrongPassword => {
            let is_wrong = matches!(error, ApiError::WrongPassword);
            let html = PasswordPage { title: "Password required", frame, is_wrong }.render()?;
            return Ok((html, PASSWORD_POLICY));
        }
        ApiError::NotFound => {
            offer = offer_for_unknown_key(parts, state, &frame).await;
            ("Not found", "This short link does not exist. Check that you typed or copied all of it.")
        }
        ApiError::Gone => {
            ("No longer available", "This short link has expired, is used up, or was taken down.")
        }
        ApiError::Unauthorized => {
            ("API token required", "This address is for programs, which need an API token.")
        }
        ApiError::Forbidden => ("Not allowed", "Your token can view links, but not change them."),
        ApiError::CrossOrigin => (
            "Request blocked",
            "Another website sent this form, so nothing was changed. Go back and try again from this website.",
        ),
        ApiError::MethodNotAllowed => {
            ("Not possible here", "This address does not accept this kind of request.")
        }
        ApiError::RateLimited(_) => ("Too many attempts", "Please wait a moment before you try again."),
        ApiError::Store(_) => {
            ("Temporarily unavailable", "The service can't reach its link store. Please try again shortly.")
        }
        ApiError::Overloaded => ("Busy", "The service is busy. Please try again shortly."),
        ApiError::Timeout(_) => ("Timed out", "The service did not respond in time. Please try again."),
        _ => (error.status().canonical_reason().unwrap_or("Error"), sentence.as_str()),
    };
    let is_of_link = matches!(error, ApiError::NotFound | ApiError::Gone);
    Ok((ErrorPage { title, frame, text, is_of_link, offer }.render()?, POLICY))
}

/// Returns a suggestion for a signed-in user who requested an unknown key.
async fn offer_for_unknown_key(parts: &Parts, state: &AppState, frame: &Frame) -> Option<Offer> {
    let is_followed = matches!(parts.method, Method::GET | Method::HEAD) && frame.user.is_some();
    let key: Key = parts.uri.path().strip_prefix('/')?.parse().ok().filter(|_| is_followed)?;
    let (root, form) = (&frame.root, &frame.form);
    match state.links.find(&key).await {
        // The link exists but has not started yet, so visitors get a 404.
        Ok(Some(_)) => {
            Some(Offer { href: format!("{root}ui/links/{key}"), label: "Show the link with this key".into() })
        }
        Ok(None) if frame.may_write() => {
            Some(Offer { href: format!("{form}?key={key}"), label: format!("Create the link “{key}”") })
        }
        _ => None,
    }
}
