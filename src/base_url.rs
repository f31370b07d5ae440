//! The address under which this service is reached: what short URLs begin with.

use std::{fmt, str::FromStr};

use thiserror::Error;
use url::Url;

use crate::link::{Key, Target};

/// An `http` or `https` URL that ends with a slash, without query, fragment or credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// A string is not a base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("takes an absolute http(s) url without query, fragment or password, such as https://sho.rt")]
pub struct InvalidBaseUrl;

impl BaseUrl {
    /// The short URL of `key`.
    pub fn short_url(&self, key: &Key) -> String {
        format!("{}{key}", self.0)
    }

    /// Whether `target` leads back to this service, by either scheme.
    pub fn covers(&self, target: &Target) -> bool {
        let url = target.to_url();
        // A name with a trailing dot is the same name; the ports of http and https lead to the same place.
        let host = |url: &Url| url.host_str().map(|host| host.trim_end_matches('.').to_owned());
        let port = |url: &Url| url.port().filter(|port| !matches!(port, 80 | 443));
        host(&url) == host(&self.0) && port(&url) == port(&self.0) && url.path().starts_with(self.0.path())
    }

    /// Whether browsers reach it by TLS.
    pub fn is_https(&self) -> bool {
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
    fn what_can_not_begin_a_short_url_is_refused() {
        for base in
            ["", "sho.rt", "ftp://sho.rt", "https://sho.rt/?a", "https://sho.rt/#a", "https://u@sho.rt"]
        {
            assert_eq!(base.parse::<BaseUrl>(), Err(InvalidBaseUrl), "{base:?}");
        }
    }

    #[test]
    fn a_target_on_this_service_is_recognised() {
        let base: BaseUrl = "https://sho.rt".parse().unwrap();
        for (target, covered) in [
            ("https://sho.rt/abc", true),
            ("http://SHO.RT:80/", true),
            ("https://sho.rt./abc", true),
            ("https://sho.rt:8443/", false),
            ("https://not-sho.rt/", false),
        ] {
            assert_eq!(base.covers(&target.parse().unwrap()), covered, "{target}");
        }
    }
}
