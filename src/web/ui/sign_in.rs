//! `/ui/sign-in` and `/ui/sign-out`: start and end a session.

use askama::Template;
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{form::sentence, frame::Frame, see_other, session::set_cookie};
use crate::web::{
    extract::{
        body::{Payload, Query},
        client::ClientIp,
        ids::RequestId,
        service_url::ServiceUrl,
    },
    respond::{
        error::ApiError,
        page::{page, page_of_error},
    },
    state::AppState,
};

/// The query parameters of the page.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct SignInQuery {
    /// The page to show after signing in.
    next: String,
}

/// The sign-in form.
#[derive(Deserialize)]
pub(crate) struct SignInForm {
    token: String,
    #[serde(default)]
    next: String,
}

#[derive(Template)]
#[template(path = "sign_in.html", config = "src/web/ui/askama.toml")]
struct SignInPage<'a> {
    title: &'static str,
    frame: Frame,
    next: &'a str,
    error: Option<String>,
}

/// `GET /ui/sign-in`: shows the sign-in form.
pub(crate) async fn show(frame: Frame, Query(query): Query<SignInQuery>) -> Response {
    let next = &query.next;
    page(&SignInPage { title: "Sign in", frame: frame.at("sign-in"), next, error: None })
}

/// `POST /ui/sign-in`: starts a session.
pub(crate) async fn sign_in(
    State(state): State<AppState>,
    frame: Frame,
    client: ClientIp,
    request_id: RequestId,
    ServiceUrl(base_url): ServiceUrl,
    Payload(form): Payload<SignInForm>,
) -> Response {
    match begin(&state, client, &request_id, &form.token).await {
        Ok((cookie, seconds)) => {
            let mut response = see_other(next_page(&frame.root, form.next));
            let cookie = set_cookie(base_url.is_https(), &cookie, seconds);
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            response
        }
        Err(cause) => {
            let error = match cause {
                ApiError::Unauthorized => {
                    "This token was not accepted. It may be mistyped, expired or removed.".into()
                }
                ApiError::RateLimited(_) => {
                    "Too many tokens were refused. Wait a minute, then try again.".into()
                }
                ref cause => sentence(cause),
            };
            let (next, frame) = (form.next.as_str(), frame.at("sign-in"));
            page_of_error(cause, &SignInPage { title: "Sign in", frame, next, error: Some(error) })
        }
    }
}

/// Starts a session, and returns its cookie and lifetime in seconds.
///
/// A refused token counts towards the client's limit on failed authentication.
async fn begin(
    state: &AppState,
    client: ClientIp,
    request_id: &RequestId,
    token: &str,
) -> Result<(String, i64), ApiError> {
    let (tokens, now) = (state.tokens(), state.shortener.clock.now());
    let found = tokens.find(token.trim(), now);
    let token = found.map_err(|refused| state.token_failures.refuse(&refused.into(), client, request_id))?;
    let begun = state.sessions.begin(&state.links, token, now).await;
    let (cookie, end) = begun.map_err(ApiError::Store)?;
    let (token, request_id, ClientIp(client_ip)) = (token.name.as_str(), request_id.as_str(), client);
    tracing::info!(token, request_id, %client_ip, "signed in");
    Ok((cookie, end.as_second() - now.as_second()))
}

/// Returns `next` if it is safe, or the path of the link list.
fn next_page(root: &str, next: String) -> String {
    // Browsers treat a path that starts with `//` or `/\` as a URL on another host.
    let is_own =
        next.starts_with(root) && !next.contains("//") && next.bytes().all(|byte| byte.is_ascii_graphic());
    if is_own && !next.contains('\\') { next } else { format!("{root}ui/links") }
}

/// `POST /ui/sign-out`: deletes the session cookie.
pub(crate) async fn sign_out(frame: Frame, ServiceUrl(base_url): ServiceUrl) -> impl IntoResponse {
    let mut response = see_other(frame.form);
    response.headers_mut().insert(header::SET_COOKIE, set_cookie(base_url.is_https(), "", 0));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_belongs_to_this_service() {
        for (next, expected) in [
            ("/s/ui/links/a?range=7", "/s/ui/links/a?range=7"),
            ("/s/", "/s/"),
            ("", "/s/ui/links"),
            ("/other", "/s/ui/links"),
            ("//evil.example", "/s/ui/links"),
            ("/s//evil.example", "/s/ui/links"),
            ("/s/\\evil.example", "/s/ui/links"),
            ("https://evil.example", "/s/ui/links"),
            ("/s/\r\nx", "/s/ui/links"),
        ] {
            assert_eq!(next_page("/s/", next.into()), expected, "{next}");
        }
    }
}
