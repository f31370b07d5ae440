//! The range and precision of timestamps, and their format in a link's document.

use jiff::Timestamp;
use thiserror::Error;

/// 0000-01-01T00:00:00Z. RFC 3339 has no earlier years.
const EARLIEST: Timestamp = Timestamp::constant(-62_167_219_200, 0);

/// 9999-12-30T22:00:00Z. [`Timestamp::from_millisecond`] accepts no later time.
const LATEST: Timestamp = Timestamp::constant(253_402_207_200, 0);

/// The error for a timestamp that is too early or too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a timestamp is from 0000-01-01T00:00:00Z to 9999-12-30T22:00:00Z")]
pub(crate) struct TimestampOutOfRange;

/// Truncates `time` to whole milliseconds, the precision of every store.
///
/// Every timestamp from a client, a file or the clock goes through this function, so later conversions can't fail.
///
/// # Errors
/// [`TimestampOutOfRange`] if `time` can't be stored, read back, and written as RFC 3339.
pub(crate) fn whole_milliseconds(time: Timestamp) -> Result<Timestamp, TimestampOutOfRange> {
    if !(EARLIEST..=LATEST).contains(&time) {
        return Err(TimestampOutOfRange);
    }
    Timestamp::from_millisecond(time.as_millisecond()).map_err(|_| TimestampOutOfRange)
}

/// Serde functions for a timestamp in a link's document.
///
/// The format is RFC 3339 in UTC with three decimal places, so that sorting the strings sorts the timestamps.
pub(crate) mod optional {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::whole_milliseconds;

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(&format_args!("{time:.3}")),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let time = Option::<Timestamp>::deserialize(deserializer)?;
        time.map(whole_milliseconds).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_range_includes_its_ends_and_nothing_beyond() {
        for time in ["0000-01-01T00:00:00Z", "9999-12-30T22:00:00Z"] {
            assert_eq!(whole_milliseconds(time.parse().unwrap()).unwrap().to_string(), time);
        }
        for time in
            ["-000001-12-31T23:59:59.999Z", "9999-12-30T22:00:00.000000001Z", "9999-12-30T22:00:00.999Z"]
        {
            assert_eq!(whole_milliseconds(time.parse().unwrap()), Err(TimestampOutOfRange), "{time}");
        }
    }

    proptest! {
        #[test]
        fn accepted_timestamps_round_trip_through_milliseconds_and_text(
            second in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(), nanosecond in 0..1_000_000_000,
        ) {
            let time = Timestamp::new(second, nanosecond).unwrap_or(Timestamp::MAX);
            if let Ok(time) = whole_milliseconds(time) {
                prop_assert_eq!(Timestamp::from_millisecond(time.as_millisecond()).unwrap(), time);
                prop_assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
            }
        }
    }
}
