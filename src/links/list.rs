//! Filtered listings of links.

use super::Links;
use crate::{
    link::options::Tag,
    store::{
        Record, StoreError,
        listing::{Cursor, Order},
    },
};

/// The limit on links read for one page.
///
/// With it, a search for a rare link ends in time.
const MAX_SCANNED: usize = 10_000;

/// Links per read of the store if there is a filter.
const CHUNK: usize = 1000;

/// The query for a page of links.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub order: Order,
    /// The cursor from the previous page; `None` for the first page.
    pub after: Option<Cursor>,
    /// The maximum number of links on the page.
    pub limit: usize,
    /// Text to find in the key, the target or the title. Case-insensitive.
    pub search: Option<String>,
    /// A tag that the links must have.
    pub tag: Option<Tag>,
}

/// A page of links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The links; fewer than the limit if the scan limit was reached.
    pub records: Vec<Record>,
    /// The cursor of the next page; `None` after the last one.
    pub next: Option<Cursor>,
}

impl Links {
    /// Returns a page of links.
    ///
    /// # Errors
    /// Those of [`Links::scan`].
    pub async fn list(&self, listing: Listing) -> Result<Page, StoreError> {
        let Listing { order, mut after, limit, search, tag } = listing;
        let search = search.map(|text| text.to_lowercase());
        let filtered = search.is_some() || tag.is_some();
        let chunk = if filtered { CHUNK } else { limit.saturating_add(1) };
        let (mut records, mut scanned) = (Vec::new(), 0);
        while scanned < MAX_SCANNED {
            let found = self.scan(order, after.clone(), chunk).await?.records;
            let is_last = found.len() < chunk;
            scanned += found.len();
            for record in found {
                let wanted = search.as_deref().is_none_or(|text| contains(&record, text))
                    && tag
                        .as_ref()
                        .is_none_or(|tag| record.link.doc.options.tags.iter().any(|known| known == tag));
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
}

/// Returns whether the key, the target or the title contains `search`.
///
/// `search` must be in lower case.
fn contains(record: &Record, search: &str) -> bool {
    let link = &record.link;
    let title = link.doc.options.title.as_ref().map_or("", |title| title.as_str());
    [link.key.as_str(), link.doc.target.as_str(), title]
        .iter()
        .any(|text| text.to_lowercase().contains(search))
}
