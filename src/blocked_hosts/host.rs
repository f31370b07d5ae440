//! A pattern for blocked hosts: one host, or all hosts with a suffix.

use std::{borrow::Cow, fmt, net::Ipv6Addr, str::FromStr};

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use url::Host;

use crate::link::parsed;

/// A pattern that matches a host, or a host and all its subdomains.
///
/// The text is `example.com`, or `.example.com` to include subdomains. It's normalised like a target's host: lower
/// case, punycode, IPv6 in brackets, and no trailing dot. An IPv4-mapped IPv6 address becomes the IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern(CompactString);

/// The error for a pattern that can't match any host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidHostPattern {
    #[error(
        "takes a host such as example.com, or .example.com to include its subdomains; no scheme, port, path or *"
    )]
    NotAHost,
    #[error("a host has at most {} bytes", HostPattern::MAX_LEN)]
    TooLong,
}

impl HostPattern {
    /// The maximum length of a DNS name, in bytes, without the leading dot.
    pub(crate) const MAX_LEN: usize = 253;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host without its leading dot, and whether it had one.
    pub(super) fn parts(&self) -> (&str, bool) {
        match self.0.strip_prefix('.') {
            Some(host) => (host, true),
            None => (&self.0, false),
        }
    }

    /// Returns whether a target's host matches the pattern.
    pub fn matches(&self, host: &str) -> bool {
        let host = canonical(host);
        let (blocked, has_dot) = self.parts();
        match host.strip_suffix(blocked) {
            Some("") => true,
            Some(rest) => has_dot && rest.ends_with('.'),
            None => false,
        }
    }

    /// Returns a substring that every matching target contains.
    ///
    /// It's empty for an address, because an address has several spellings.
    pub(crate) fn literal(&self) -> &str {
        let (host, _) = self.parts();
        let is_address =
            host.starts_with('[') || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if is_address { "" } else { host }
    }
}

/// Converts an IPv4-mapped IPv6 address to the IPv4 address.
pub(super) fn canonical(host: &str) -> Cow<'_, str> {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match address.and_then(|text| text.parse::<Ipv6Addr>().ok()?.to_ipv4_mapped()) {
        Some(mapped) => mapped.to_string().into(),
        None => host.into(),
    }
}

impl FromStr for HostPattern {
    type Err = InvalidHostPattern;

    fn from_str(text: &str) -> Result<Self, InvalidHostPattern> {
        // Longer text can't be a valid host, so don't spend time on normalising it.
        if text.len() > 4 * Self::MAX_LEN {
            return Err(InvalidHostPattern::TooLong);
        }
        let (dot, host) = text.strip_prefix('.').map_or(("", text), |host| (".", host));
        let host = match host.parse::<Ipv6Addr>() {
            Ok(address) => Host::Ipv6(address),
            Err(_) => Host::parse(host).map_err(|_| InvalidHostPattern::NotAHost)?,
        };
        let host = host.to_string();
        let host = canonical(host.strip_suffix('.').unwrap_or(&host));
        // The URL standard allows more characters, such as `*`, but DNS names don't contain them.
        let is_name = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if !host.starts_with('[') && !host.split('.').all(is_name) {
            return Err(InvalidHostPattern::NotAHost);
        }
        if host.len() > Self::MAX_LEN {
            return Err(InvalidHostPattern::TooLong);
        }
        Ok(Self(format!("{dot}{host}").into()))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_normalised_like_a_target() {
        let longest = format!("{}example", "a.".repeat(123));
        for (text, expected) in [
            ("Evil.EXAMPLE", "evil.example"),
            ("evil.example.", "evil.example"),
            (".Evil.example.", ".evil.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            (".bücher.example", ".xn--bcher-kva.example"),
            ("zip", "zip"),
            (".zip", ".zip"),
            ("0x7f.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("::1", "[::1]"),
            ("[0:0::0001]", "[::1]"),
            ("[::ffff:192.0.2.1]", "192.0.2.1"),
            (&longest, &longest),
        ] {
            let pattern: HostPattern = text.parse().unwrap();
            assert_eq!(pattern.as_str(), expected, "{text}");
            assert_eq!(expected.parse(), Ok(pattern), "{expected} stays as it is");
        }
    }

    #[test]
    fn text_that_can_not_match_any_host_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "..example",
            "a..b",
            "*",
            "*.x",
            "https://x",
            "x/path",
            "x:80",
            "[::1]:80",
            "user@x",
            "a b",
            "a,b",
            "x?",
            "x#",
            "[::1",
            "1.2.3.4.5",
            "999.1",
            "\0",
            ".[",
            "%",
            "x..",
        ] {
            assert_eq!(text.parse::<HostPattern>(), Err(InvalidHostPattern::NotAHost), "{text:?}");
        }
        for text in ["a".repeat(254), "a".repeat(300), format!(".{}", "a".repeat(254)), "ü".repeat(1000)] {
            assert_eq!(text.parse::<HostPattern>(), Err(InvalidHostPattern::TooLong), "{text}");
        }
    }
}
