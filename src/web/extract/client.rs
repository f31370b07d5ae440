//! The client's address.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Once,
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address, as determined by [`client_ip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientIp(pub(crate) IpAddr);

impl ClientIp {
    /// Returns the client address that the access log stored in a request.
    pub(crate) fn of(parts: &Parts) -> Self {
        parts.extensions.get().copied().expect("the access log gives every request a client")
    }

    /// Returns the key under which the client's limits are counted.
    pub(crate) fn limit_key(self) -> IpAddr {
        client_network(self.0)
    }
}

/// Returns the network that limits apply to.
///
/// For IPv4, this is a single address. For IPv6, it is a /64, because a single customer usually has a whole /64.
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
        Ok(Self::of(parts))
    }
}

/// Returns the client's address.
///
/// Without trusted proxies, this is the peer's address. Behind `proxies` trusted proxies, it is the address that the
/// outermost proxy saw: the element at position `proxies` in `X-Forwarded-For`, counted from the right. A client can
/// forge all elements further to the left. If the element is missing or invalid, the peer's address is used.
pub(crate) fn client_ip(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> ClientIp {
    let nth = proxies.checked_sub(1);
    let forwarded =
        nth.and_then(|nth| from_right(headers, &X_FORWARDED_FOR).nth(nth)).and_then(parse_address);
    ClientIp(forwarded.unwrap_or(peer).to_canonical())
}

/// A one-time warning about a proxy that isn't counted in `TRUSTED_PROXIES`.
#[derive(Debug)]
pub(crate) struct UnknownProxy(Once);

impl UnknownProxy {
    pub(crate) fn new() -> Self {
        Self(Once::new())
    }

    /// Warns once if a request has passed through a proxy.
    pub(crate) fn check(&self, peer: IpAddr, headers: &HeaderMap) {
        if !self.0.is_completed() && headers.contains_key(X_FORWARDED_FOR) {
            self.0.call_once(|| {
                tracing::warn!(%peer, "X-Forwarded-For is ignored: behind a proxy, set TRUSTED_PROXIES");
            });
        }
    }
}

/// Parses an address with or without a port.
///
/// Proxies use both forms.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

/// Returns the elements of a comma-separated header, from right to left.
///
/// The header may occur more than once. Elements are bytes, so that an element that isn't valid text doesn't hide the
/// elements that proxies appended.
pub(crate) fn from_right<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let elements = lines.into_iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii)
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
    fn ipv6_clients_of_one_network_share_a_limit() {
        let key = |text: &str| ClientIp(text.parse().unwrap()).limit_key();
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2::1"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
