//! Writing every link of a store to a file.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use clap::ValueEnum;
use futures_util::{FutureExt, StreamExt, stream};
use jiff::{
    Timestamp,
    civil::{Date, date},
};
use thiserror::Error;

use super::{Entry, jsonl, spreadsheet};
use crate::{
    clicks::DayCounts,
    store::{Damaged, History, Record, Store, StoreError, listing::Order},
};

/// What an export looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A JSON object a line, with everything.
    Jsonl,
    /// For spreadsheets, without what was counted by day and without passwords.
    Csv,
}

/// Links that are asked of the store at a time.
const PAGE: usize = 1000;

/// Links whose counts are asked for at the same time.
const CONCURRENCY: usize = 32;

/// The days that a store can keep.
const DAYS: (Date, Date) = (date(0, 1, 1), date(9999, 12, 31));

/// An export could not be finished.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output failed.
    #[error("the output can not be written")]
    Output(#[source] io::Error),
}

/// What an export tells on its way.
pub enum Progress<'a> {
    /// So many links are written.
    Written(u64),
    /// A link can't be read and is left out.
    Damaged(&'a Damaged),
}

/// Writes all links, the oldest first, and returns how many they are. Damaged ones are told of and left out.
///
/// Links that are made meanwhile come at the end, so each link that stands all the time is written once. States are
/// those at `now`. `output` may block: nothing else has to be done meanwhile.
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
        let page = store.scan(Order::Oldest, after, PAGE).await?;
        page.damaged.iter().for_each(|damaged| progress(Progress::Damaged(damaged)));
        let Some(last) = page.records.last() else { break };
        after = Some(Order::Oldest.cursor(last));
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
    }
    writer.finish()?;
    Ok(count)
}

/// Adds what was counted by day; `None` where the link has gone meanwhile.
async fn complete(store: &dyn Store, mut record: Record) -> Result<Option<Entry>, StoreError> {
    loop {
        let days = store.day_counts(&record.link.key, DAYS.0, DAYS.1).await?;
        if days.is_empty() {
            return Ok(Some(entry(record, days)));
        }
        // Clicks that came between the two questions would be missing in one of them. They come once a second, so the
        // next time is the last one.
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
        Ok(match format {
            Format::Jsonl => Self::Jsonl(output),
            Format::Csv => {
                let mut rows =
                    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(output);
                rows.write_record(spreadsheet::header()).map_err(failure)?;
                Self::Csv { rows: Box::new(rows), now }
            }
        })
    }

    fn write(&mut self, entry: Entry) -> Result<(), ExportError> {
        match self {
            Self::Jsonl(output) => jsonl::write(entry, output).map_err(ExportError::Output),
            Self::Csv { rows, now } => spreadsheet::write(&entry, *now, rows).map_err(failure),
        }
    }

    fn finish(&mut self) -> Result<(), ExportError> {
        let flushed = match self {
            Self::Jsonl(output) => output.flush(),
            Self::Csv { rows, .. } => rows.flush(),
        };
        flushed.map_err(ExportError::Output)
    }
}

fn failure(error: csv::Error) -> ExportError {
    ExportError::Output(error.into())
}
