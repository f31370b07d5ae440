//! A bound on what strangers can make the store keep: anybody can invent hosts to come from.
//!
//! Each link has so many different referrers a day. The hosts seen today are remembered as hashes in a fixed amount of
//! memory. When that is full, the links that nobody followed lately are forgotten, and a note of a bit each stays. A link
//! with such a note gets no further referrers that day, because nobody knows any more how many it has had: its visits are
//! counted without one. So the limit always holds, and an attack costs only the referrers of seldom used links.

use std::collections::HashMap;

use ahash::RandomState;
use jiff::civil::Date;

use super::Referrer;
use crate::link::Key;

/// Referrers that are told apart for one link on one day, by one run of one instance.
const PER_LINK: usize = 100;

/// Memory for the hashes, in bytes: room for 80,000 links with a single referrer, or for 7,000 with all of theirs.
const BYTES: usize = 8 << 20;

/// Bits for links that were forgotten. With 100,000 of them a new link is taken for one in 1 of 84 cases.
const FORGOTTEN_BITS: usize = 8 << 20;

/// Bytes of a set besides its hashes: its slot in a table that has just grown, and the allocator's rounding.
const PER_SET: usize = 96;

/// The referrers of today's links.
pub(super) struct KnownReferrers {
    today: Date,
    hasher: RandomState,
    recent: Generation,
    earlier: Generation,
    forgotten: Forgotten,
}

/// Links that were followed in the same stretch of time, each with the hashes of its referrers.
#[derive(Default)]
struct Generation {
    sets: HashMap<u64, Vec<u64>>,
    bytes: usize,
}

/// A set of links without false negatives: a bit for each of their hashes. It takes no memory until it is needed.
#[derive(Default)]
struct Forgotten(Vec<u64>);

impl Default for KnownReferrers {
    fn default() -> Self {
        Self {
            today: Date::default(),
            hasher: RandomState::new(),
            recent: Generation::default(),
            earlier: Generation::default(),
            forgotten: Forgotten::default(),
        }
    }
}

impl KnownReferrers {
    /// Returns whether `referrer` is still told apart from others that led to this link on that day.
    pub(super) fn admit(&mut self, key: &Key, day: Date, referrer: &Referrer) -> bool {
        if day > self.today {
            self.today = day;
            self.earlier = std::mem::take(&mut self.recent);
            self.forgotten.0.clear();
        }
        let (link, host) = (self.hasher.hash_one((key, day)), self.hasher.hash_one(referrer));
        if !self.recent.sets.contains_key(&link) {
            let hosts = match self.earlier.take(link) {
                Some(hosts) => hosts,
                // Visits of the day before still come in the first second of a day.
                None if day < self.today || self.forgotten.contains(link) => return false,
                None => Vec::new(),
            };
            if self.recent.bytes + cost(&hosts) > BYTES / 2 {
                self.earlier.sets.keys().for_each(|link| self.forgotten.insert(*link));
                self.earlier = std::mem::take(&mut self.recent);
            }
            self.recent.put(link, hosts);
        }
        self.recent.admit(link, host)
    }
}

impl Generation {
    fn take(&mut self, link: u64) -> Option<Vec<u64>> {
        let hosts = self.sets.remove(&link)?;
        self.bytes -= cost(&hosts);
        Some(hosts)
    }

    fn put(&mut self, link: u64, hosts: Vec<u64>) {
        self.bytes += cost(&hosts);
        self.sets.insert(link, hosts);
    }

    fn admit(&mut self, link: u64, host: u64) -> bool {
        let Some(hosts) = self.sets.get_mut(&link) else { return false };
        if hosts.contains(&host) {
            return true;
        }
        if hosts.len() >= PER_LINK {
            return false;
        }
        self.bytes -= cost(hosts);
        hosts.push(host);
        self.bytes += cost(hosts);
        true
    }
}

/// The bytes that a set takes.
fn cost(hosts: &Vec<u64>) -> usize {
    PER_SET + hosts.capacity() * size_of::<u64>()
}

impl Forgotten {
    fn insert(&mut self, link: u64) {
        self.0.resize(FORGOTTEN_BITS / 64, 0);
        let (word, bit) = Self::place(link);
        self.0[word] |= 1 << bit;
    }

    fn contains(&self, link: u64) -> bool {
        let (word, bit) = Self::place(link);
        self.0.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }

    fn place(link: u64) -> (usize, u64) {
        let bit = link % FORGOTTEN_BITS as u64;
        ((bit / 64) as usize, bit % 64)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const DAY: Date = date(2026, 6, 1);

    fn key(number: usize) -> Key {
        format!("k{number}").parse().unwrap()
    }

    fn host(number: usize) -> Referrer {
        format!("{number}.example").parse().unwrap()
    }

    fn admitted(known: &mut KnownReferrers, link: usize, day: Date, hosts: std::ops::Range<usize>) -> usize {
        hosts.filter(|number| known.admit(&key(link), day, &host(*number))).count()
    }

    /// The memory that the tables and sets really have.
    fn bytes(known: &KnownReferrers) -> usize {
        let generation = |generation: &Generation| {
            // A table has a control byte for each of its slots, and fills at most seven in eight.
            let slots = generation.sets.capacity() * 8 / 7 * (size_of::<(u64, Vec<u64>)>() + 1);
            slots + generation.sets.values().map(|hosts| hosts.capacity() * size_of::<u64>()).sum::<usize>()
        };
        generation(&known.recent)
            + generation(&known.earlier)
            + known.forgotten.0.capacity() * size_of::<u64>()
    }

    #[test]
    fn a_link_has_so_many_referrers_a_day_and_no_more() {
        let mut known = KnownReferrers::default();
        for day in [DAY, DAY.tomorrow().unwrap()] {
            assert_eq!(admitted(&mut known, 0, day, 0..PER_LINK + 5), PER_LINK);
            assert_eq!(admitted(&mut known, 0, day, 0..PER_LINK + 5), PER_LINK, "those that are known stay");
        }
        assert_eq!(admitted(&mut known, 0, DAY, 0..PER_LINK + 5), PER_LINK, "a straggler changes nothing");
        assert_eq!(admitted(&mut known, 1, DAY, 0..1), 0);
    }

    #[test]
    fn invented_referrers_take_a_bounded_amount_of_memory() {
        let mut known = KnownReferrers::default();
        for link in 0..100_000 {
            admitted(&mut known, link, DAY, 0..1);
        }
        for link in 0..8_000 {
            admitted(&mut known, 1_000_000 + link, DAY, 0..PER_LINK);
        }
        let bytes = bytes(&known);
        assert!(bytes <= BYTES + FORGOTTEN_BITS / 8, "{bytes} bytes");
    }

    #[test]
    fn a_forgotten_link_gets_no_further_referrers_and_a_busy_one_is_not_forgotten() {
        let mut known = KnownReferrers::default();
        let (forgotten, busy) = (1_000_000, 1_000_001);
        assert_eq!(admitted(&mut known, forgotten, DAY, 0..60), 60);
        assert_eq!(admitted(&mut known, busy, DAY, 0..60), 60);
        for link in 0..100_000 {
            admitted(&mut known, link, DAY, 0..1);
            admitted(&mut known, busy, DAY, 0..1);
        }
        assert_eq!(admitted(&mut known, forgotten, DAY, 0..200), 0, "nobody knows how many it has had");
        assert_eq!(admitted(&mut known, busy, DAY, 0..200), PER_LINK);
        let next = DAY.tomorrow().unwrap();
        assert_eq!(admitted(&mut known, forgotten, next, 0..200), PER_LINK);
    }
}
