//! Import and export of links as files.
//!
//! An export turns each link in a store into an [`Entry`], and writes the entry to a file. An import reads a file row
//! by row, parses each row into an [`Entry`], and stores the entry. Memory use does not grow with the number of links.
//!
//! To support files from another service, add a variant to [`Format`], and add a layout with its parse function to
//! `layouts.rs`.

pub mod export;
mod fields;
pub mod import;
mod jsonl;
mod layouts;
mod objects;
#[cfg(test)]
mod properties;
pub mod reader;
pub mod row;
mod spreadsheet;

use std::fmt;

use clap::ValueEnum;

use self::row::RowError;
use crate::{clicks::MAX_COUNT, link::Link, store::History};

/// A file format, with the name used on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For imports: detect the format from the start of the file.
    Auto,
    /// The format for backups. It contains all data, as one JSON object per line.
    Jsonl,
    /// The format for spreadsheets. It omits passwords and daily statistics.
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

/// A link and its counts, as exported or imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub link: Link,
    pub history: History,
}

impl Entry {
    /// Combines a link with its counts.
    ///
    /// # Errors
    /// [`RowError::Counts`] if the counts are too large for a store.
    fn new(link: Link, history: History) -> Result<Self, RowError> {
        let days = history.days.values().flat_map(|counts| {
            let details = counts.devices.values().chain(counts.referrers.values()).copied();
            details.chain([counts.people, counts.bots])
        });
        let sum = days.chain([history.undated_clicks]).fold(0_u64, u64::saturating_add);
        if sum.max(history.visits) > MAX_COUNT { Err(RowError::Counts) } else { Ok(Self { link, history }) }
    }
}
