//! Conversions between domain values and stored columns.

use std::{collections::BTreeMap, ops::Bound};

use jiff::{
    Span, Timestamp, Unit,
    civil::{Date, date},
};

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::{
    blocked_hosts::{BlockedHost, HostPattern},
    clicks::{DayCounts, Device},
    link::{Document, Link},
};

/// The date of day number 0.
const FIRST_DAY: Date = date(1970, 1, 1);

/// Serializes a link's document.
pub(super) fn encode(doc: &Document) -> Result<String, StoreError> {
    serde_json::to_string(doc).map_err(StoreError::corrupt)
}

/// Builds a link from its columns.
///
/// `created_at` is in milliseconds since the Unix epoch.
///
/// # Errors
/// [`StoreError::Corrupt`] for an invalid value.
pub(super) fn link(key: &str, created_at: i64, version: i64, doc: &str) -> Result<Link, StoreError> {
    Ok(Link {
        key: key.parse().map_err(StoreError::corrupt)?,
        created_at: Timestamp::from_millisecond(created_at).map_err(StoreError::corrupt)?,
        version: u32::try_from(version).map_err(StoreError::corrupt)?,
        doc: serde_json::from_str(doc).map_err(StoreError::corrupt)?,
    })
}

/// Builds a blocked host from its columns.
///
/// `blocked_at` is in milliseconds since the Unix epoch.
///
/// # Errors
/// [`StoreError::Corrupt`] for an invalid value.
pub(super) fn blocked_host(
    host: &str,
    reason: Option<&str>,
    blocked_by: &str,
    blocked_at: i64,
) -> Result<BlockedHost, StoreError> {
    Ok(BlockedHost {
        host: host.parse().map_err(StoreError::corrupt)?,
        reason: reason.map(str::parse).transpose().map_err(StoreError::corrupt)?,
        blocked_by: blocked_by.parse().map_err(StoreError::corrupt)?,
        blocked_at: Timestamp::from_millisecond(blocked_at).map_err(StoreError::corrupt)?,
    })
}

/// Returns the SQL operator and the value for a range's start.
pub(super) fn start(from: Bound<&HostPattern>) -> (&'static str, &str) {
    match from {
        Bound::Unbounded => (">", ""),
        Bound::Included(host) => (">=", host.as_str()),
        Bound::Excluded(host) => (">", host.as_str()),
    }
}

/// The columns of a day's counts.
///
/// One column per device takes a third less space than a JSON document (`cargo bench --bench layout`).
#[derive(Serialize, Deserialize)]
pub(super) struct DayColumns {
    pub(super) people: i64,
    pub(super) bots: i64,
    pub(super) desktop: i64,
    pub(super) mobile: i64,
    pub(super) tablet: i64,
    pub(super) other: i64,
    /// A JSON object of counts by host, or `None` if there are no referrers.
    pub(super) referrers: Option<String>,
}

impl TryFrom<&DayCounts> for DayColumns {
    type Error = StoreError;

    fn try_from(counts: &DayCounts) -> Result<Self, StoreError> {
        let device = |device| counts.devices.get(&device).copied().map_or(0, signed);
        let referrers = Some(&counts.referrers).filter(|referrers| !referrers.is_empty());
        Ok(Self {
            people: signed(counts.people),
            bots: signed(counts.bots),
            desktop: device(Device::Desktop),
            mobile: device(Device::Mobile),
            tablet: device(Device::Tablet),
            other: device(Device::Other),
            referrers: referrers.map(serde_json::to_string).transpose().map_err(StoreError::corrupt)?,
        })
    }
}

impl TryFrom<DayColumns> for DayCounts {
    type Error = StoreError;

    fn try_from(columns: DayColumns) -> Result<Self, StoreError> {
        let DayColumns { people, bots, desktop, mobile, tablet, other, referrers } = columns;
        let mut devices = BTreeMap::new();
        for (device, count) in [
            (Device::Desktop, desktop),
            (Device::Mobile, mobile),
            (Device::Tablet, tablet),
            (Device::Other, other),
        ] {
            if count != 0 {
                devices.insert(device, unsigned(count)?);
            }
        }
        let referrers = referrers.as_deref().map_or(Ok(BTreeMap::new()), serde_json::from_str);
        let referrers = referrers.map_err(StoreError::corrupt)?;
        Ok(Self { people: unsigned(people)?, bots: unsigned(bots)?, devices, referrers })
    }
}

/// Returns the number of days since 1970-01-01.
pub(super) fn day_number(day: Date) -> i32 {
    day.since((Unit::Day, FIRST_DAY)).map_or(0, |span| span.get_days())
}

/// Returns the day that is `number` days after 1970-01-01.
///
/// # Errors
/// [`StoreError::Corrupt`] if the day is out of range.
pub(super) fn day(number: i32) -> Result<Date, StoreError> {
    let days = Span::new().try_days(number).map_err(StoreError::corrupt)?;
    FIRST_DAY.checked_add(days).map_err(StoreError::corrupt)
}

/// Converts a count for storage in a column.
///
/// SQL has no unsigned integers. Counts that are too large saturate.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Converts a count from a column.
///
/// # Errors
/// [`StoreError::Corrupt`] if the number is negative.
pub(super) fn unsigned(count: i64) -> Result<u64, StoreError> {
    u64::try_from(count).map_err(StoreError::corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_round_trips_through_its_number() {
        for (text, number) in
            [("1970-01-01", 0), ("2026-06-01", 20_605), ("0000-01-01", -719_528), ("9999-12-31", 2_932_896)]
        {
            let date: Date = text.parse().unwrap();
            assert_eq!(day_number(date), number, "{text}");
            assert_eq!(day(number).unwrap(), date);
        }
        assert!(day(i32::MAX).is_err());
    }

    #[test]
    fn counts_round_trip_through_their_columns() {
        let text = r#"{"people":3,"bots":1,"devices":{"mobile":2},"referrers":{"news.example":1}}"#;
        let counts: DayCounts = serde_json::from_str(text).unwrap();
        let columns = DayColumns::try_from(&counts).unwrap();
        assert_eq!((columns.people, columns.mobile, columns.tablet), (3, 2, 0));
        assert_eq!(columns.referrers.as_deref(), Some(r#"{"news.example":1}"#));
        assert_eq!(DayCounts::try_from(columns).unwrap(), counts);
        let columns = || DayColumns::try_from(&counts).unwrap();
        assert!(DayCounts::try_from(DayColumns { people: -1, ..columns() }).is_err());
        assert!(DayCounts::try_from(DayColumns { tablet: -1, ..columns() }).is_err());
        assert!(DayCounts::try_from(DayColumns { referrers: Some("{".into()), ..columns() }).is_err());
    }
}
