//! Entity tags of links, and conditional requests (RFC 9110, sections 8.8.3 and 13.1).

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};
use utoipa::IntoParams;

use crate::{
    link::Link,
    web::{respond::error::ApiError, state::AppState},
};

/// Returns a link's entity tag.
///
/// The tag changes with each version of the link, and when a key is reused after its link was deleted.
pub(crate) fn etag(link: &Link) -> HeaderValue {
    HeaderValue::from_str(&etag_text(link)).expect("hexadecimal digits make a header")
}

/// Returns a link's entity tag as text, for a form field.
pub(crate) fn etag_text(link: &Link) -> String {
    format!("\"{:x}-{}\"", link.created_at.as_millisecond(), link.version)
}

/// The `If-Match` condition of a change.
///
/// Without the header, there is no condition. An empty or unreadable header matches no link, because the client asked
/// to be protected from concurrent changes. The typed header in `axum-extra` is not used: it asserts that tags contain
/// no spaces, but a client can send a tag with a space.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfMatch {
    /// Change the link only if this is its current entity tag
    #[param(rename = "If-Match", value_type = Option<String>)]
    tags: Option<Vec<String>>,
}

/// The `If-None-Match` condition of a read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfNoneMatch {
    /// Return 304 if this is the current entity tag of the link
    #[param(rename = "If-None-Match", value_type = Option<String>)]
    tags: Vec<String>,
}

impl IfMatch {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let tags = list(headers, &header::IF_MATCH);
        let is_any = !headers.contains_key(header::IF_MATCH) || tags == ["*"];
        Self { tags: if is_any { None } else { Some(tags) } }
    }

    /// Checks that `link` is the version that the client has seen.
    ///
    /// # Errors
    /// [`ApiError::Changed`] if the client has seen another version.
    pub(crate) fn check(&self, link: &Link) -> Result<(), ApiError> {
        if self.holds(link) { Ok(()) } else { Err(ApiError::Changed) }
    }

    /// Returns whether `link` meets the condition. Weak tags never match.
    fn holds(&self, link: &Link) -> bool {
        self.tags.as_ref().is_none_or(|tags| tags.iter().any(|tag| etag(link) == tag.as_str()))
    }
}

impl IfNoneMatch {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        Self { tags: list(headers, &header::IF_NONE_MATCH) }
    }

    /// Returns whether the client has cached this version of `link`.
    pub(crate) fn matches(&self, link: &Link) -> bool {
        self.tags.iter().any(|tag| tag == "*" || etag(link) == tag.strip_prefix("W/").unwrap_or(tag))
    }
}

impl FromRequestParts<AppState> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Infallible> {
        Ok(Self::from_headers(&parts.headers))
    }
}

impl FromRequestParts<AppState> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Infallible> {
        Ok(Self::from_headers(&parts.headers))
    }
}

/// Returns the entity tags in a header.
///
/// Splitting at commas is safe, because this service's own tags contain no commas.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    tags.filter(|tag| !tag.is_empty()).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_only_for_the_current_tag() {
        let link = Link::new(
            "k".parse().unwrap(),
            "https://a.example".parse().unwrap(),
            jiff::Timestamp::UNIX_EPOCH,
        );
        for (value, holds) in [
            ("*", true),
            ("\"0-1\"", true),
            ("\"x\", \"0-1\"", true),
            ("\"0-2\"", false),
            ("W/\"0-1\"", false),
            ("0-1", false),
            ("", false),
            (" , ", false),
            ("\u{e9}", false),
            ("\"x\", *", false),
        ] {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(header::IF_MATCH, value.clone())]);
            assert_eq!(IfMatch::from_headers(&headers).holds(&link), holds, "{value:?}");
        }
        assert!(IfMatch::from_headers(&HeaderMap::new()).holds(&link));
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, "W/\"0-1\"".parse().unwrap())]);
        assert!(IfNoneMatch::from_headers(&headers).matches(&link));
        assert!(!IfNoneMatch::from_headers(&HeaderMap::new()).matches(&link));
    }
}
