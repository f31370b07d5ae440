//! Property tests: no spelling of a host bypasses the rules for targets.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::strategies::text;

fn url(host: &str) -> Url {
    Url::parse(&format!("http://{host}/")).unwrap()
}

fn list(lines: &[&str]) -> BlockedHosts {
    BlockedHosts::parse(&lines.join("\n"))
}

fn domain() -> impl Strategy<Value = String> {
    text("[a-zä0-9]{1,8}(\\.[a-zü]{1,8}){1,3}")
}

proptest! {
    #[test]
    fn a_blocked_host_is_refused_in_every_spelling(domain in domain(), below in text("[a-z]{1,5}")) {
        let Ok(target) = Url::parse(&format!("http://{domain}/")) else { return Ok(()) };
        let host = target.host_str().unwrap();
        let (with_dot, neighbour) = (format!("{}.", host.to_uppercase()), format!("{below}{host}"));
        let subdomain = format!("{below}.{host}");
        for line in [&*domain, &domain.to_uppercase(), host, &format!("{domain}.")] {
            let list = list(&[line]);
            prop_assert!(list.contains(&target) && list.contains(&url(&with_dot)), "{} and {}", line, host);
            prop_assert!(!list.contains(&url(&neighbour)) && !list.contains(&url(&subdomain)));
        }
        let suffix = list(&[&format!(".{domain}")]);
        prop_assert!(suffix.contains(&target) && suffix.contains(&url(&subdomain)));
        prop_assert!(!suffix.contains(&url(&neighbour)));
    }

    #[test]
    fn no_line_makes_the_list_panic(lines in vec(text("\\PC{0,20}"), 0..4), domain in domain()) {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        if let Ok(target) = Url::parse(&format!("http://{domain}/")) {
            list(&lines).contains(&target);
        }
    }

    #[test]
    fn a_private_address_stays_private_inside_of_another(address in any::<Ipv4Addr>()) {
        let v4 = is_private(&url(&address.to_string()));
        let [a, b, c, d] = address.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low);
        let translated = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
        for embedding in [mapped, translated] {
            let embedded = is_private(&url(&format!("[{embedding}]")));
            prop_assert_eq!(embedded, v4, "{} and {}", address, embedding);
        }
        for spelling in [format!("{:#x}", u32::from(address)), u32::from(address).to_string(), format!("{address}.")] {
            prop_assert_eq!(is_private(&url(&spelling)), v4, "{} and {}", address, spelling);
        }
    }

    #[test]
    fn no_address_makes_the_rules_panic(address in any::<Ipv6Addr>()) {
        is_private(&url(&format!("[{address}]")));
    }
}
