//! Property tests: no spelling of a host bypasses the rules for targets.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use url::Url;

use super::*;

fn url(host: &str) -> Url {
    Url::parse(&format!("http://{host}/")).unwrap()
}

proptest! {
    #[test]
    fn a_private_address_stays_private_inside_another(address in any::<Ipv4Addr>()) {
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
