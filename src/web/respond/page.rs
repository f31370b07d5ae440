//! Small pages for browsers: self-contained, accessible, without scripts, under a policy that allows nothing else.

use std::fmt;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{Html, IntoResponse, Response},
};

use crate::web::{extract::accept::preferred, respond::error::ApiError};

/// The style of every page; the policy names it by its hash.
const STYLE: &str = ":root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;\
                     margin:10vh auto;padding:0 1rem;overflow-wrap:anywhere}input,button{font:inherit;padding:.4rem .8rem}";

/// Nothing but that style; a form may be sent here, and lead on to wherever a link leads.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'sha256-gcgsFfZW0xOzSRreCXWqqhkudbudVRN/WONy/gqVEAg='; form-action 'self' http: https:; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// A page with this title and content, which is HTML already.
pub(crate) fn page(title: &str, content: impl fmt::Display) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::VARY, HeaderValue::from_static("Accept")),
    ];
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n{content}</main>\n</body>\n</html>\n",
        title = Escaped(title),
    );
    (HEADERS, Html(html)).into_response()
}

/// Whether whoever asks would rather read a page than JSON.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    preferred(headers, &["application/json", "text/html"]) == "text/html"
}

/// `error` as a page where a browser asks, in the common envelope otherwise.
pub(crate) fn error(error: ApiError, headers: &HeaderMap) -> Response {
    let wanted = is_wanted(headers);
    let (title, content) = match &error {
        ApiError::NotFound if wanted => {
            ("Not found", "<p>There is no such short link. Was it typed or copied in full?</p>\n".to_owned())
        }
        ApiError::Gone if wanted => (
            "No longer there",
            "<p>This short link has expired, was used up, or was taken down.</p>\n".to_owned(),
        ),
        ApiError::PasswordNeeded if wanted => ("Password needed", password_form("")),
        ApiError::WrongPassword if wanted => {
            ("Password needed", password_form("<p role=\"alert\">That password is wrong.</p>\n"))
        }
        ApiError::RateLimited(_) if wanted => {
            ("Too many attempts", "<p>Please wait a moment before you try again.</p>\n".to_owned())
        }
        _ => {
            let mut response = error.into_response();
            response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
            return response;
        }
    };
    let mut envelope = error.into_response();
    let mut response = page(title, content);
    *response.status_mut() = envelope.status();
    if let Some(wait) = envelope.headers_mut().remove(header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    response
}

/// Sent to the page's own address, and never as part of one.
fn password_form(notice: &str) -> String {
    format!(
        "{notice}<form method=\"post\">\n<p><label for=\"password\">This short link asks for a password.</label></p>\n\
         <p><input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"off\" required autofocus \
         maxlength=\"128\">\n<button type=\"submit\">Go on</button></p>\n</form>\n"
    )
}

/// Text as HTML shows it and nothing else.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                other => write!(formatter, "{other}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// Base 64 (RFC 4648, section 4).
    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = |chunk: &[u8]| {
            let bits =
                [0, 1, 2].iter().fold(0, |bits, at| bits << 8 | u32::from(*chunk.get(*at).unwrap_or(&0)));
            let digit = |at: usize| char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]);
            [0, 1, 2, 3].map(|at| if at <= chunk.len() { digit(at) } else { '=' })
        };
        bytes.chunks(3).flat_map(digits).collect()
    }

    #[test]
    fn the_policy_allows_the_style_that_is_there() {
        let expected = format!("style-src 'sha256-{}'", base64(&Sha256::digest(STYLE)));
        assert!(POLICY.to_str().unwrap().contains(&expected), "{expected}");
    }

    #[test]
    fn text_can_not_become_markup() {
        assert_eq!(Escaped("<a href=\"'&'\">").to_string(), "&lt;a href=&quot;&#39;&amp;&#39;&quot;&gt;");
    }
}
