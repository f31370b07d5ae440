//! What stands under which key.
//!
//! Links are spread over [`BUCKETS`] buckets by a hash of their key, and all keys of a bucket bear the same hash tag, so
//! that a link, its counts and its place in the bucket's listings lie in one slot of a cluster. Listings are sorted
//! sets in which every member has the score 0: their order is that of the text, `place:key`, and a page begins exactly
//! where the one before has ended, however many links were made in one millisecond.

use std::{collections::HashMap, sync::Arc};

use redis::Cmd;

use crate::{
    clicks::{DayCount, Facet},
    link::{Key, Link},
    store::{History, Record, StoreError, columns::Columns, day, listing::Order},
};

/// How many buckets there are. It can't change without moving every link.
const BUCKETS: u32 = 256;

/// The counter of keys.
pub(super) const COUNTER: &str = "urlshort:counter";

/// The version of this layout.
pub(super) const SCHEMA: &str = "urlshort:schema";

/// How many instances have used the store.
pub(super) const INSTANCES: &str = "urlshort:instances";

/// The channel on which instances tell each other of changes.
pub(super) const CHANNEL: &str = "urlshort:changes";

/// Added to a place, so that times before 1970 sort as text as well; no timestamp is further from it than that.
pub(super) const PLACE_OFFSET: i64 = 400_000_000_000_000;

/// The Redis keys that concern one link.
pub(super) struct Keys {
    bucket: u32,
    /// Hash of its fields.
    pub(super) link: String,
    /// Hash of `day|kind|value` to a number.
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

/// A member of a listing.
pub(super) fn place(position: i64, key: &Key) -> String {
    format!("{:016}:{key}", position.saturating_add(PLACE_OFFSET))
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

/// The fields of a new link.
pub(super) fn fields(link: &Link, history: &History) -> Vec<(&'static str, String)> {
    let (mut fields, _) = changed_fields(link);
    fields.push(("created_at", link.created_at.as_millisecond().to_string()));
    fields.push(("clicks", history.clicks().to_string()));
    fields.push(("visits", history.visits.to_string()));
    fields
}

/// The fields that an edit can change: those to set, and the names of those to remove.
pub(super) fn changed_fields(link: &Link) -> (Vec<(&'static str, String)>, Vec<&'static str>) {
    let columns = Columns::from(link);
    let all = [
        ("target", Some(columns.target)),
        ("expires_at", columns.expires_at.map(|time| time.to_string())),
        ("max_visits", columns.max_visits.map(|visits| visits.to_string())),
        ("taken_down_at", columns.taken_down_at.map(|time| time.to_string())),
        ("redirect", Some(columns.redirect.to_string())),
        ("forward_query", columns.forward_query.then(|| "1".into())),
        ("title", columns.title),
        ("tags", Some(columns.tags).filter(|tags| !tags.is_empty())),
        ("password", columns.password),
        ("version", Some(columns.version.to_string())),
    ];
    let unset = all.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    (all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(), unset)
}

/// A link and its counts from the fields of its hash.
///
/// # Errors
/// [`StoreError::Corrupt`] where a field is missing or is none that this service has written.
pub(super) fn record(key: &Key, mut fields: HashMap<String, String>) -> Result<Record, StoreError> {
    let number = |fields: &HashMap<String, String>, name: &str| -> Result<Option<i64>, StoreError> {
        fields.get(name).map(|value| value.parse()).transpose().map_err(StoreError::corrupt)
    };
    let required = |value: Option<i64>| value.ok_or_else(|| StoreError::corrupt("a field is missing"));
    let counts = |value: Option<i64>| u64::try_from(required(value)?).map_err(StoreError::corrupt);
    let clicks = counts(number(&fields, "clicks")?)?;
    let visits = counts(number(&fields, "visits")?)?;
    let columns = Columns {
        key: key.to_string(),
        created_at: required(number(&fields, "created_at")?)?,
        expires_at: number(&fields, "expires_at")?,
        max_visits: number(&fields, "max_visits")?,
        taken_down_at: number(&fields, "taken_down_at")?,
        redirect: required(number(&fields, "redirect")?)?,
        forward_query: fields.contains_key("forward_query"),
        version: required(number(&fields, "version")?)?,
        target: fields.remove("target").unwrap_or_default(),
        title: fields.remove("title"),
        tags: fields.remove("tags").unwrap_or_default(),
        password: fields.remove("password"),
    };
    Ok(Record { link: Arc::new(Link::try_from(columns)?), clicks, visits })
}

/// The field of a day's count.
pub(super) fn day_field(counted: &DayCount) -> String {
    let (kind, value) = counted.facet.as_pair();
    format!("{}|{kind}|{value}", day::to_number(counted.day))
}

/// A day's count from its field and number.
///
/// # Errors
/// [`StoreError::Corrupt`] where the field is none that [`day_field`] has written.
pub(super) fn day_count(field: &str, count: u64) -> Result<DayCount, StoreError> {
    let mut parts = field.splitn(3, '|');
    let mut part = || parts.next().ok_or_else(|| StoreError::corrupt("a day's count has no name"));
    let day = day::from_number(part()?.parse().map_err(StoreError::corrupt)?)?;
    Ok(DayCount { day, facet: Facet::from_pair(part()?, part()?).map_err(StoreError::corrupt)?, count })
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
        let places =
            [-377_705_023_201_000, -1, 0, 1, 9, 10, 253_402_207_200_999].map(|time| place(time, &key));
        assert!(places.is_sorted(), "{places:?}");
        assert!(places.iter().all(|place| key_text(place) == key.as_str()));
    }
}
