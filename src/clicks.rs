//! Click statistics: visits by people and bots per day, device and referrer.
//!
//! No client address, user agent or time of day is stored.

mod parts;
mod referrers;
mod tallies;

use std::{collections::BTreeMap, fmt, str::FromStr};

use compact_str::CompactString;
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Deserializer, Serialize, de::MapAccess};
use thiserror::Error;

pub use self::tallies::Clicks;
use crate::{
    is_default,
    link::{Key, parsed},
};

/// The kind of client behind a visit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Visitor {
    /// Any client that does not look like a bot.
    Person {
        device: Device,
        /// `None` if the request has no usable `Referer` header.
        referrer: Option<Referrer>,
    },
    /// An automated client: a crawler, an uptime monitor, a link previewer, or a browser that prefetches.
    Bot,
}

/// The device class of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    Desktop,
    Mobile,
    Tablet,
    /// Any other device, or an unknown one.
    Other,
}

impl Device {
    /// Returns the name used in stores and responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Other => "other",
        }
    }
}

/// The host of the referring page, taken from the `Referer` header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Referrer(CompactString);

impl Referrer {
    /// The maximum length of a host, in bytes.
    ///
    /// RFC 1035, section 2.3.4, limits a DNS name to 255 octets on the wire, or 253 characters as text.
    pub(crate) const MAX_LEN: usize = 253;

    /// Returns the host in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The error for an invalid referrer host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a referrer is the host of a page: 1 to {} visible ASCII characters", Referrer::MAX_LEN)]
pub struct InvalidReferrer;

impl FromStr for Referrer {
    type Err = InvalidReferrer;

    fn from_str(host: &str) -> Result<Self, InvalidReferrer> {
        let valid =
            (1..=Self::MAX_LEN).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic());
        let mut host = valid.then(|| CompactString::new(host)).ok_or(InvalidReferrer)?;
        host.make_ascii_lowercase();
        Ok(Self(host))
    }
}

impl<'de> Deserialize<'de> for Referrer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

/// The visit counts for one link on one UTC day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DayCounts {
    #[serde(skip_serializing_if = "is_default")]
    pub people: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub bots: u64,
    /// Visits by people, per device. Bot visits are not broken down.
    #[serde(skip_serializing_if = "is_default")]
    pub devices: BTreeMap<Device, u64>,
    /// Visits by people, per referrer. Visits without a referrer are not included.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "summed")]
    pub referrers: BTreeMap<Referrer, u64>,
}

impl DayCounts {
    /// Adds `count` visits by `visitor`. Sums saturate at [`MAX_COUNT`].
    pub fn count(&mut self, visitor: Visitor, count: u64) {
        match visitor {
            Visitor::Bot => increase(&mut self.bots, count),
            Visitor::Person { device, referrer } => {
                increase(&mut self.people, count);
                increase(self.devices.entry(device).or_default(), count);
                if let Some(referrer) = referrer {
                    increase(self.referrers.entry(referrer).or_default(), count);
                }
            }
        }
    }

    /// Adds `other` to these counts. Sums saturate at [`MAX_COUNT`].
    pub fn add(&mut self, other: Self) {
        increase(&mut self.people, other.people);
        increase(&mut self.bots, other.bots);
        for (device, count) in other.devices {
            increase(self.devices.entry(device).or_default(), count);
        }
        for (referrer, count) in other.referrers {
            increase(self.referrers.entry(referrer).or_default(), count);
        }
    }
}

/// The maximum count. Stores keep counts as signed 64-bit integers.
pub const MAX_COUNT: u64 = i64::MAX.unsigned_abs();

/// Adds `by` to `count`, saturating at [`MAX_COUNT`].
pub(crate) fn increase(count: &mut u64, by: u64) {
    *count = count.saturating_add(by).min(MAX_COUNT);
}

/// Deserializes counts per referrer, merging hosts that differ only in case.
fn summed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Referrer, u64>, D::Error> {
    struct Summed;

    impl<'de> serde::de::Visitor<'de> for Summed {
        type Value = BTreeMap<Referrer, u64>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("counts by host")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut sums = BTreeMap::new();
            while let Some((referrer, count)) = entries.next_entry()? {
                increase(sums.entry(referrer).or_default(), count);
            }
            Ok(sums)
        }
    }

    deserializer.deserialize_map(Summed)
}

/// Visit counts for one link and one day, to be written to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    pub key: Key,
    /// The link's creation time. It prevents these visits from counting towards a later link with the same key.
    pub created_at: Timestamp,
    /// The UTC day of the visits.
    pub day: Date,
    pub counts: DayCounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_stay_at_the_maximum() {
        let text = r#"{"people":9223372036854775807,"devices":{"mobile":1},"referrers":{"A.example":1,"a.example":2}}"#;
        let mut counts: DayCounts = serde_json::from_str(text).unwrap();
        let device = Device::Mobile;
        counts.count(Visitor::Person { device, referrer: "a.example".parse().ok() }, 3);
        counts.add(DayCounts { bots: 1, people: 1, ..DayCounts::default() });
        assert_eq!((counts.people, counts.bots), (MAX_COUNT, 1));
        assert_eq!(counts.devices[&device], 4);
        assert_eq!(counts.referrers.into_values().collect::<Vec<_>>(), [6]);
    }

    #[test]
    fn unknown_fields_and_invalid_values_are_refused() {
        for text in [
            r#"{"devices":{"toaster":1}}"#,
            r#"{"referrers":{"a b":1}}"#,
            r#"{"dogs":1}"#,
            r#"{"people":-1}"#,
        ] {
            assert!(serde_json::from_str::<DayCounts>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_referrer_is_a_host_in_lower_case() {
        assert_eq!("News.Example".parse::<Referrer>().unwrap().as_str(), "news.example");
        for host in ["", "a b", "a\n", "ä", &"x".repeat(254)] {
            assert_eq!(host.parse::<Referrer>(), Err(InvalidReferrer), "{host:?}");
        }
    }
}
