//! The target of a link: the URL that it redirects to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use url::Url;

use super::parsed;

/// The absolute `http` or `https` URL that a link redirects to.
///
/// It's normalised according to the WHATWG URL standard. The result is ASCII without spaces or control characters, so
/// it's always a valid `Location` header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Target(Box<str>);

/// The error for an invalid target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidTarget {
    /// The text is not an absolute `http` or `https` URL.
    #[error("a valid http(s) url is required")]
    NotHttp,
    /// The URL has a user name or password. Such links leak secrets or deceive visitors.
    #[error("a url with a user name or password is not accepted")]
    Credentials,
    /// The URL is longer than [`Target::MAX_LEN`] after normalisation.
    #[error("a url of at most {} bytes is required", Target::MAX_LEN)]
    TooLong,
}

impl Target {
    /// The maximum length after normalisation, in bytes.
    pub(crate) const MAX_LEN: usize = 2048;

    /// The maximum length of unparsed input, in bytes.
    ///
    /// Normalisation can shorten a URL, but rarely by this much.
    const MAX_TEXT: usize = 8 * Self::MAX_LEN;

    /// Returns the normalised URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host without trailing dots. An IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        let (_, rest) = self.0.split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let end = match authority.rfind(']') {
            Some(bracket) => bracket + 1,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        authority[..end].trim_end_matches('.')
    }

    /// Returns the URL with `query` appended to its own query.
    pub fn with_query(&self, query: &str) -> String {
        let mut url = self.to_url();
        match url.query().filter(|old| !old.is_empty()).map(|old| format!("{old}&{query}")) {
            Some(both) => url.set_query(Some(&both)),
            None => url.set_query(Some(query)),
        }
        url.into()
    }

    pub fn to_url(&self) -> Url {
        Url::parse(&self.0).expect("a target is a URL by construction")
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    /// Parses and normalises a URL according to the [WHATWG URL standard](https://url.spec.whatwg.org/).
    ///
    /// The host becomes lower case and punycode. The default port, dot segments and surrounding white space are
    /// dropped.
    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if text.len() > Self::MAX_TEXT {
            return Err(InvalidTarget::TooLong);
        }
        if text.len() <= Self::MAX_LEN && is_normalised(text) {
            return Ok(Self(text.into()));
        }
        let url = Url::parse(text).map_err(|_| InvalidTarget::NotHttp)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidTarget::NotHttp);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidTarget::Credentials);
        }
        if url.as_str().len() > Self::MAX_LEN {
            return Err(InvalidTarget::TooLong);
        }
        Ok(Self(String::from(url).into_boxed_str()))
    }
}

/// Returns true only if a URL is certainly normalised.
///
/// For such URLs, the caller skips the URL parser, because parsing took an eighth of the time needed to list links.
fn is_normalised(text: &str) -> bool {
    let after_scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some((host, path)) = after_scheme.and_then(|rest| rest.split_once('/')) else { return false };
    let is_host = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let is_path = |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b'?' | b'=' | b'&');
    // A host whose last label starts with a letter can't be an IPv4 address.
    host.bytes().all(is_host)
        && host
            .rsplit('.')
            .next()
            .is_some_and(|label| label.starts_with(|first: char| first.is_ascii_lowercase()))
        && !(host.starts_with('.') || host.contains("..") || host.contains("xn--"))
        && path.bytes().all(is_path)
        && !(path.starts_with('.') || path.contains("/."))
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_target_is_normalised() {
        for (given, stored) in [
            ("https://example.com", "https://example.com/"),
            ("HTTP://EXAMPLE.com:80/a/../b", "http://example.com/b"),
            ("  https://example.com/x y\n", "https://example.com/x%20y"),
            ("https://bücher.example/ü?q=ü#ü", "https://xn--bcher-kva.example/%C3%BC?q=%C3%BC#%C3%BC"),
            ("https://0x7f.1/", "https://127.0.0.1/"),
            ("https:example.com", "https://example.com/"),
            ("https://example.com/\r\nSet-Cookie:a=b", "https://example.com/Set-Cookie:a=b"),
        ] {
            assert_eq!(given.parse::<Target>().unwrap().as_str(), stored, "{given:?}");
        }
    }

    #[test]
    fn a_target_that_is_not_an_http_url_is_refused() {
        for text in [
            "",
            "example.com",
            "/path",
            "//example.com",
            "https://",
            "ftp://example.com",
            "javascript:alert(1)",
        ] {
            assert_eq!(text.parse::<Target>(), Err(InvalidTarget::NotHttp), "{text:?}");
        }
        for text in ["https://user@example.com", "https://user:pw@example.com", "https://:pw@example.com"] {
            assert_eq!(text.parse::<Target>(), Err(InvalidTarget::Credentials), "{text:?}");
        }
    }

    #[test]
    fn the_length_limit_applies_after_normalisation() {
        let prefix = "https://example.com/";
        let fits = format!("{prefix}{}", "a".repeat(Target::MAX_LEN - prefix.len()));
        assert!(fits.parse::<Target>().is_ok());
        assert_eq!(format!("{fits}a").parse::<Target>(), Err(InvalidTarget::TooLong));
        let grows = format!("{prefix}{}", "é".repeat(400));
        assert!(grows.len() < Target::MAX_LEN);
        assert_eq!(grows.parse::<Target>(), Err(InvalidTarget::TooLong));
    }

    #[test]
    fn a_query_is_added_before_the_fragment() {
        for (target, expected) in [
            ("https://a.example/p", "https://a.example/p?x=1&y=%20"),
            ("https://a.example/p?", "https://a.example/p?x=1&y=%20"),
            ("https://a.example/p?a=b#f", "https://a.example/p?a=b&x=1&y=%20#f"),
        ] {
            assert_eq!(target.parse::<Target>().unwrap().with_query("x=1&y= "), expected);
        }
    }

    proptest! {
        #[test]
        fn no_string_makes_a_target_panic(text in any::<String>(), prefix in "(https?:/{0,3})?") {
            let _ = format!("{prefix}{text}").parse::<Target>();
        }

        #[test]
        fn a_url_that_looks_normalised_is(
            host in "[a-z0-9.-]{1,12}(\\.(com|xn--a|0x1|1|a1|-a))?", rest in "[/a-zA-Z0-9._~?=&-]{0,15}",
        ) {
            let text = format!("https://{host}/{rest}");
            if is_normalised(&text) {
                let url = Url::parse(&text).unwrap();
                prop_assert_eq!(url.as_str(), &text);
            }
        }

        #[test]
        fn a_target_is_a_valid_header_and_normalises_to_itself(
            host in "[a-zA-Zä0-9.-]{1,20}", rest in "(:[0-9]{1,5})?(/\\PC{0,30})?([?#][\\s\\S]{0,20})?",
        ) {
            if let Ok(target) = format!("https://{host}{rest}").parse::<Target>() {
                prop_assert!(HeaderValue::from_str(target.as_str()).is_ok());
                prop_assert_eq!(target.as_str().parse::<Target>().unwrap(), target);
            }
        }

        #[test]
        fn the_host_is_that_of_the_url(
            host in "[a-zA-Zä0-9.-]{1,20}|[0-9.]{1,15}|\\[[0-9a-f:.]{2,20}\\]", rest in "(:[0-9]{1,5})?([/?#][!-~]{0,20})?",
        ) {
            if let Ok(target) = format!("https://{host}{rest}").parse::<Target>() {
                let url = target.to_url();
                prop_assert_eq!(target.host(), url.host_str().unwrap().trim_end_matches('.'));
            }
        }
    }
}
