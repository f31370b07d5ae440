//! The statements, and what their rows mean.

use std::sync::Arc;

use jiff::civil::Date;
use rusqlite::{Connection, Row, types::Type};

use crate::{
    clicks::{DayCount, Facet, Tally},
    link::{Key, Link},
    store::{
        History, MAX_DAMAGED, Record, Scan, StoreError,
        columns::Columns,
        day,
        listing::{Cursor, Order},
    },
};

/// The beginning of every statement that reads links, in the order that [`read`] expects.
macro_rules! select {
    () => {
        "SELECT key, target, created_at, expires_at, max_visits, taken_down_at, redirect, forward_query, title, tags, \
         password, version, clicks, visits FROM links"
    };
}
pub(super) use select;

pub(super) fn insert(db: &Connection, link: &Columns, history: &History) -> rusqlite::Result<bool> {
    let mut statement = db.prepare_cached(
        "INSERT INTO links (key, target, created_at, expires_at, max_visits, taken_down_at, redirect, forward_query,
             title, tags, password, version, clicks, visits)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    let inserted = statement.execute((
        &link.key,
        &link.target,
        link.created_at,
        link.expires_at,
        link.max_visits,
        link.taken_down_at,
        link.redirect,
        link.forward_query,
        &link.title,
        &link.tags,
        &link.password,
        link.version,
        history.clicks(),
        history.visits,
    ))?;
    Ok(inserted == 1)
}

pub(super) fn update(db: &Connection, link: &Columns, expected: u32) -> rusqlite::Result<usize> {
    let mut statement = db.prepare_cached(
        "UPDATE links SET target = ?, expires_at = ?, max_visits = ?, taken_down_at = ?, redirect = ?,
             forward_query = ?, title = ?, tags = ?, password = ?, version = ?
         WHERE key = ? AND version = ?",
    )?;
    statement.execute((
        &link.target,
        link.expires_at,
        link.max_visits,
        link.taken_down_at,
        link.redirect,
        link.forward_query,
        &link.title,
        &link.tags,
        &link.password,
        link.version,
        &link.key,
        expected,
    ))
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
    let columns = Columns {
        key: row.get(0)?,
        target: row.get(1)?,
        created_at: row.get(2)?,
        expires_at: row.get(3)?,
        max_visits: row.get(4)?,
        taken_down_at: row.get(5)?,
        redirect: row.get(6)?,
        forward_query: row.get(7)?,
        title: row.get(8)?,
        tags: row.get(9)?,
        password: row.get(10)?,
        version: row.get(11)?,
    };
    let link = Link::try_from(columns).map_err(|error| damaged(0, error))?;
    Ok(Record { link: Arc::new(link), clicks: row.get(12)?, visits: row.get(13)? })
}

fn damaged(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

pub(super) fn scan(
    db: &Connection,
    order: Order,
    after: Option<&Cursor>,
    limit: usize,
) -> rusqlite::Result<Scan> {
    let (sql, start) = match order {
        Order::Newest => (
            concat!(
                select!(),
                " WHERE (created_at, key) < (?, ?) ORDER BY created_at DESC, key DESC LIMIT ?"
            ),
            (i64::MAX, ""),
        ),
        Order::Oldest => (
            concat!(select!(), " WHERE (created_at, key) > (?, ?) ORDER BY created_at, key LIMIT ?"),
            (i64::MIN, ""),
        ),
        Order::MostClicked => (
            concat!(
                select!(),
                " WHERE clicks > 0 AND (clicks, key) < (?, ?) ORDER BY clicks DESC, key DESC LIMIT ?"
            ),
            (i64::MAX, ""),
        ),
    };
    let (position, key) = after.map_or(start, |cursor| (cursor.position, cursor.key.as_str()));
    let mut statement = db.prepare_cached(sql)?;
    // Rows come one by one, so the room for damaged ones costs nothing while there are none.
    let mut rows = statement.query((position, key, limit.saturating_add(MAX_DAMAGED)))?;
    let mut scan = Scan::default();
    while scan.records.len() < limit
        && let Some(row) = rows.next()?
    {
        let key = || row.get(0).unwrap_or_default();
        scan.push(read(row).map_err(StoreError::from), key).map_err(|error| damaged(0, error))?;
    }
    Ok(scan)
}

/// Adds to a link's counts, unless the link has gone.
pub(super) fn add(db: &Connection, Tally { key, counted }: &Tally) -> rusqlite::Result<()> {
    let is_known = db.prepare_cached("SELECT 1 FROM links WHERE key = ?")?.exists([key.as_str()])?;
    if !is_known {
        return Ok(());
    }
    if counted.facet == Facet::People {
        let mut clicks = db.prepare_cached("UPDATE links SET clicks = clicks + ? WHERE key = ?")?;
        clicks.execute((counted.count, key.as_str()))?;
    }
    count(db, key, counted)
}

/// Adds to the counts by day, of a link that is known to be there.
pub(super) fn count(db: &Connection, key: &Key, counted: &DayCount) -> rusqlite::Result<()> {
    let (kind, value) = counted.facet.as_pair();
    let mut statement = db.prepare_cached(
        "INSERT INTO day_counts (key, day, kind, value, count) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (key, day, kind, value) DO UPDATE SET count = count + excluded.count",
    )?;
    statement.execute((key.as_str(), day::to_number(counted.day), kind, value, counted.count))?;
    Ok(())
}

pub(super) fn day_counts(
    db: &Connection,
    key: &Key,
    first: Date,
    last: Date,
) -> rusqlite::Result<Vec<DayCount>> {
    let mut statement = db.prepare_cached(
        "SELECT day, kind, value, count FROM day_counts WHERE key = ? AND day BETWEEN ? AND ?",
    )?;
    let rows = statement.query_map((key.as_str(), day::to_number(first), day::to_number(last)), |row| {
        let (kind, value): (String, String) = (row.get(1)?, row.get(2)?);
        Ok(DayCount {
            day: day::from_number(row.get(0)?).map_err(|error: StoreError| damaged(0, error))?,
            facet: Facet::from_pair(&kind, &value).map_err(|error| damaged(1, error))?,
            count: row.get(3)?,
        })
    })?;
    rows.collect()
}
