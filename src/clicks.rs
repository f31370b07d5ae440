//! What is counted when somebody follows a link: how many people and bots a day, with which kind of device, and from
//! where. No address, no agent and no time of day is kept.

mod referrers;
mod tallies;

use std::{fmt, str::FromStr};

use compact_str::CompactString;
use jiff::civil::Date;
use thiserror::Error;

pub use self::tallies::Clicks;
use crate::link::Key;

/// One visit, as far as it is told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Visitor {
    /// A person, by all that the request shows.
    Person {
        /// What it came with.
        device: Device,
        /// The host of the page that led here; `None` where the request does not say.
        referrer: Option<Referrer>,
    },
    /// A crawler, a monitor, a link preview, a prefetch.
    Bot,
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Device {
    /// A computer on a desk or lap.
    Desktop,
    /// A telephone.
    Mobile,
    /// A tablet.
    Tablet,
    /// Anything else, and whatever does not tell.
    Other,
}

impl Device {
    /// Each kind, with the word for it.
    const NAMES: [(Self, &'static str); 4] = [
        (Self::Desktop, "desktop"),
        (Self::Mobile, "mobile"),
        (Self::Tablet, "tablet"),
        (Self::Other, "other"),
    ];

    /// The word for it in stores and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Other => "other",
        }
    }
}

/// The host of a page that led to a link: at most 253 bytes, as long as a DNS name can be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Referrer(CompactString);

impl Referrer {
    /// The longest host, in bytes (RFC 1035, section 2.3.4, without the length octets).
    pub const MAX_LEN: usize = 253;

    /// The host, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A string is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not something that is counted")]
pub struct Uncountable;

impl FromStr for Referrer {
    type Err = Uncountable;

    fn from_str(host: &str) -> Result<Self, Uncountable> {
        let valid =
            (1..=Self::MAX_LEN).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic());
        let mut host = valid.then(|| CompactString::new(host)).ok_or(Uncountable)?;
        host.make_ascii_lowercase();
        Ok(Self(host))
    }
}

/// One thing that clicks are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Facet {
    /// All people.
    People,
    /// All bots.
    Bots,
    /// People with this kind of device.
    Device(Device),
    /// People that this host led here.
    Referrer(Referrer),
}

impl Facet {
    /// The two words under which a store keeps it.
    pub fn as_pair(&self) -> (&'static str, &str) {
        match self {
            Self::People => ("visitor", "person"),
            Self::Bots => ("visitor", "bot"),
            Self::Device(device) => ("device", device.as_str()),
            Self::Referrer(referrer) => ("referrer", referrer.as_str()),
        }
    }

    /// Reads those words back.
    ///
    /// # Errors
    /// [`Uncountable`] for any other words.
    pub fn from_pair(kind: &str, value: &str) -> Result<Self, Uncountable> {
        match (kind, value) {
            ("visitor", "person") => Ok(Self::People),
            ("visitor", "bot") => Ok(Self::Bots),
            ("device", name) => {
                let known = Device::NAMES.iter().find(|(_, known)| *known == name);
                known.map(|(device, _)| Self::Device(*device)).ok_or(Uncountable)
            }
            ("referrer", host) => Ok(Self::Referrer(host.parse()?)),
            _ => Err(Uncountable),
        }
    }
}

impl fmt::Display for Facet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, value) = self.as_pair();
        write!(formatter, "{kind} {value}")
    }
}

/// How often something was counted on one day (UTC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayCount {
    /// The day.
    pub day: Date,
    /// What was counted.
    pub facet: Facet,
    /// How often.
    pub count: u64,
}

/// A day's count for one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The link.
    pub key: Key,
    /// What is to be added.
    pub counted: DayCount,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_facet_comes_back_from_its_words() {
        let mut facets = vec![Facet::People, Facet::Bots, Facet::Referrer("News.example".parse().unwrap())];
        facets.extend(Device::NAMES.map(|(device, _)| Facet::Device(device)));
        for facet in facets {
            let (kind, value) = facet.as_pair();
            assert_eq!(Facet::from_pair(kind, value), Ok(facet.clone()));
        }
        for (kind, value) in [("visitor", "dog"), ("device", "toaster"), ("referrer", ""), ("", "")] {
            assert_eq!(Facet::from_pair(kind, value), Err(Uncountable));
        }
    }

    #[test]
    fn a_referrer_is_a_host_in_lower_case() {
        assert_eq!("News.Example".parse::<Referrer>().unwrap().as_str(), "news.example");
        for host in ["", "a b", "a\n", "ä", &"x".repeat(254)] {
            assert_eq!(host.parse::<Referrer>(), Err(Uncountable), "{host:?}");
        }
    }
}
