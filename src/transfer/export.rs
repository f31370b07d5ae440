//! Export: writes all links in a store to a file.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use futures_util::{FutureExt, StreamExt, stream};
use jiff::{
    Timestamp,
    civil::{Date, date},
};
use thiserror::Error;

use super::{Entry, Format, jsonl, spreadsheet};
use crate::{
    clicks::DayCounts,
    store::{
        Damaged, History, Record, Store, StoreError,
        listing::{Listing, Order},
    },
};

/// The number of links per page of the listing.
const PAGE: usize = 1000;

/// The number of links whose counts are fetched concurrently.
const CONCURRENCY: usize = 32;

/// The first and last day that a store can hold.
const DAYS: (Date, Date) = (date(0, 1, 1), date(9999, 12, 31));

/// An error that ends an export.
#[derive(Debug, Error)]
pub enum ExportError {
    #[error("can't export as {0} (use jsonl or csv)")]
    Format(Format),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("can't write the output")]
    Output(#[from] io::Error),
}

impl From<csv::Error> for ExportError {
    fn from(error: csv::Error) -> Self {
        Self::Output(error.into())
    }
}

/// An event during an export.
pub enum Progress<'a> {
    /// The number of links written so far.
    Written(u64),
    /// A link that is left out because it can't be read.
    Damaged(&'a Damaged),
}

/// Writes all links, oldest first, and returns their number.
///
/// New links sort last, so every link that exists throughout the export is written exactly once. Damaged links are
/// reported and left out. CSV rows contain the state of each link at `now`. `output` may block, because no other task
/// is running.
///
/// # Errors
/// See [`ExportError`].
pub async fn export(
    store: &dyn Store,
    format: Format,
    now: Timestamp,
    output: impl Write,
    progress: impl Fn(Progress<'_>),
) -> Result<u64, ExportError> {
    let (mut writer, mut count, mut after) = (Writer::new(format, now, output)?, 0, None);
    loop {
        let listing = Listing { order: Order::Oldest, after, limit: PAGE, ..Listing::default() };
        let page = store.list(&listing).await?;
        page.damaged.iter().for_each(|damaged| progress(Progress::Damaged(damaged)));
        after = page.next;
        let entries = stream::iter(page.records).map(|record| {
            let key = record.link.key.clone();
            complete(store, record).map(|entry| (key, entry))
        });
        let mut entries = entries.buffered(CONCURRENCY);
        while let Some((key, entry)) = entries.next().await {
            match entry {
                Ok(Some(entry)) => {
                    writer.write(entry)?;
                    count += 1;
                }
                Ok(None) => {}
                Err(error @ StoreError::Corrupt(_)) => {
                    progress(Progress::Damaged(&Damaged { key: key.to_string(), error }));
                }
                Err(error) => return Err(error.into()),
            }
        }
        progress(Progress::Written(count));
        if after.is_none() {
            break;
        }
    }
    writer.finish()?;
    Ok(count)
}

/// Adds the daily counts. Returns `None` if the link has been deleted since it was listed.
async fn complete(store: &dyn Store, mut record: Record) -> Result<Option<Entry>, StoreError> {
    loop {
        let days = store.day_counts(&record.link.key, DAYS.0, DAYS.1).await?;
        if days.is_empty() {
            return Ok(Some(entry(record, days)));
        }
        // If the total has changed since the link was read, `days` may not match it. In that case, read both again.
        let Some(later) = store.get(&record.link.key).await? else { return Ok(None) };
        let is_same = later.clicks == record.clicks;
        record = later;
        if is_same {
            return Ok(Some(entry(record, days)));
        }
    }
}

fn entry(record: Record, days: BTreeMap<Date, DayCounts>) -> Entry {
    let mut history = History { visits: record.visits, undated_clicks: 0, days };
    history.undated_clicks = record.clicks.saturating_sub(history.clicks());
    Entry { link: (*record.link).clone(), history }
}

enum Writer<W: Write> {
    Jsonl(W),
    Csv { rows: Box<csv::Writer<W>>, now: Timestamp },
}

impl<W: Write> Writer<W> {
    fn new(format: Format, now: Timestamp, output: W) -> Result<Self, ExportError> {
        match format {
            Format::Jsonl => Ok(Self::Jsonl(output)),
            Format::Csv => {
                let mut rows =
                    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(output);
                rows.write_record(spreadsheet::header())?;
                Ok(Self::Csv { rows: Box::new(rows), now })
            }
            _ => Err(ExportError::Format(format)),
        }
    }

    fn write(&mut self, entry: Entry) -> Result<(), ExportError> {
        match self {
            Self::Jsonl(output) => Ok(jsonl::write(entry, output)?),
            Self::Csv { rows, now } => Ok(spreadsheet::write(&entry, *now, rows)?),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Jsonl(output) => output.flush(),
            Self::Csv { rows, .. } => rows.flush(),
        }
    }
}
