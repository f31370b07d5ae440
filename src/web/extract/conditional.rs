//! Entity tags of links, and the conditions that clients put on them (RFC 9110, sections 8.8.3 and 13.1).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{link::Link, web::respond::error::ApiError};

/// The entity tag of a link: another for each version, and for a link that took the place of one that was removed.
pub(crate) fn etag(link: &Link) -> HeaderValue {
    let text = format!("\"{:x}-{}\"", link.created_at.as_millisecond(), link.version);
    HeaderValue::from_str(&text).expect("hexadecimal digits make a header")
}

/// What a client has seen of a link that it wants to change.
pub(crate) enum Condition {
    /// Whatever it is like.
    Any,
    /// One of these.
    Seen(Vec<String>),
}

impl Condition {
    /// Reads `If-Match`.
    ///
    /// Only a missing field is no condition. One that is empty or can't be read lists no tag that could match, so it holds
    /// for no link: its client wants to be protected from changes by others.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let tags = list(headers, &header::IF_MATCH);
        let is_any = !headers.contains_key(header::IF_MATCH) || tags == ["*"];
        if is_any { Self::Any } else { Self::Seen(tags) }
    }

    /// Checks that `link` is what the client has seen.
    ///
    /// # Errors
    /// [`ApiError::Changed`].
    pub(crate) fn check(&self, link: &Link) -> Result<(), ApiError> {
        if self.holds(link) { Ok(()) } else { Err(ApiError::Changed) }
    }

    /// Returns whether `link` is what the client has seen. Weak tags never match.
    fn holds(&self, link: &Link) -> bool {
        match self {
            Self::Any => true,
            Self::Seen(tags) => tags.iter().any(|tag| etag(link) == tag.as_str()),
        }
    }
}

/// Whether the client has this representation of `link` already, by `If-None-Match`.
pub(crate) fn is_known(headers: &HeaderMap, link: &Link) -> bool {
    let tags = list(headers, &header::IF_NONE_MATCH);
    tags.iter().any(|tag| tag == "*" || etag(link) == tag.strip_prefix("W/").unwrap_or(tag))
}

/// The elements of a list of entity tags; those that this service gives out have no comma in them.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    tags.filter(|tag| !tag.is_empty()).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_for_what_was_seen() {
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
            assert_eq!(Condition::from_headers(&headers).holds(&link), holds, "{value:?}");
        }
        assert!(Condition::from_headers(&HeaderMap::new()).holds(&link));
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, "W/\"0-1\"".parse().unwrap())]);
        assert!(is_known(&headers, &link));
        assert!(!is_known(&HeaderMap::new(), &link));
    }
}
