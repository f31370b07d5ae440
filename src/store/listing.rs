//! Listings of links: orders, filters, and the cursors between pages.

use std::{fmt, str::FromStr, time::Duration};

use thiserror::Error;

use super::{Damaged, MAX_DAMAGED, Moment, Record, StoreError};
use crate::{
    blocked_hosts::HostPattern,
    link::{
        Creator, Key, Link, LinkState, Target,
        options::{Options, Tag},
    },
};

/// The time after which a search stops and returns a cursor.
const SEARCH_TIME: Duration = Duration::from_millis(400);

/// A request for a page of links.
#[derive(Clone, Debug)]
pub struct Listing {
    pub order: Order,
    /// The cursor from the previous page, or `None` for the first page.
    pub after: Option<Cursor>,
    /// The maximum number of links on the page. It must be at least 1.
    pub limit: usize,
    pub filter: Filter,
    /// The time after which a search stops and returns a cursor.
    pub search_time: Duration,
}

impl Default for Listing {
    fn default() -> Self {
        Self {
            order: Order::default(),
            after: None,
            limit: 1,
            filter: Filter::default(),
            search_time: SEARCH_TIME,
        }
    }
}

/// Conditions that every link in a listing meets.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub search: Option<Search>,
    pub tag: Option<Tag>,
    pub created_by: Option<Creator>,
    /// A state, and the moment at which the link must be in it.
    pub state: Option<(LinkState, Moment)>,
    /// The target's host, or a suffix of that host.
    pub host: Option<HostPattern>,
    /// The exact target. Only this condition can use an index.
    pub target: Option<Target>,
}

impl Filter {
    /// Returns whether a store must read documents to apply this filter.
    ///
    /// Only the condition on the target can use an index.
    pub(crate) fn is_search(&self) -> bool {
        let Self { search, tag, created_by, state, host, target: _ } = self;
        search.is_some() || tag.is_some() || created_by.is_some() || state.is_some() || host.is_some()
    }

    /// Returns whether a link meets every condition.
    pub fn matches(&self, record: &Record) -> bool {
        let state = self.state.as_ref();
        self.matches_link(&record.link) && state.is_none_or(|(state, moment)| record.state(moment) == *state)
    }

    /// Returns whether a link meets every condition except the state.
    pub(crate) fn matches_link(&self, link: &Link) -> bool {
        let Self { search, tag, created_by, state: _, host, target } = self;
        let doc = &link.doc;
        let Options { title, tags, .. } = &*doc.options;
        let texts = [link.key.as_str(), doc.target.as_str(), title.as_ref().map_or("", |t| t.as_str())];
        search.as_ref().is_none_or(|search| texts.iter().any(|text| search.is_in(text)))
            && tag.as_ref().is_none_or(|tag| tags.iter().any(|known| known == tag))
            && created_by.as_ref().is_none_or(|name| doc.created_by == *name)
            && host.as_ref().is_none_or(|host| host.matches(doc.target.host()))
            && target.as_ref().is_none_or(|target| doc.target == *target)
    }
}

/// Text to find in the key, the target or the title, ignoring case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    folded: Box<str>,
}

/// The error for an invalid search text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a search text is 1 to {} characters", Search::MAX_CHARS)]
pub struct InvalidSearch;

impl Search {
    /// The maximum length, in Unicode scalar values.
    pub(crate) const MAX_CHARS: usize = 200;

    fn is_in(&self, text: &str) -> bool {
        fold(text).contains(&*self.folded)
    }

    /// Returns the longest part of the search that every database can match.
    ///
    /// Every text that matches the search contains this part, ignoring case. The part is in lower case. It contains no
    /// letters that have case, except ASCII letters, because databases convert other letters differently. It contains
    /// no quotes, backslashes or control characters, because JSON escapes them.
    pub(super) fn literal(&self) -> &str {
        let is_literal = |char: char| {
            !char.is_control() && !matches!(char, '"' | '\\') && (char.is_ascii() || !has_case(char))
        };
        self.folded.split(|char| !is_literal(char)).max_by_key(|part| part.len()).unwrap_or_default()
    }
}

fn has_case(char: char) -> bool {
    !char.to_lowercase().eq([char]) || !char.to_uppercase().eq([char])
}

impl FromStr for Search {
    type Err = InvalidSearch;

    fn from_str(text: &str) -> Result<Self, InvalidSearch> {
        let valid = (1..=Self::MAX_CHARS).contains(&text.chars().count());
        if valid { Ok(Self { folded: fold(text).into() }) } else { Err(InvalidSearch) }
    }
}

/// Returns the text in lower case.
///
/// The few non-ASCII letters whose lower case is ASCII, such as the Kelvin sign, stay unchanged, because a database
/// that lowercases only ASCII letters would not match them.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_ascii() {
            folded.push(char.to_ascii_lowercase());
        } else if char.to_lowercase().any(|lower| lower.is_ascii()) {
            folded.push(char);
        } else {
            folded.extend(char.to_lowercase());
        }
    }
    folded
}

/// A page of links.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub records: Vec<Record>,
    /// Links that could not be read, and are therefore not in `records`.
    pub damaged: Vec<Damaged>,
    /// The cursor for the next page, or `None` if this is the last page.
    pub next: Option<Cursor>,
    /// The number of links read, if a search ran out of time.
    ///
    /// `None` if the page is complete.
    pub searched: Option<u64>,
}

impl Page {
    /// Adds a link, or records it as damaged. `key` returns the key of a damaged link.
    ///
    /// # Errors
    /// An error from the store itself, or too many damaged links.
    pub(super) fn push(
        &mut self,
        record: Result<Record, StoreError>,
        key: impl FnOnce() -> String,
    ) -> Result<(), StoreError> {
        match record {
            Ok(record) => self.records.push(record),
            Err(error @ StoreError::Corrupt(_)) if self.damaged.len() < MAX_DAMAGED => {
                self.damaged.push(Damaged { key: key(), error });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The order of a listing. Ties are broken by key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Newest links first.
    #[default]
    Newest,
    /// Oldest links first.
    Oldest,
    /// Most clicked links first. Links without clicks are left out.
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

/// A position in a listing: the last link on a page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Milliseconds since the Unix epoch, or the number of clicks.
    pub position: i64,
    pub key: Key,
}

/// The error for an invalid cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the cursor was not issued by this service")]
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
    fn the_last_key_is_longer_than_any_key() {
        assert_eq!(LAST_KEY.len(), Key::MAX_LEN + 1);
    }

    #[test]
    fn a_search_ignores_case_in_every_language() {
        for (search, text, is_found) in [
            ("spring", "The SPRING sale", true),
            ("Über", "ÜBERSICHT", true),
            ("σ", "ΟΔΟΣ", true),
            ("100%", "100% off", true),
            ("k", "\u{212a}", false),
            ("a b", "ab", false),
        ] {
            let search: Search = search.parse().unwrap();
            assert_eq!(search.is_in(text), is_found, "{search:?} in {text:?}");
        }
        assert_eq!("".parse::<Search>(), Err(InvalidSearch));
        assert!("ü".repeat(200).parse::<Search>().is_ok() && "ü".repeat(201).parse::<Search>().is_err());
    }

    #[test]
    fn a_database_searches_for_the_longest_part_whose_case_it_knows() {
        for (search, literal) in [
            ("Ab", "ab"),
            ("a_b%", "a_b%"),
            ("Größe", "gr"),
            (r#"a"bcd\e"#, "bcd"),
            ("a\0bc", "bc"),
            ("Привет", ""),
            ("日本語", "日本語"),
        ] {
            assert_eq!(search.parse::<Search>().unwrap().literal(), literal);
        }
    }

    #[test]
    fn a_cursor_round_trips_through_text() {
        let cursor = Cursor { position: -5, key: "a-b_c".parse().unwrap() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "5", "x.a", "5.", "5.a b"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text:?}");
        }
    }
}
