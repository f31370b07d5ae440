//! Who the client is and by which address it reached this service. Nothing else in the service looks at forwarded
//! headers.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, Version, header, request::Parts},
};

use crate::{
    base_url::BaseUrl,
    config::ServerOptions,
    web::{respond::error::ApiError, state::AppState},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The longest host, in bytes, with its port. A DNS name has at most 253, but no public one with a port is that long.
const MAX_HOST: usize = 255;

/// The address of the client, found by [`client_ip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientIp(pub(crate) IpAddr);

impl ClientIp {
    /// The address that limits are kept for.
    pub(crate) fn limit_key(self) -> IpAddr {
        client_network(self.0)
    }
}

/// Returns the address that limits are kept for: one IPv4 address, or the /64 network that one IPv6 customer has.
pub(crate) fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let ip = parts.extensions.get().copied();
        Ok(ip.expect("the access log tells every request its client"))
    }
}

/// The client's address: the peer itself, or behind `proxies` trusted proxies the address that the outermost of them
/// saw, which is the `proxies`-th from the right in `X-Forwarded-For`. What stands further left anyone can invent.
pub(crate) fn client_ip(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> ClientIp {
    let nth = proxies.checked_sub(1);
    let forwarded =
        nth.and_then(|nth| from_right(headers, &X_FORWARDED_FOR).nth(nth)).and_then(parse_address);
    ClientIp(forwarded.unwrap_or(peer).to_canonical())
}

/// An address as proxies write it: bare, or with a port.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

/// Returns the elements of a comma-separated header, which may be repeated, from right to left. They are bytes: a client
/// that sends an element which is not text must not hide those that proxies appended.
fn from_right<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let elements = lines.into_iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii)
}

/// Returns whether the request has one `Host` with the syntax of a host, as HTTP/1.1 requires (RFC 9112, section 3.2).
/// Before that version it may be missing.
pub(crate) fn has_valid_host(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        (None, _) => version < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// Returns whether `host` has only bytes of `uri-host [ ":" port ]` (RFC 3986, section 3.2.2). A slash or a question mark
/// would make part of it a path or a query.
fn is_host(host: &[u8]) -> bool {
    let is_valid = |byte: &u8| {
        matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']')
            || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
    };
    host.len() <= MAX_HOST && host.iter().all(is_valid)
}

/// The base of short URLs: `BASE_URL`, or else the address that the request was sent to.
pub(crate) struct ServiceUrl(pub(crate) BaseUrl);

impl FromRequestParts<AppState> for ServiceUrl {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        service_url(parts, &state.config.server).map(Self)
    }
}

fn service_url(parts: &Parts, options: &ServerOptions) -> Result<BaseUrl, ApiError> {
    if let Some(base) = &options.base_url {
        return Ok(base.clone());
    }
    // Proxies append to X-Forwarded-For, but many replace X-Forwarded-Proto: one value may speak for several.
    let scheme = from_right(&parts.headers, &X_FORWARDED_PROTO).take(options.trusted_proxies.into()).last();
    let scheme = match scheme {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => "https",
        _ => "http",
    };
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    let is_usable = !host.is_empty() && is_host(host.as_bytes());
    let base = is_usable.then(|| format!("{scheme}://{host}/").parse().ok()).flatten();
    base.ok_or(ApiError::InvalidHost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(values: &[&str]) -> HeaderMap {
        let value = |text: &&str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        values.iter().map(|text| (X_FORWARDED_FOR, value(text))).collect()
    }

    #[test]
    fn the_client_is_the_peer_unless_a_trusted_proxy_says_otherwise() {
        let peer: IpAddr = "192.0.2.9".parse().unwrap();
        for (values, proxies, expected) in [
            (&["198.51.100.1"][..], 0, "192.0.2.9"),
            (&["198.51.100.1"], 1, "198.51.100.1"),
            (&["203.0.113.66, 198.51.100.1"], 1, "198.51.100.1"),
            (&["203.0.113.66, 198.51.100.1"], 2, "203.0.113.66"),
            (&["203.0.113.66", "198.51.100.1, 198.51.100.2"], 3, "203.0.113.66"),
            (&["198.51.100.1:4711"], 1, "198.51.100.1"),
            (&["[2001:db8::1]:4711"], 1, "2001:db8::1"),
            (&["::ffff:198.51.100.1"], 1, "198.51.100.1"),
            (&["198.51.100.1"], 2, "192.0.2.9"),
            (&["nonsense"], 1, "192.0.2.9"),
            (&["\u{e9}, 198.51.100.1"], 1, "198.51.100.1"),
            (&["\u{e9}", "198.51.100.1"], 1, "198.51.100.1"),
            (&[], 1, "192.0.2.9"),
        ] {
            let ClientIp(ip) = client_ip(peer, &forwarded(values), proxies);
            assert_eq!(ip.to_string(), expected, "{values:?} behind {proxies}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        for (version, hosts, is_valid) in [
            (Version::HTTP_11, &["sho.rt"][..], true),
            (Version::HTTP_11, &["[2001:db8::1]:8080"], true),
            (Version::HTTP_11, &[""], true),
            (Version::HTTP_11, &[], false),
            (Version::HTTP_10, &[], true),
            (Version::HTTP_10, &["sho.rt", "sho.rt"], false),
            (Version::HTTP_11, &["sho.rt", "sho.rt"], false),
            (Version::HTTP_11, &["sho.rt/path"], false),
            (Version::HTTP_11, &["user@sho.rt"], false),
            (Version::HTTP_11, &["sho rt"], false),
            (Version::HTTP_11, &[&"x".repeat(MAX_HOST + 1)], false),
        ] {
            let headers = hosts.iter().map(|host| (header::HOST, host.parse().unwrap())).collect();
            assert_eq!(has_valid_host(version, &headers), is_valid, "{version:?} {hosts:?}");
        }
    }

    #[test]
    fn ipv6_clients_are_one_per_network() {
        let key = |text: &str| ClientIp(text.parse().unwrap()).limit_key();
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2::1"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
