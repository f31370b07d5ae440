//! A row of a file, and its errors.

use std::{
    cell::Cell,
    fmt,
    io::{self, Read},
    rc::Rc,
};

use thiserror::Error;

use super::Entry;
use crate::{
    clicks::MAX_COUNT,
    link::{InvalidKey, InvalidTarget, options::InvalidTags},
};

/// The maximum size of a row, in bytes.
///
/// Only a link with counts for many days and referrers comes close to this size.
pub(crate) const MAX_ROW: usize = 16 << 20;

/// The position of a row in its file, starting at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    Line(u64),
    /// The number of the link, in files where line numbers are meaningless.
    Link(u64),
}

impl Position {
    /// Returns the unit and the number.
    pub(crate) fn as_pair(self) -> (&'static str, u64) {
        match self {
            Self::Line(number) => ("line", number),
            Self::Link(number) => ("link", number),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, number) = self.as_pair();
        write!(formatter, "{unit} {number}")
    }
}

/// A line, a table row, or an object in a list.
#[derive(Clone, Debug)]
pub struct Row {
    pub position: Position,
    /// The approximate size in the file, in bytes. It isn't exact, because parsers read ahead.
    pub size: usize,
    pub entry: Result<Entry, RowError>,
}

/// An error that ends the reading of a file.
#[derive(Debug, Error)]
pub enum ReadError {
    /// An operating system error, or [`RowError::TooLong`].
    #[error("can't read the file")]
    Io(#[from] io::Error),
    #[error("invalid JSON")]
    Json(#[source] serde_json::Error),
    #[error("not a {name} export: expected columns {expected}; found {found}")]
    Layout { name: String, expected: String, found: String },
    /// A non-empty file without links has probably been misread.
    #[error(
        "no links found: the file is not empty, but has no row below its header, and no object in a list \
         (in JSON, the list is the file itself or is named data or links)"
    )]
    NoLinks,
    /// The receiver of the rows has stopped.
    #[error("stopped")]
    Stopped,
}

impl From<serde_json::Error> for ReadError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { Self::Io(error.into()) } else { Self::Json(error) }
    }
}

/// The reason a row is not a valid link.
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
    /// The password can't be imported, and without it the link would be open to everyone.
    #[error("the link has a password that can't be imported")]
    Password,
    #[error("the link needs a newer version of urlshort")]
    Unsupported,
    #[error("the counts exceed {MAX_COUNT}")]
    Counts,
    #[error("the row is longer than {} bytes", MAX_ROW)]
    TooLong,
    #[error("not valid UTF-8")]
    Encoding,
    #[error("{0}")]
    Json(String),
}

impl RowError {
    /// Returns the error for a field with an invalid value.
    pub(super) fn value(name: &'static str, value: &str, expected: &'static str) -> Self {
        Self::Value { name, value: excerpt(value), expected }
    }
}

/// Truncates a value for an error message.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The number of bytes that a parser may still read for the current row.
///
/// A parser owns its input, and keeps a row in memory until the row ends. So the budget is shared: the input enforces
/// it, and the loop over the rows resets it.
#[derive(Clone)]
pub(super) struct RowBudget(Rc<Cell<usize>>);

impl Default for RowBudget {
    fn default() -> Self {
        Self(Rc::new(Cell::new(MAX_ROW)))
    }
}

impl RowBudget {
    /// Returns an input that fails when a row exceeds its budget.
    pub(super) fn limit<R: Read>(&self, input: R) -> impl Read + use<R> {
        Limited { input, budget: self.clone() }
    }

    /// Resets the budget, and returns the size of the last row.
    pub(super) fn next_row(&self) -> usize {
        MAX_ROW - self.0.replace(MAX_ROW)
    }
}

struct Limited<R> {
    input: R,
    budget: RowBudget,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let left = self.budget.0.get().checked_sub(count);
        self.budget.0.set(left.ok_or_else(|| io::Error::other(RowError::TooLong))?);
        Ok(count)
    }
}
