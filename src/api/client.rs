//! Who the client is and by which address it reached this service. Nothing else in the service looks at forwarded
//! headers.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, HeaderName, header, request::Parts},
};

use super::{Settings, error::ApiError};
use crate::base_url::BaseUrl;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The longest Host, in bytes: a DNS name and a port are shorter.
const MAX_HOST: usize = 255;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The address of the client, found by [`client_ip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientIp(pub(super) IpAddr);

impl ClientIp {
    /// What limits go by: the address, or its /64 network where it is of IPv6, since one customer has all of that.
    pub(super) fn limit_key(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        }
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
pub(super) fn client_ip(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> ClientIp {
    let forwarded = nth_from_right(headers, &X_FORWARDED_FOR, proxies).and_then(parse_address);
    ClientIp(forwarded.unwrap_or(peer).to_canonical())
}

/// An address as proxies write it: bare, or with a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

/// The `n`-th element from the right, from 1, of a comma-separated header that may be repeated.
fn nth_from_right<'a>(headers: &'a HeaderMap, name: &HeaderName, n: usize) -> Option<&'a str> {
    let n = n.checked_sub(1)?;
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    let elements = lines.into_iter().rev().flat_map(|line| line.rsplit(','));
    elements.map(str::trim).nth(n)
}

/// Where this service is reached: `BASE_URL`, or else what the request itself says.
pub(super) struct OwnBase(pub(super) BaseUrl);

impl<S> FromRequestParts<S> for OwnBase
where
    S: Send + Sync,
    Arc<Settings>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        own_base(parts, &Arc::<Settings>::from_ref(state)).map(Self)
    }
}

/// What [`OwnBase`] holds, for handlers that seldom need it.
pub(super) fn own_base(parts: &Parts, settings: &Settings) -> Result<BaseUrl, ApiError> {
    if let Some(base) = &settings.base_url {
        return Ok(base.clone());
    }
    let scheme = match nth_from_right(&parts.headers, &X_FORWARDED_PROTO, settings.trusted_proxies) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
        _ => "http",
    };
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    // A host that holds a slash or a question mark would become a path or a query.
    let is_authority = (1..=MAX_HOST).contains(&host.len()) && !host.contains(['/', '\\', '?', '#', '@']);
    let base = is_authority.then(|| format!("{scheme}://{host}/").parse().ok()).flatten();
    base.ok_or(ApiError::InvalidHost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (X_FORWARDED_FOR, value.parse().unwrap())).collect()
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
            (&[], 1, "192.0.2.9"),
        ] {
            let ClientIp(ip) = client_ip(peer, &forwarded(values), proxies);
            assert_eq!(ip.to_string(), expected, "{values:?} behind {proxies}");
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
