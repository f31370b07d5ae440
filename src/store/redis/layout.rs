//! The keys of a store.
//!
//! Links are spread over [`BUCKETS`] buckets by a hash of their key. All keys of a bucket have the same hash tag, so that
//! a link, its counts and its place in the bucket's listings are in one slot of a cluster. Listings are sorted sets in
//! which every member has the score 0: their order is that of the text, `place:key`, and a page begins exactly where the
//! one before has ended, however many links were made in one millisecond.

use std::collections::BTreeMap;

use jiff::civil::Date;
use redis::Cmd;
use serde::{
    Deserialize,
    de::{
        IntoDeserializer,
        value::{self, StrDeserializer},
    },
};

use crate::{
    clicks::{DayCounts, Device},
    link::Key,
    store::{
        StoreError,
        listing::Order,
        row::{day, day_number, signed},
    },
};

/// How many buckets there are. It can't change without moving every link.
const BUCKETS: u32 = 256;

/// The counter of keys.
pub(super) const COUNTER: &str = "urlshort:counter";

/// Hash of the schema's version and the oldest version that can use the store.
pub(super) const SCHEMA: &str = "urlshort:schema";

/// How many instances have used the store.
pub(super) const INSTANCES: &str = "urlshort:instances";

/// The channel on which instances announce changes to each other.
pub(super) const CHANNEL: &str = "urlshort:changes";

/// Added to a creation time, so that times before 1970 sort as text as well; no timestamp is further from it than that.
const PLACE_OFFSET: i64 = 400_000_000_000_000;

/// The Redis keys that concern one link.
pub(super) struct Keys {
    bucket: u32,
    /// Hash of its fields.
    pub(super) link: String,
    /// Hash of counts by day, see [`day_fields`].
    pub(super) days: String,
    /// Sorted set of its bucket's links.
    pub(super) by_creation: String,
    /// Sorted set of those of its bucket's links that were followed.
    pub(super) by_clicks: String,
}

impl Keys {
    pub(super) fn new(key: &Key) -> Self {
        let bucket = bucket_of(key);
        Self {
            bucket,
            link: format!("urlshort:{{{bucket:02x}}}:link:{key}"),
            days: format!("urlshort:{{{bucket:02x}}}:days:{key}"),
            by_creation: listing(bucket, Order::Newest),
            by_clicks: listing(bucket, Order::MostClicked),
        }
    }
}

impl Keys {
    /// The mark of a visit that was used, which stays for a short time.
    pub(super) fn visit(&self, number: &str) -> String {
        format!("urlshort:{{{:02x}}}:visit:{number}", self.bucket)
    }
}

fn listing(bucket: u32, order: Order) -> String {
    match order {
        Order::Newest | Order::Oldest => format!("urlshort:{{{bucket:02x}}}:by_creation"),
        Order::MostClicked => format!("urlshort:{{{bucket:02x}}}:by_clicks"),
    }
}

/// FNV-1a, 32 bits: short, and the same for ever.
fn bucket_of(key: &Key) -> u32 {
    let hash = key
        .as_str()
        .bytes()
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % BUCKETS
}

/// Every bucket.
pub(super) fn buckets() -> impl Iterator<Item = u32> {
    0..BUCKETS
}

/// How many links to ask each bucket for, so that together they most likely make `limit`.
pub(super) fn share_of(limit: usize) -> usize {
    limit.div_ceil(BUCKETS as usize) * 2 + 4
}

/// Returns the member of a listing. Scripts make those by clicks as well.
pub(super) fn place(order: Order, position: i64, key: &Key) -> String {
    match order {
        Order::Newest | Order::Oldest => format!("{:016}:{key}", position.saturating_add(PLACE_OFFSET)),
        Order::MostClicked => format!("{position:019}:{key}"),
    }
}

/// The key in a member of a listing.
pub(super) fn key_text(place: &str) -> &str {
    place.split_once(':').map_or(place, |(_, key)| key)
}

/// Asks a bucket for its next places in `order` behind `after`.
pub(super) fn next_places(bucket: u32, order: Order, after: Option<&str>, limit: usize) -> Cmd {
    let start = after.map(|place| format!("({place}"));
    let (name, unbounded, end) = match order {
        Order::Oldest => ("ZRANGEBYLEX", "-", "+"),
        Order::Newest | Order::MostClicked => ("ZREVRANGEBYLEX", "+", "-"),
    };
    let mut command = redis::cmd(name);
    command.arg(listing(bucket, order)).arg(start.as_deref().unwrap_or(unbounded)).arg(end);
    command.arg("LIMIT").arg(0).arg(limit);
    command
}

/// Of two places the one that comes first in `order`.
pub(super) fn nearer(order: Order, one: Option<String>, other: Option<String>) -> Option<String> {
    let places = [one, other].into_iter().flatten();
    match order {
        Order::Oldest => places.min(),
        Order::Newest | Order::MostClicked => places.max(),
    }
}

/// Sorts places as `order` wants them.
pub(super) fn sort(order: Order, places: &mut [String]) {
    match order {
        Order::Oldest => places.sort_unstable(),
        Order::Newest | Order::MostClicked => places.sort_unstable_by(|one, other| other.cmp(one)),
    }
}

/// Returns the fields of a day's counts: the number of the day, a letter, and the name of the device or referrer.
///
/// A field for each count lets the server add to it exactly. In a document, Lua would add up floating-point numbers.
pub(super) fn day_fields(date: Date, counts: &DayCounts) -> Vec<(String, i64)> {
    let day = day_number(date);
    let mut fields = Vec::new();
    let mut push = |name: String, count: u64| {
        if count > 0 {
            fields.push((name, signed(count)));
        }
    };
    push(format!("{day}p"), counts.people);
    push(format!("{day}b"), counts.bots);
    for (device, count) in &counts.devices {
        push(format!("{day}d{}", device.as_str()), *count);
    }
    for (referrer, count) in &counts.referrers {
        push(format!("{day}r{}", referrer.as_str()), *count);
    }
    fields
}

/// Reads counts by day from the fields that [`day_fields`] has written.
///
/// # Errors
/// [`StoreError::Corrupt`] for any other field.
pub(super) fn read_days(
    fields: impl IntoIterator<Item = (String, u64)>,
) -> Result<BTreeMap<Date, DayCounts>, StoreError> {
    let mut days = BTreeMap::<Date, DayCounts>::new();
    for (field, count) in fields {
        let unknown = || StoreError::corrupt(format!("unknown count {field:?}"));
        let letter = field.find(|char: char| char.is_ascii_alphabetic()).ok_or_else(unknown)?;
        let date = day(field[..letter].parse().map_err(StoreError::corrupt)?)?;
        let counts = days.entry(date).or_default();
        let name = &field[letter + 1..];
        let counted = match &field[letter..=letter] {
            "p" => &mut counts.people,
            "b" => &mut counts.bots,
            "d" => counts.devices.entry(device(name).ok_or_else(unknown)?).or_default(),
            "r" => counts.referrers.entry(name.parse().map_err(StoreError::corrupt)?).or_default(),
            _ => return Err(unknown()),
        };
        *counted = count;
    }
    Ok(days)
}

fn device(name: &str) -> Option<Device> {
    let name: StrDeserializer<'_, value::Error> = name.into_deserializer();
    Device::deserialize(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_in_its_bucket_for_ever() {
        // FNV-1a of the key is 2fe6d447.
        let keys = Keys::new(&"q0V8fYz".parse().unwrap());
        assert_eq!(keys.link, "urlshort:{47}:link:q0V8fYz");
        assert_eq!(keys.by_creation, "urlshort:{47}:by_creation");
    }

    #[test]
    fn places_sort_as_their_positions_do() {
        let key = "k".parse().unwrap();
        let times = [-377_705_023_201_000, -1, 0, 1, 9, 10, 253_402_207_200_999];
        let clicks = [0, 1, 9, 10, 1 << 53, i64::MAX - 1, i64::MAX];
        for places in
            [times.map(|n| place(Order::Newest, n, &key)), clicks.map(|n| place(Order::MostClicked, n, &key))]
        {
            assert!(places.is_sorted(), "{places:?}");
            assert!(places.iter().all(|place| key_text(place) == key.as_str()));
        }
    }

    #[test]
    fn counts_come_back_from_their_fields() {
        let text =
            r#"{"people":3,"bots":1,"devices":{"mobile":2,"tablet":1},"referrers":{"p|b:d.example":3}}"#;
        let counts: DayCounts = serde_json::from_str(text).unwrap();
        let dates = ["0000-01-01", "1969-12-31", "2026-06-01"].map(|date| date.parse::<Date>().unwrap());
        let fields = dates.iter().flat_map(|date| day_fields(*date, &counts));
        let fields = fields.map(|(name, count)| (name, count.unsigned_abs()));
        assert_eq!(read_days(fields).unwrap(), dates.map(|date| (date, counts.clone())).into());
        for field in ["", "20605", "p", "20605x", "20605dtoaster", "20605r", "999999999p"] {
            assert!(read_days([(field.to_owned(), 1)]).is_err(), "{field:?}");
        }
    }
}
