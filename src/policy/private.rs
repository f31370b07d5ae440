//! Detection of private hosts by name or address, without DNS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Suffixes of names that exist only on local networks.
///
/// They come from RFC 6761 (localhost), RFC 6762 (local, and the unregistered names in appendix G), RFC 8375
/// (home.arpa), and ICANN, which has reserved `internal`.
const NAMES: [&str; 10] = [
    "localhost",
    "local",
    "home.arpa",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "localdomain",
];

/// IPv4 networks that are not globally reachable, and the multicast network.
///
/// The source is the IANA IPv4 Special-Purpose Address Registry.
const V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // RFC 791: this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // RFC 1918: private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // RFC 6598: carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // RFC 1122: loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // RFC 3927: link-local, cloud metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // RFC 1918: private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // RFC 6890: protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // RFC 5737: documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // RFC 7526: 6to4 relays, deprecated
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // RFC 1918: private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // RFC 2544: benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // RFC 5737: documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // RFC 5737: documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // RFC 5771: multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // RFC 1112: reserved, broadcast
];

/// IPv6 networks that are not globally reachable, and the multicast network.
///
/// Deprecated networks are included, because a router may still forward traffic to them.
const V6: [(Ipv6Addr, u32); 13] = [
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 96), // RFC 4291: unspecified, loopback, IPv4-compatible
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48), // RFC 8215: local translation to IPv4
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 63), // RFC 6666 and 9780: discard, dummy
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // RFC 2928: protocol assignments, including Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // RFC 3849: documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // RFC 3056: 6to4, which embeds an IPv4 address
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // RFC 9637: documentation
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16), // RFC 9602: segment routing
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7), // RFC 4193: unique local
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10), // RFC 4291: link-local
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10), // RFC 3879: site-local, deprecated
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8), // RFC 4291: multicast
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96), // RFC 2765: IPv4-translated, deprecated
];

/// Returns whether the host of `url` is not on the public internet.
pub(super) fn is_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => is_private_address(address.into()),
        Some(Host::Ipv6(address)) => is_private_address(address.into()),
        Some(Host::Domain(name)) => is_private_name(name.trim_end_matches('.')),
        None => true,
    }
}

/// Returns whether a name is local. A name without a dot always counts as local.
fn is_private_name(name: &str) -> bool {
    let has_suffix =
        |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !name.contains('.') || NAMES.iter().any(has_suffix)
}

fn is_private_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let is_in = |(network, length): &(Ipv4Addr, u32)| {
                (v4.to_bits() ^ network.to_bits()) >> (Ipv4Addr::BITS - length) == 0
            };
            V4.iter().any(is_in)
        }
        IpAddr::V6(v6) => {
            let is_in = |(network, length): &(Ipv6Addr, u32)| {
                (v6.to_bits() ^ network.to_bits()) >> (Ipv6Addr::BITS - length) == 0
            };
            embedded_v4(v6).map_or_else(|| V6.iter().any(is_in), |v4| is_private_address(v4.into()))
        }
    }
}

/// Returns the IPv4 address embedded in an IPv6 address, if any.
///
/// The address may be mapped (RFC 4291), or translated under `64:ff9b::/96` (RFC 6052).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        _ => address.to_ipv4_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_hosts_are_distinguished_from_public_neighbours() {
        for (host, private) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("192.169.1.1", false),
            ("169.254.169.254", true),
            ("0.0.0.0", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("192.0.0.8", true),
            ("192.0.1.1", false),
            ("198.18.0.1", true),
            ("198.19.255.255", true),
            ("198.20.0.1", false),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("8.8.8.8", false),
            ("[::1]", true),
            ("[::]", true),
            ("[::127.0.0.1]", true),
            ("[::8.8.8.8]", true),
            ("[::ffff:10.0.0.1]", true),
            ("[::ffff:8.8.8.8]", false),
            ("[::ffff:0:10.0.0.1]", true),
            ("[64:ff9b::a00:1]", true),
            ("[64:ff9b::808:808]", false),
            ("[64:ff9b:1::808:808]", true),
            ("[2001::1]", true),
            ("[2001:0:4136:e378:8000:63bf:3fff:fdd2]", true),
            ("[2001:200::1]", false),
            ("[2002:7f00:1::]", true),
            ("[fe80::1]", true),
            ("[fec0::1]", true),
            ("[fd00::1]", true),
            ("[ff02::1]", true),
            ("[2606:4700::1111]", false),
            ("localhost", true),
            ("localhost.", true),
            ("a.localhost", true),
            ("localhost.example", false),
            ("printer", true),
            ("printer.local", true),
            ("nas.lan", true),
            ("intra.corp", true),
            ("home.arpa", true),
            ("hub.home.arpa", true),
            ("db.internal", true),
            ("example.com", false),
            ("planet.example", false),
            ("lan.example", false),
        ] {
            let url = format!("http://{host}/").parse().unwrap();
            assert_eq!(is_private(&url), private, "{host}");
        }
    }
}
