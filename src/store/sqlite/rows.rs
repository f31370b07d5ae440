//! SQL statements for links and counts, and the conversion of their rows.

use std::{collections::BTreeMap, sync::Arc};

use jiff::civil::Date;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, types::Type};

use crate::{
    clicks::{DayCounts, Tally},
    link::{Key, Link, Revision},
    store::{
        History, Record, StoreError,
        row::{self, DayColumns, day, day_number, signed, unsigned},
    },
};

/// The columns of a link with its counts, in the order that [`read`] expects.
macro_rules! columns {
    () => {
        "links.key, links.created_at, version, doc, ifnull(clicks, 0), ifnull(visits, 0)"
    };
}

pub(super) fn insert(db: &Connection, link: &Link, doc: &str, history: &History) -> rusqlite::Result<bool> {
    let key = link.key.as_str();
    let created_at = link.created_at.as_millisecond();
    let mut insert = db.prepare_cached(
        "INSERT INTO links (key, created_at, version, doc) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    if insert.execute((key, created_at, link.version, doc))? == 0 {
        return Ok(false);
    }
    if *history != History::default() {
        let mut counts =
            db.prepare_cached("INSERT INTO counts (key, created_at, clicks, visits) VALUES (?, ?, ?, ?)")?;
        counts.execute((key, created_at, signed(history.clicks()), signed(history.visits)))?;
        let mut upsert = prepare_add_day(db)?;
        for (day, counts) in &history.days {
            add_day(&mut upsert, key, *day, counts)?;
        }
    }
    Ok(true)
}

pub(super) fn get(db: &Connection, key: &Key) -> rusqlite::Result<Option<Record>> {
    let mut statement = db.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM links LEFT JOIN counts USING (key, created_at) WHERE links.key = ?"
    ))?;
    statement.query_row([key.as_str()], read).optional()
}

pub(super) fn find(db: &Connection, key: &Key) -> rusqlite::Result<Option<Arc<Link>>> {
    let mut statement = db.prepare_cached("SELECT key, created_at, version, doc FROM links WHERE key = ?")?;
    statement.query_row([key.as_str()], |row| read_link(row).map(Arc::new)).optional()
}

/// Returns the link with this row ID, and its counts.
pub(super) fn get_by_row_id(db: &Connection, row_id: i64) -> rusqlite::Result<Record> {
    let mut statement = db.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM links LEFT JOIN counts USING (key, created_at) WHERE links.rowid = ?"
    ))?;
    statement.query_row([row_id], read)
}

pub(super) fn update(db: &Connection, link: &Link, doc: &str, expected: u32) -> rusqlite::Result<usize> {
    let mut statement = db.prepare_cached(
        "UPDATE links SET version = ?, doc = ? WHERE key = ? AND created_at = ? AND version = ?",
    )?;
    let created_at = link.created_at.as_millisecond();
    statement.execute((link.version, doc, link.key.as_str(), created_at, expected))
}

pub(super) fn delete(db: &Connection, key: &Key, expected: Revision) -> rusqlite::Result<usize> {
    let mut link = db.prepare_cached("DELETE FROM links WHERE key = ? AND created_at = ? AND version = ?")?;
    let deleted = link.execute((key.as_str(), expected.created_at.as_millisecond(), expected.version))?;
    if deleted > 0 {
        db.prepare_cached("DELETE FROM counts WHERE key = ?")?.execute([key.as_str()])?;
        db.prepare_cached("DELETE FROM days WHERE key = ?")?.execute([key.as_str()])?;
    }
    Ok(deleted)
}

pub(super) fn use_visit(db: &Connection, key: &Key) -> rusqlite::Result<bool> {
    let mut statement = db.prepare_cached(
        "INSERT INTO counts (key, created_at, clicks, visits)
         SELECT key, created_at, 0, 1 FROM links WHERE key = ?1
         ON CONFLICT (key) DO UPDATE SET visits = visits + 1
         WHERE visits < (SELECT ifnull(doc ->> 'max_visits', 9223372036854775807) FROM links WHERE key = ?1)",
    )?;
    Ok(statement.execute([key.as_str()])? > 0)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record { link: Arc::new(read_link(row)?), clicks: count(row, 4)?, visits: count(row, 5)? })
}

fn read_link(row: &Row<'_>) -> rusqlite::Result<Link> {
    let text = |column| row.get_ref(column)?.as_str().map_err(|error| damaged(column, error));
    row::link(text(0)?, row.get(1)?, row.get(2)?, text(3)?).map_err(|error| damaged(3, error))
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    unsigned(row.get(column)?).map_err(|error| damaged(column, error))
}

pub(super) fn damaged(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// Prepared statements for adding many tallies.
pub(super) struct Adder<'db> {
    select_counts: CachedStatement<'db>,
    update_counts: CachedStatement<'db>,
    insert_counts: CachedStatement<'db>,
    select_referrers: CachedStatement<'db>,
    add_day: CachedStatement<'db>,
}

impl<'db> Adder<'db> {
    pub(super) fn new(db: &'db Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            select_counts: db.prepare_cached("SELECT 1 FROM counts WHERE key = ? AND created_at = ?")?,
            // On overflow, SQLite returns a floating-point number, which `min` replaces with the largest integer.
            update_counts: db.prepare_cached(
                "UPDATE counts SET clicks = min(clicks + ?, 9223372036854775807) WHERE key = ? AND created_at = ?",
            )?,
            insert_counts: db.prepare_cached(
                "INSERT INTO counts (key, created_at, clicks, visits)
                 SELECT key, created_at, ?, 0 FROM links WHERE key = ? AND created_at = ?",
            )?,
            select_referrers: db.prepare_cached("SELECT referrers FROM days WHERE key = ? AND day = ?")?,
            add_day: prepare_add_day(db)?,
        })
    }

    /// Adds a tally to its link's counts. Tallies for removed links are ignored.
    pub(super) fn add(&mut self, tally: &Tally) -> rusqlite::Result<()> {
        let (key, created_at) = (tally.key.as_str(), tally.created_at.as_millisecond());
        let people = signed(tally.counts.people);
        let is_counted = if people == 0 {
            // Bot visits change neither the row nor its index, so only check that the row exists.
            self.select_counts.exists((key, created_at))?
        } else {
            self.update_counts.execute((people, key, created_at))? > 0
        };
        if !is_counted && self.insert_counts.execute((people, key, created_at))? == 0 {
            return Ok(());
        }
        // The upsert can add all counts except those per referrer, which are merged below.
        if tally.counts.referrers.is_empty() {
            return add_day(&mut self.add_day, key, tally.day, &tally.counts);
        }
        let row = (key, day_number(tally.day));
        let stored = self.select_referrers.query_row(row, |row| row.get::<_, Option<String>>(0));
        let mut counts = tally.counts.clone();
        if let Some(stored) = stored.optional()?.flatten() {
            let referrers = serde_json::from_str(&stored).map_err(|error| damaged(0, error))?;
            counts.add(DayCounts { referrers, ..DayCounts::default() });
        }
        add_day(&mut self.add_day, key, tally.day, &counts)
    }
}

/// Prepares the statement for [`add_day`].
fn prepare_add_day(db: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    macro_rules! sum {
        ($($column:literal)*) => {
            concat!($($column, " = min(", $column, " + excluded.", $column, ", 9223372036854775807), "),*)
        };
    }
    db.prepare_cached(concat!(
        "INSERT INTO days (key, day, people, bots, desktop, mobile, tablet, other, referrers)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (key, day) DO UPDATE SET ",
        sum!("people" "bots" "desktop" "mobile" "tablet" "other"),
        "referrers = ifnull(excluded.referrers, referrers)"
    ))
}

/// Adds `counts` to the stored counts of a day.
///
/// Counts per referrer are not added. If `counts` contains any, they replace all stored counts per referrer.
fn add_day(
    upsert: &mut CachedStatement<'_>,
    key: &str,
    day: Date,
    counts: &DayCounts,
) -> rusqlite::Result<()> {
    let columns = DayColumns::try_from(counts).map_err(|error| damaged(8, error))?;
    let DayColumns { people, bots, desktop, mobile, tablet, other, referrers } = columns;
    upsert.execute((key, day_number(day), people, bots, desktop, mobile, tablet, other, referrers))?;
    Ok(())
}

pub(super) fn day_counts(
    db: &Connection,
    key: &Key,
    first: Date,
    last: Date,
) -> rusqlite::Result<BTreeMap<Date, DayCounts>> {
    let mut statement = db.prepare_cached(
        "SELECT day, people, bots, desktop, mobile, tablet, other, referrers FROM days
         WHERE key = ? AND day BETWEEN ? AND ?",
    )?;
    statement.query_map((key.as_str(), day_number(first), day_number(last)), read_day)?.collect()
}

fn read_day(row: &Row<'_>) -> rusqlite::Result<(Date, DayCounts)> {
    let columns = DayColumns {
        people: row.get(1)?,
        bots: row.get(2)?,
        desktop: row.get(3)?,
        mobile: row.get(4)?,
        tablet: row.get(5)?,
        other: row.get(6)?,
        referrers: row.get(7)?,
    };
    let counts = columns.try_into().map_err(|error: StoreError| damaged(1, error))?;
    Ok((day(row.get(0)?).map_err(|error| damaged(0, error))?, counts))
}
