//! A bound on what strangers can make the store keep: anybody can invent hosts to come from.

use std::collections::{HashMap, HashSet};

use jiff::civil::Date;

use super::Referrer;
use crate::link::Key;

/// Hosts that are told apart for one link on one day, by one instance.
const PER_LINK: usize = 100;

/// Links whose hosts are remembered; past it all are forgotten, and counted anew.
const LINKS: usize = 10_000;

/// The hosts that have led to links today.
#[derive(Default)]
pub(super) struct KnownReferrers {
    today: Date,
    hosts: HashMap<Key, HashSet<Referrer>>,
}

impl KnownReferrers {
    /// Whether `referrer` is still told apart from others that led to this link on that day.
    pub(super) fn admit(&mut self, key: &Key, day: Date, referrer: &Referrer) -> bool {
        if self.today != day || self.hosts.len() >= LINKS {
            self.hosts.clear();
            self.today = day;
        }
        let hosts = self.hosts.entry(key.clone()).or_default();
        hosts.contains(referrer) || hosts.len() < PER_LINK && hosts.insert(referrer.clone())
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_link_has_so_many_referrers_a_day_and_no_more() {
        let (mut known, key) = (KnownReferrers::default(), "k".parse().unwrap());
        let host = |number: usize| format!("{number}.example").parse().unwrap();
        let mut admitted =
            |day: Date| (0..PER_LINK + 5).filter(|number| known.admit(&key, day, &host(*number))).count();
        assert_eq!(admitted(date(2026, 6, 1)), PER_LINK);
        assert_eq!(admitted(date(2026, 6, 1)), PER_LINK, "those that are known stay");
        assert_eq!(admitted(date(2026, 6, 2)), PER_LINK);
    }
}
