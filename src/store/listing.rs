//! Links in an order, a page at a time.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::{Record, Store, StoreError};
use crate::link::{Key, options::Tag};

/// The order of a listing. Keys break ties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The link that was made last comes first.
    #[default]
    Newest,
    /// The link that was made first comes first.
    Oldest,
    /// The link that was followed most comes first; those that never were are left out.
    MostClicked,
}

impl Order {
    /// Where `record` stands in this order.
    pub fn cursor(self, record: &Record) -> Cursor {
        let position = match self {
            Self::Newest | Self::Oldest => record.link.created_at.as_millisecond(),
            Self::MostClicked => i64::try_from(record.clicks).unwrap_or(i64::MAX),
        };
        Cursor { position, key: record.link.key.clone() }
    }
}

/// A place in a listing: that of the last link of a page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Milliseconds since the Unix epoch, or clicks.
    pub position: i64,
    /// The link's key.
    pub key: Key,
}

/// A string is not a cursor.
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

/// What is listed.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// In which order.
    pub order: Order,
    /// Behind which place; `None` from the start.
    pub after: Option<Cursor>,
    /// How many links at most.
    pub limit: usize,
    /// Only links with this in their key, target or title, in whatever case.
    pub search: Option<String>,
    /// Only links with this tag.
    pub tag: Option<Tag>,
}

/// Part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The links, fewer than asked for where many had to be passed over.
    pub records: Vec<Record>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// Links that are looked at for one page at most, so that a search for what is rare ends in time.
const MAX_SCANNED: usize = 10_000;

/// Links that are asked of the store at a time where most are passed over.
const CHUNK: usize = 1000;

/// Lists links of `store`.
///
/// # Errors
/// Those of [`Store::scan`].
pub async fn list(store: &dyn Store, listing: Listing) -> Result<Page, StoreError> {
    let Listing { order, mut after, limit, search, tag } = listing;
    let search = search.map(|text| text.to_lowercase());
    let filtered = search.is_some() || tag.is_some();
    let chunk = if filtered { CHUNK } else { limit.saturating_add(1) };
    let (mut records, mut scanned) = (Vec::new(), 0);
    while scanned < MAX_SCANNED {
        let found = store.scan(order, after.clone(), chunk).await?.records;
        let is_last = found.len() < chunk;
        scanned += found.len();
        for record in found {
            let wanted = search.as_deref().is_none_or(|text| contains(&record, text))
                && tag.as_ref().is_none_or(|tag| record.link.tags.iter().any(|known| known == tag));
            if wanted && records.len() == limit {
                return Ok(Page { records, next: after });
            }
            after = Some(order.cursor(&record));
            if wanted {
                records.push(record);
            }
        }
        if is_last {
            return Ok(Page { records, next: None });
        }
    }
    Ok(Page { records, next: after })
}

fn contains(record: &Record, search: &str) -> bool {
    let link = &record.link;
    let title = link.title.as_ref().map_or("", |title| title.as_str());
    [link.key.as_str(), link.target.as_str(), title].iter().any(|text| text.to_lowercase().contains(search))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_from_its_text() {
        let cursor = Cursor { position: -5, key: "a-b_c".parse().unwrap() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "5", "x.a", "5.", "5.a b"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text:?}");
        }
    }
}
