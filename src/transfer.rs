//! Links in and out of files: what an export writes, what an import takes, and what the exports of other services
//! look like.
//!
//! Files are read and written link by link, in memory that does not grow with their number. A layout is one file
//! here and one line in [`import::Format`].

mod bitly;
mod chhoto;
pub mod export;
mod fields;
pub mod import;
mod input;
mod jsonl;
mod kutt;
mod objects;
#[cfg(test)]
mod properties;
pub mod reader;
mod shlink;
mod spreadsheet;
mod table;
mod yourls;

use thiserror::Error;

use crate::{
    clicks::MAX_COUNT,
    link::{InvalidKey, InvalidTarget, Link, options::InvalidTags},
    store::History,
};

/// A link as a file has it, with what was counted about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The link.
    pub link: Link,
    /// What was counted about it.
    pub history: History,
}

impl Entry {
    /// Puts the two together.
    ///
    /// # Errors
    /// [`Flaw::Counts`] for more than any store can count.
    fn new(link: Link, history: History) -> Result<Self, Flaw> {
        let days = history.days.values().flat_map(|counts| {
            let details = counts.devices.values().chain(counts.referrers.values()).copied();
            details.chain([counts.people, counts.bots])
        });
        let sum = days.chain([history.undated_clicks]).fold(0_u64, u64::saturating_add);
        if sum.max(history.visits) > MAX_COUNT { Err(Flaw::Counts) } else { Ok(Self { link, history }) }
    }
}

/// Why something in a file is no link.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Flaw {
    /// A field is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// Its key is none.
    #[error("the key {0:?}: {1}")]
    Key(String, InvalidKey),
    /// Its target is none.
    #[error(transparent)]
    Target(#[from] InvalidTarget),
    /// Its tags are none.
    #[error(transparent)]
    Tags(#[from] InvalidTags),
    /// Another field is not what it should be.
    #[error("{name}: {value:?} is not {wanted}")]
    Value {
        /// The field.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// It has a password that can't be taken over; without it, the link would be open to everyone.
    #[error("it has a password that can not be taken over")]
    Password,
    /// A newer version has restricted the link in a way that this one does not know.
    #[error("it needs a newer version of this program")]
    Unsupported,
    /// More was counted than any store can count.
    #[error("its counts are too large")]
    Counts,
    /// It is longer than [`reader::MAX_ENTRY`].
    #[error("it is longer than {} bytes", reader::MAX_ENTRY)]
    TooLong,
    /// It is not text.
    #[error("it is not UTF-8")]
    Encoding,
    /// It is not the JSON that it should be.
    #[error("{0}")]
    Json(String),
}
