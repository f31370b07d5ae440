//! A journal of tallies that have not been added to the counts yet.
//!
//! Each batch of tallies is a row of the table `secrets`, which is the only table for bytes with a name. The journal
//! therefore needs no change to the schema, and earlier versions of this program can still use the file.

use jiff::Timestamp;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{is_damage, pacer::Pacer, rows::damaged};
use crate::{
    clicks::Tally,
    observability::logging::Chain,
    store::{
        StoreError,
        row::{DayColumns, day, day_number},
    },
};

/// What the names of all batches start with. It contains the version of the format.
///
/// A batch's name continues with its number in [`DIGITS`] digits, a slash, and the first key in the batch.
const PREFIX: &str = "clicks-1/";
const DIGITS: usize = 20;

/// A name that is greater than those of all batches.
const END: &str = "clicks-1/:";

/// A tally as stored in a batch, in the postcard format. Batches are sorted by key.
#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    key: &'a str,
    /// Milliseconds since the Unix epoch.
    created_at: i64,
    /// See [`day_number`].
    day: i32,
    counts: DayColumns,
}

impl TryFrom<Entry<'_>> for Tally {
    type Error = StoreError;

    fn try_from(entry: Entry<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            key: entry.key.parse().map_err(StoreError::corrupt)?,
            created_at: Timestamp::from_millisecond(entry.created_at).map_err(StoreError::corrupt)?,
            day: day(entry.day)?,
            counts: entry.counts.try_into()?,
        })
    }
}

/// Appends a batch, and returns its size in bytes.
///
/// `tallies` must be sorted by key.
pub(super) fn append(db: &Connection, tallies: &[Tally], pacer: &mut Pacer<'_>) -> rusqlite::Result<usize> {
    let mut bytes = Vec::with_capacity(32 * tallies.len());
    for Tally { key, created_at, day, counts } in tallies {
        let entry = Entry {
            key: key.as_str(),
            created_at: created_at.as_millisecond(),
            day: day_number(*day),
            counts: DayColumns::try_from(counts).map_err(|error| damaged(0, error))?,
        };
        bytes = postcard::to_extend(&entry, bytes).map_err(|error| damaged(0, error))?;
        pacer.pause_if_due();
    }
    let mut newest = db.prepare_cached("SELECT max(name) FROM secrets WHERE name BETWEEN ? AND ?")?;
    let newest: Option<String> = newest.query_row((PREFIX, END), |row| row.get(0))?;
    let number =
        newest.and_then(|name| name.get(PREFIX.len()..)?.get(..DIGITS)?.parse().ok()).unwrap_or(0_u64);
    let first_key = tallies.first().map_or("", |tally| tally.key.as_str());
    let name = format!("{PREFIX}{:0DIGITS$}/{first_key}", number + 1);
    db.prepare_cached("INSERT INTO secrets (name, value) VALUES (?, ?)")?.execute((name, &bytes))?;
    Ok(bytes.len())
}

/// Returns the names of all batches up to `last`, in the order in which they were appended.
pub(super) fn names(db: &Connection, last: Option<&str>) -> rusqlite::Result<Vec<String>> {
    let mut names = db.prepare_cached("SELECT name FROM secrets WHERE name BETWEEN ? AND ? ORDER BY name")?;
    names.query_map((PREFIX, last.unwrap_or(END)), |row| row.get(0))?.collect()
}

/// Removes all batches up to `last`.
pub(super) fn remove(db: &Connection, last: &str) -> rusqlite::Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM secrets WHERE name BETWEEN ? AND ?")?;
    delete.execute((PREFIX, last)).map(|_| ())
}

/// Returns the first key in the batch with this name.
pub(super) fn first_key(name: &str) -> &str {
    name.get(PREFIX.len() + DIGITS + 1..).unwrap_or_default()
}

/// A batch that is read tally by tally.
pub(super) struct Batch {
    bytes: Vec<u8>,
    offset: usize,
}

impl Batch {
    /// Reads the batch with this name. The clicks in a damaged one are lost.
    pub(super) fn read(db: &Connection, name: &str) -> rusqlite::Result<Self> {
        let mut select = db.prepare_cached("SELECT value FROM secrets WHERE name = ?")?;
        let bytes = match select.query_row([name], |row| row.get(0)) {
            Err(error) if is_damage(&error) => {
                note_damage(&error);
                Vec::new()
            }
            bytes => bytes?,
        };
        Ok(Self { bytes, offset: 0 })
    }

    /// Returns the next tally. A batch ends early at a tally that can't be parsed.
    pub(super) fn next(&mut self) -> Option<Tally> {
        let bytes = self.bytes.get(self.offset..).filter(|bytes| !bytes.is_empty())?;
        let parsed = postcard::take_from_bytes::<Entry<'_>>(bytes).map_err(StoreError::corrupt);
        match parsed.and_then(|(entry, rest)| Ok((entry.try_into()?, self.bytes.len() - rest.len()))) {
            Ok((tally, offset)) => {
                self.offset = offset;
                Some(tally)
            }
            Err(error) => {
                note_damage(error.cause());
                None
            }
        }
    }
}

/// Logs that the rest of a batch can't be read. The number of its clicks is unknown.
fn note_damage(error: &(dyn std::error::Error + 'static)) {
    tracing::error!(error = %Chain(error), "clicks lost: a batch in the journal is damaged");
}
