//! The orders of listings, and the cursors between their pages.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::Record;
use crate::link::Key;

/// The order of a listing. Keys break ties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Last created first.
    #[default]
    Newest,
    /// First created first.
    Oldest,
    /// Most clicked first. Links without clicks are left out.
    MostClicked,
}

impl Order {
    /// Returns the position of `record` in this order.
    pub fn cursor(self, record: &Record) -> Cursor {
        let position = match self {
            Self::Newest | Self::Oldest => record.link.created_at.as_millisecond(),
            Self::MostClicked => i64::try_from(record.clicks).unwrap_or(i64::MAX),
        };
        Cursor { position, key: record.link.key.clone() }
    }
}

/// A string that sorts after every key, in any database collation.
pub(super) const LAST_KEY: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

/// A position in a listing: that of the last link of a page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Milliseconds since the Unix epoch, or the number of clicks.
    pub position: i64,
    pub key: Key,
}

/// The error for a string that is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the cursor is not one that this service has given out")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.position, self.key)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (position, key) = text.split_once('.').ok_or(InvalidCursor)?;
        let position = position.parse().map_err(|_| InvalidCursor)?;
        Ok(Self { position, key: key.parse().map_err(|_| InvalidCursor)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_key_is_longer_than_any() {
        assert_eq!(LAST_KEY.len(), Key::MAX_LEN + 1);
    }

    #[test]
    fn a_cursor_comes_back_from_its_text() {
        let cursor = Cursor { position: -5, key: "a-b_c".parse().unwrap() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "5", "x.a", "5.", "5.a b"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text:?}");
        }
    }
}
