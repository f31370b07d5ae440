//! The layout of Redis keys, hashes and sorted sets.
//!
//! Links are spread over [`BUCKETS`] buckets by a hash of their keys. All Redis keys of a bucket have the same hash
//! tag, so a link, its counts and the bucket's listings are in the same cluster slot. Listings are sorted sets. Every
//! member has the form `position:key` and the score 0, so members sort as strings. A page can therefore start exactly
//! where the previous page ended, even if many links were created in the same millisecond.

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
        listing::{Cursor, Order},
        row::{day, day_number, signed},
    },
};

/// The number of buckets. Changing it would move every link.
const BUCKETS: u32 = 256;

/// The counter behind sequential keys.
pub(super) const COUNTER: &str = "urlshort:counter";

/// A hash with the schema's version and `readable_from`.
pub(super) const SCHEMA: &str = "urlshort:schema";

/// The secret that all instances share.
pub(super) const SECRET: &str = "urlshort:secret";

/// The counter that numbers instances.
pub(super) const INSTANCES: &str = "urlshort:instances";

/// The pub/sub channel for changes made by other instances.
pub(super) const CHANNEL: &str = "urlshort:changes";

/// An offset that makes creation times positive.
///
/// Only positive numbers sort correctly as strings.
///
/// The offset exceeds every timestamp's distance from 1970, in milliseconds.
const CREATION_OFFSET: i64 = 400_000_000_000_000;

/// The Redis keys of one link.
pub(super) struct Keys {
    bucket: u32,
    /// A hash of the link's fields.
    pub(super) link: String,
    /// A hash of counts by day. See [`day_fields`].
    pub(super) days: String,
    /// The sorted set of the bucket's links by creation time.
    pub(super) by_creation: String,
    /// The sorted set of the bucket's links with clicks.
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

    /// Returns the key that marks a visit as used.
    ///
    /// `token` is the write token of the visit. The key expires soon.
    pub(super) fn visit(&self, token: &str) -> String {
        format!("urlshort:{{{:02x}}}:visit:{token}", self.bucket)
    }
}

fn listing(bucket: u32, order: Order) -> String {
    match order {
        Order::Newest | Order::Oldest => format!("urlshort:{{{bucket:02x}}}:by_creation"),
        Order::MostClicked => format!("urlshort:{{{bucket:02x}}}:by_clicks"),
    }
}

/// Returns the bucket of a key, using the 32-bit FNV-1a hash.
fn bucket_of(key: &Key) -> u32 {
    let hash = key
        .as_str()
        .bytes()
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % BUCKETS
}

pub(super) fn buckets() -> impl Iterator<Item = u32> {
    0..BUCKETS
}

/// Returns the number of links to request from each bucket.
///
/// Together, these links are very likely enough for a page of `limit` links.
pub(super) fn share_of(limit: usize) -> usize {
    limit.div_ceil(BUCKETS as usize) * 2 + 4
}

/// Returns the member that represents a link in a listing.
///
/// `add_clicks.lua` and `delete.lua` must build members of the same form.
pub(super) fn member(order: Order, position: i64, key: &Key) -> String {
    match order {
        Order::Newest | Order::Oldest => format!("{:016}:{key}", position.saturating_add(CREATION_OFFSET)),
        Order::MostClicked => format!("{position:019}:{key}"),
    }
}

/// Returns the cursor for a member, unless its key is invalid.
pub(super) fn cursor(order: Order, member: &str) -> Option<Cursor> {
    let (position, key) = member.split_once(':')?;
    let position: i64 = position.parse().ok()?;
    let offset = if order == Order::MostClicked { 0 } else { CREATION_OFFSET };
    Some(Cursor { position: position - offset, key: key.parse().ok()? })
}

/// Returns the link key in a member.
pub(super) fn key_text(member: &str) -> &str {
    member.split_once(':').map_or(member, |(_, key)| key)
}

/// Builds the command that returns a bucket's next members after `after`.
pub(super) fn next_members(bucket: u32, order: Order, after: Option<&str>, limit: usize) -> Cmd {
    let start = after.map(|member| format!("({member}"));
    let (name, unbounded, end) = match order {
        Order::Oldest => ("ZRANGEBYLEX", "-", "+"),
        Order::Newest | Order::MostClicked => ("ZREVRANGEBYLEX", "+", "-"),
    };
    let mut command = redis::cmd(name);
    command.arg(listing(bucket, order)).arg(start.as_deref().unwrap_or(unbounded)).arg(end);
    command.arg("LIMIT").arg(0).arg(limit);
    command
}

/// Returns whichever member comes first in `order`.
pub(super) fn first(order: Order, one: Option<String>, other: Option<String>) -> Option<String> {
    let members = [one, other].into_iter().flatten();
    match order {
        Order::Oldest => members.min(),
        Order::Newest | Order::MostClicked => members.max(),
    }
}

/// Sorts members in `order`.
pub(super) fn sort(order: Order, members: &mut [String]) {
    match order {
        Order::Oldest => members.sort_unstable(),
        Order::Newest | Order::MostClicked => members.sort_unstable_by(|one, other| other.cmp(one)),
    }
}

/// Returns the hash fields for a day's counts.
///
/// A field name consists of the day number, a letter, and the device or referrer, if any. With one field per count, the
/// server adds exact integers. If one document held all counts, Lua would have to add them as floating-point numbers.
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

/// Parses daily counts from the fields that [`day_fields`] returns.
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
        let date = day(number_of_day(&field).ok_or_else(unknown)?)?;
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

/// Returns the day number in the name of a field.
pub(super) fn number_of_day(field: &str) -> Option<i32> {
    let letter = field.find(|char: char| char.is_ascii_alphabetic())?;
    field[..letter].parse().ok()
}

fn device(name: &str) -> Option<Device> {
    let name: StrDeserializer<'_, value::Error> = name.into_deserializer();
    Device::deserialize(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_of_a_link_never_changes() {
        // The FNV-1a hash of the key is 2fe6d447.
        let keys = Keys::new(&"q0V8fYz".parse().unwrap());
        assert_eq!(keys.link, "urlshort:{47}:link:q0V8fYz");
        assert_eq!(keys.by_creation, "urlshort:{47}:by_creation");
    }

    #[test]
    fn members_sort_by_position() {
        let key = "k".parse().unwrap();
        let times = [-377_705_023_201_000, -1, 0, 1, 9, 10, 253_402_207_200_999];
        let clicks = [0, 1, 9, 10, 1 << 53, i64::MAX - 1, i64::MAX];
        for members in [
            times.map(|n| member(Order::Newest, n, &key)),
            clicks.map(|n| member(Order::MostClicked, n, &key)),
        ] {
            assert!(members.is_sorted(), "{members:?}");
            assert!(members.iter().all(|member| key_text(member) == key.as_str()));
        }
        for (order, position) in [(Order::Oldest, -1), (Order::Newest, 1), (Order::MostClicked, i64::MAX)] {
            let expected = Some(Cursor { position, key: key.clone() });
            assert_eq!(cursor(order, &member(order, position, &key)), expected);
        }
    }

    #[test]
    fn counts_round_trip_through_their_fields() {
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
