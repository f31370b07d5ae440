//! A limit on distinct referrers per link and day.
//!
//! Clients can send any `Referer` header, so without a limit they could fill the store with made-up hosts.
//!
//! Hashes of the hosts seen today are kept in a fixed amount of memory. When that memory is full, the links that were
//! not followed recently are evicted, and a Bloom filter records each evicted link. For the rest of the day, visits to
//! an evicted link are counted without a referrer, because the number of referrers that the link already had is no
//! longer known. The limit therefore always holds, and an attack affects only the referrers of rarely followed links.

use std::collections::HashMap;

use ahash::RandomState;
use jiff::civil::Date;

use super::Referrer;
use crate::link::Key;

/// The maximum number of referrers per link and day.
///
/// Each instance counts separately, and starts again from zero after a restart.
const PER_LINK: usize = 100;

/// The maximum memory for the hashes, in bytes.
///
/// This is enough for 80,000 links with one referrer each, or for 7,000 links at the limit.
const BYTES: usize = 8 << 20;

/// The size of the Bloom filter for evicted links, in bits.
///
/// After 100,000 evictions, the false positive rate for a new link is 1 in 84.
const EVICTED_BITS: usize = 8 << 20;

/// The memory that a set needs in addition to its hashes, in bytes.
///
/// This includes the set's slot in a table that has just grown, and the allocator's rounding.
const PER_SET: usize = 96;

/// The referrers seen today, by link.
pub(super) struct KnownReferrers {
    today: Date,
    hasher: RandomState,
    recent: Generation,
    earlier: Generation,
    evicted: Evicted,
}

/// The links followed in one period, with the hashes of their referrers.
#[derive(Default)]
struct Generation {
    sets: HashMap<u64, Vec<u64>>,
    bytes: usize,
}

/// A Bloom filter for evicted links, with one hash function.
///
/// It allocates no memory until the first eviction.
#[derive(Default)]
struct Evicted(Vec<u64>);

impl Default for KnownReferrers {
    fn default() -> Self {
        Self {
            today: Date::default(),
            hasher: RandomState::new(),
            recent: Generation::default(),
            earlier: Generation::default(),
            evicted: Evicted::default(),
        }
    }
}

impl KnownReferrers {
    /// Returns whether `referrer` is within the limit for this link and day.
    pub(super) fn admit(&mut self, key: &Key, day: Date, referrer: &Referrer) -> bool {
        if day > self.today {
            self.today = day;
            self.earlier = std::mem::take(&mut self.recent);
            self.evicted.0.clear();
        }
        let (link, host) = (self.hasher.hash_one((key, day)), self.hasher.hash_one(referrer));
        if !self.recent.sets.contains_key(&link) {
            let hosts = match self.earlier.take(link) {
                Some(hosts) => hosts,
                // The first flush of a day can still contain visits from the previous day. The evictions of the
                // previous day have been forgotten, so a link that is not in the table gets no referrers for that day.
                None if day < self.today || self.evicted.contains(link) => return false,
                None => Vec::new(),
            };
            if self.recent.bytes + cost(&hosts) > BYTES / 2 {
                self.earlier.sets.keys().for_each(|link| self.evicted.insert(*link));
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

/// Returns the size of a set in bytes, including its overhead.
fn cost(hosts: &Vec<u64>) -> usize {
    PER_SET + hosts.capacity() * size_of::<u64>()
}

impl Evicted {
    fn insert(&mut self, link: u64) {
        self.0.resize(EVICTED_BITS / 64, 0);
        let (word, bit) = Self::position(link);
        self.0[word] |= 1 << bit;
    }

    fn contains(&self, link: u64) -> bool {
        let (word, bit) = Self::position(link);
        self.0.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }

    fn position(link: u64) -> (usize, u64) {
        let bit = link % EVICTED_BITS as u64;
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

    /// Returns the memory that the tables, sets and filter actually use.
    fn bytes(known: &KnownReferrers) -> usize {
        let generation = |generation: &Generation| {
            // A table has one control byte per slot, and at most seven eighths of its slots are used.
            let slots = generation.sets.capacity() * 8 / 7 * (size_of::<(u64, Vec<u64>)>() + 1);
            slots + generation.sets.values().map(|hosts| hosts.capacity() * size_of::<u64>()).sum::<usize>()
        };
        generation(&known.recent) + generation(&known.earlier) + known.evicted.0.capacity() * size_of::<u64>()
    }

    #[test]
    fn the_number_of_referrers_per_link_and_day_is_limited() {
        let mut known = KnownReferrers::default();
        for day in [DAY, DAY.tomorrow().unwrap()] {
            assert_eq!(admitted(&mut known, 0, day, 0..PER_LINK + 5), PER_LINK);
            assert_eq!(admitted(&mut known, 0, day, 0..PER_LINK + 5), PER_LINK, "those that are known stay");
        }
        assert_eq!(admitted(&mut known, 0, DAY, 0..PER_LINK + 5), PER_LINK, "a straggler changes nothing");
        assert_eq!(admitted(&mut known, 1, DAY, 0..1), 0);
    }

    #[test]
    fn made_up_referrers_use_a_bounded_amount_of_memory() {
        let mut known = KnownReferrers::default();
        for link in 0..100_000 {
            admitted(&mut known, link, DAY, 0..1);
        }
        for link in 0..8_000 {
            admitted(&mut known, 1_000_000 + link, DAY, 0..PER_LINK);
        }
        let bytes = bytes(&known);
        assert!(bytes <= BYTES + EVICTED_BITS / 8, "{bytes} bytes");
    }

    #[test]
    fn an_evicted_link_gets_no_further_referrers_and_a_busy_one_is_not_evicted() {
        let mut known = KnownReferrers::default();
        let (evicted, busy) = (1_000_000, 1_000_001);
        assert_eq!(admitted(&mut known, evicted, DAY, 0..60), 60);
        assert_eq!(admitted(&mut known, busy, DAY, 0..60), 60);
        for link in 0..100_000 {
            admitted(&mut known, link, DAY, 0..1);
            admitted(&mut known, busy, DAY, 0..1);
        }
        assert_eq!(admitted(&mut known, evicted, DAY, 0..200), 0, "nobody knows how many it has had");
        assert_eq!(admitted(&mut known, busy, DAY, 0..200), PER_LINK);
        let next = DAY.tomorrow().unwrap();
        assert_eq!(admitted(&mut known, evicted, next, 0..200), PER_LINK);
    }
}
