//! Import and export of links as files.
//!
//! An export turns each link of a store into an [`Entry`] and writes it. An import reads a file as rows, parses each row
//! into an [`Entry`], and puts that into a store. Both work row by row: memory does not grow with the number of links.
//!
//! To read the files of another service, add a variant to [`Format`], a row to the table in `layouts.rs`, and a parse
//! function next to it.

pub mod export;
mod fields;
pub mod import;
mod jsonl;
mod layouts;
mod objects;
#[cfg(test)]
mod properties;
pub mod reader;
mod spreadsheet;

use std::fmt;

use clap::ValueEnum;
use thiserror::Error;

use crate::{
    clicks::MAX_COUNT,
    link::{InvalidKey, InvalidTarget, Link, options::InvalidTags},
    store::History,
};

/// A file format, under its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An import detects the format from the start of the file.
    Auto,
    /// The format of backups: a JSON object per line, with everything.
    Jsonl,
    /// For spreadsheets, without passwords and clicks by day.
    Csv,
    Yourls,
    Shlink,
    Kutt,
    Bitly,
    Chhoto,
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| formatter.write_str(value.get_name()))
    }
}

/// A link and its counts, as a file holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub link: Link,
    pub history: History,
}

impl Entry {
    /// Combines a link with its counts.
    ///
    /// # Errors
    /// [`RowError::Counts`] if a store can't hold the counts.
    fn new(link: Link, history: History) -> Result<Self, RowError> {
        let days = history.days.values().flat_map(|counts| {
            let details = counts.devices.values().chain(counts.referrers.values()).copied();
            details.chain([counts.people, counts.bots])
        });
        let sum = days.chain([history.undated_clicks]).fold(0_u64, u64::saturating_add);
        if sum.max(history.visits) > MAX_COUNT { Err(RowError::Counts) } else { Ok(Self { link, history }) }
    }
}

/// The reason why a row of a file is not a link.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RowError {
    #[error("missing {0}")]
    Missing(&'static str),
    #[error("invalid key {0:?}: {1}")]
    Key(String, InvalidKey),
    #[error(transparent)]
    Target(#[from] InvalidTarget),
    #[error(transparent)]
    Tags(#[from] InvalidTags),
    #[error("{name}: {value:?} is not {expected}")]
    Value { name: &'static str, value: String, expected: &'static str },
    /// Without its password, the link would be open to everyone.
    #[error("the link has a password that can't be imported")]
    Password,
    #[error("the link needs a newer version of urlshort")]
    Unsupported,
    #[error("the counts exceed {MAX_COUNT}")]
    Counts,
    #[error("the row is longer than {} bytes", reader::MAX_ROW)]
    TooLong,
    #[error("not valid UTF-8")]
    Encoding,
    #[error("{0}")]
    Json(String),
}

impl RowError {
    /// Returns the error for a field with an invalid value.
    fn value(name: &'static str, value: &str, expected: &'static str) -> Self {
        Self::Value { name, value: excerpt(value), expected }
    }
}

/// Returns the start of a value, short enough for an error message.
fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}
