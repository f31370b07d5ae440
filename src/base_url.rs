//! The public address of this service, and the prefix of its short URLs.

use std::{fmt, str::FromStr};

use thiserror::Error;
use url::Url;

use crate::link::{Key, Target};

/// An `http` or `https` URL with a trailing slash.
///
/// It has no query, fragment or credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// The error for an invalid base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("takes an absolute http(s) url without query, fragment or password, such as https://sho.rt")]
pub struct InvalidBaseUrl;

impl BaseUrl {
    pub fn short_url(&self, key: &Key) -> String {
        format!("{}{key}", self.0)
    }

    /// Returns whether `target` leads back to this service.
    ///
    /// Only the hosts and paths are compared, because one service can be reached on several ports. In hosts, a trailing
    /// dot and a leading `www.` are ignored, because `www.sho.rt` and `sho.rt` often lead to the same service.
    pub fn covers(&self, target: &Target) -> bool {
        fn name(url: &Url) -> Option<&str> {
            let host = url.host_str()?.trim_end_matches('.');
            Some(host.strip_prefix("www.").unwrap_or(host))
        }
        let url = target.to_url();
        name(&url) == name(&self.0) && url.path().starts_with(self.0.path())
    }

    /// Returns the path, including its trailing slash.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// Returns the origin as browsers send it, for example `https://sho.rt`.
    ///
    /// RFC 6454, section 6.2, defines the format.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Returns whether the scheme is `https`.
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBaseUrl> {
        let mut url = text.parse::<Target>().map_err(|_| InvalidBaseUrl)?.to_url();
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidBaseUrl);
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_url_is_the_base_and_the_key() {
        let key: Key = "abc".parse().unwrap();
        for (base, short) in [
            ("https://sho.rt", "https://sho.rt/abc"),
            ("http://localhost:8080/", "http://localhost:8080/abc"),
            ("https://example.com/s", "https://example.com/s/abc"),
        ] {
            assert_eq!(base.parse::<BaseUrl>().unwrap().short_url(&key), short);
        }
    }

    #[test]
    fn a_url_that_can_not_be_the_base_of_short_urls_is_refused() {
        for base in
            ["", "sho.rt", "ftp://sho.rt", "https://sho.rt/?a", "https://sho.rt/#a", "https://u@sho.rt"]
        {
            assert_eq!(base.parse::<BaseUrl>(), Err(InvalidBaseUrl), "{base:?}");
        }
    }

    #[test]
    fn a_target_on_this_service_is_recognised() {
        for (base, target, covered) in [
            ("https://sho.rt", "https://sho.rt/abc", true),
            ("https://sho.rt", "http://SHO.RT:80/", true),
            ("https://sho.rt", "https://sho.rt./abc", true),
            ("https://sho.rt", "https://sho.rt:8443/", true),
            ("https://sho.rt", "http://www.sho.rt/", true),
            ("https://www.sho.rt:8443", "https://sho.rt/", true),
            ("https://sho.rt", "https://not-sho.rt/", false),
            ("https://sho.rt", "https://wwwsho.rt/", false),
            ("https://sho.rt", "https://docs.sho.rt/", false),
            ("https://example.com/s", "https://www.example.com:8443/s/abc", true),
            ("https://example.com/s", "https://example.com/other", false),
        ] {
            let base: BaseUrl = base.parse().unwrap();
            assert_eq!(base.covers(&target.parse().unwrap()), covered, "{base} {target}");
        }
    }
}
