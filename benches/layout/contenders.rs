//! The tables and statements of each layout.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Result};
use serde::{Deserialize, Serialize};

use super::{Delta, Device, FIRST_DAY};

pub(crate) struct Layout {
    pub(crate) name: &'static str,
    pub(crate) schema: String,
    /// True if the target is stored in a JSON document.
    pub(crate) documents: bool,
    pub(crate) insert: &'static str,
    /// Adds a batch's counts for one link to the counts of a day.
    pub(crate) add: fn(&Connection, &Delta<'_>, i64) -> Result<()>,
    /// The query for one link's counts on 30 days.
    pub(crate) days: String,
    /// The query for one link with its counts.
    pub(crate) link: &'static str,
    /// The query for the 50 most clicked links.
    pub(crate) top: String,
}

const KEY_DAY: &str =
    "people INTEGER NOT NULL, bots INTEGER NOT NULL, details TEXT NOT NULL, PRIMARY KEY (key, day)";
const DAY_KEY: &str =
    "people INTEGER NOT NULL, bots INTEGER NOT NULL, details TEXT NOT NULL, PRIMARY KEY (day, key)";
/// The columns for a day's counts. `referrers` is a JSON document or NULL.
const COLUMNS: &str =
    "people INTEGER NOT NULL, bots INTEGER NOT NULL, desktop INTEGER NOT NULL, mobile INTEGER NOT NULL,
    tablet INTEGER NOT NULL, other INTEGER NOT NULL, referrers TEXT";

pub(crate) fn all() -> Vec<Layout> {
    let columns = |name, primary_key, ranked_from| {
        let days = format!("{COLUMNS}, PRIMARY KEY ({primary_key})");
        Layout { add: add_columns, ..apart(name, &days, "", ranked_from) }
    };
    vec![
        before(),
        apart("key-day", KEY_DAY, "", Some(1)),
        Layout { days: each_day(), ..apart("day-key", DAY_KEY, "", Some(1)) },
        apart("key-day-no-rank", KEY_DAY, "", None),
        apart("rowless-links", KEY_DAY, ", WITHOUT ROWID", Some(1)),
        columns("columns", "key, day", Some(1)),
        columns("columns-rank-10", "key, day", Some(10)),
        columns("columns-no-rank", "key, day", None),
        Layout {
            // The other layouts have no index of targets.
            schema: [include_str!("../../src/store/sqlite/001.sql"), "DROP INDEX links_by_target;"].concat(),
            ..columns("service", "key, day", Some(1))
        },
        Layout { days: each_day(), ..columns("day-columns", "day, key", Some(1)) },
        Layout { days: each_day(), ..columns("day-columns-10", "day, key", Some(10)) },
        today("today", Some(1)),
        today("today-rank-10", Some(10)),
    ]
}

/// Returns a query that names each of 30 days explicitly.
///
/// The query is for layouts whose primary key begins with the day. With a range of days, SQLite would read the rows of
/// all links.
fn each_day() -> String {
    let days: Vec<_> = (FIRST_DAY - 24..FIRST_DAY + 6).map(|day| day.to_string()).collect();
    format!("SELECT * FROM days WHERE key = ? AND day IN ({})", days.join(", "))
}

/// Returns the old layout: total counts in `links`, and one row per link, day and facet.
fn before() -> Layout {
    let schema = "
        CREATE TABLE links (
            key TEXT PRIMARY KEY,
            target TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            expires_at INTEGER,
            max_visits INTEGER,
            taken_down_at INTEGER,
            redirect INTEGER NOT NULL,
            forward_query INTEGER NOT NULL,
            title TEXT,
            tags TEXT NOT NULL,
            password TEXT,
            version INTEGER NOT NULL,
            clicks INTEGER NOT NULL,
            visits INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX links_by_creation ON links (created_at, key);
        CREATE INDEX links_by_clicks ON links (clicks, key) WHERE clicks > 0;
        CREATE TABLE day_counts (
            key TEXT NOT NULL,
            day INTEGER NOT NULL,
            kind TEXT NOT NULL,
            value TEXT NOT NULL,
            count INTEGER NOT NULL,
            PRIMARY KEY (key, day, kind, value)
        ) STRICT, WITHOUT ROWID;";
    let columns = "key, target, created_at, expires_at, max_visits, taken_down_at, redirect, forward_query, title, \
                   tags, password, version, clicks, visits";
    Layout {
        name: "before",
        schema: schema.to_owned(),
        documents: false,
        insert: "INSERT INTO links (key, created_at, target, redirect, forward_query, tags, version, clicks, visits)
            VALUES (?, ?, ?, 302, 0, '', 1, 0, 0) ON CONFLICT DO NOTHING",
        add: add_before,
        days: days_since("SELECT day, kind, value, count FROM day_counts"),
        link: "SELECT key, target, created_at, expires_at, max_visits, taken_down_at, redirect, forward_query, title,
            tags, password, version, clicks, visits FROM links WHERE key = ?",
        top: format!("SELECT {columns} FROM links WHERE clicks > 0 ORDER BY clicks DESC, key DESC LIMIT 50"),
    }
}

/// Returns a layout that keeps counts outside `links`, with one row per link and day.
///
/// The index on clicks covers only links with at least `ranked_from` clicks.
fn apart(name: &'static str, days: &str, links: &str, ranked_from: Option<u32>) -> Layout {
    with_counts(
        name,
        "",
        &format!(
            "CREATE TABLE days (key TEXT NOT NULL, day INTEGER NOT NULL, {days}) STRICT, WITHOUT ROWID;"
        ),
        links,
        ranked_from,
    )
}

/// Returns a layout that keeps each link's newest day in `counts`, and earlier days in `days`.
fn today(name: &'static str, ranked_from: Option<u32>) -> Layout {
    let days = format!(
        "CREATE TABLE days (key TEXT NOT NULL, day INTEGER NOT NULL, {COLUMNS}, PRIMARY KEY (key, day))
            STRICT, WITHOUT ROWID;"
    );
    let columns = "day, people, bots, desktop, mobile, tablet, other, referrers";
    Layout {
        add: add_today,
        days: format!(
            "SELECT {columns} FROM days WHERE key = ?1 AND day > {start}
             UNION ALL SELECT {columns} FROM counts WHERE key = ?1 AND day > {start}",
            start = FIRST_DAY - 25
        ),
        ..with_counts(name, &format!(", day INTEGER NOT NULL, {COLUMNS}"), &days, "", ranked_from)
    }
}

fn with_counts(
    name: &'static str,
    counts: &str,
    days: &str,
    links: &str,
    ranked_from: Option<u32>,
) -> Layout {
    let from = ranked_from.unwrap_or(1);
    let index = ranked_from.map_or(String::new(), |from| {
        format!("CREATE INDEX counts_by_clicks ON counts (clicks, key) WHERE clicks >= {from};")
    });
    Layout {
        name,
        schema: format!(
            "CREATE TABLE links (
                key TEXT PRIMARY KEY,
                created_at INTEGER NOT NULL,
                version INTEGER NOT NULL,
                doc TEXT NOT NULL
            ) STRICT{links};
            CREATE INDEX links_by_creation ON links (created_at, key);
            CREATE TABLE counts (
                key TEXT PRIMARY KEY,
                created_at INTEGER NOT NULL,
                clicks INTEGER NOT NULL,
                visits INTEGER NOT NULL
                {counts}
            ) STRICT, WITHOUT ROWID;
            {index}
            {days}"
        ),
        documents: true,
        insert: "INSERT INTO links (key, created_at, version, doc) VALUES (?, ?, 1, ?) ON CONFLICT DO NOTHING",
        add: add_document,
        days: days_since("SELECT * FROM days"),
        link: "SELECT links.key, links.created_at, version, doc, clicks, visits
            FROM links LEFT JOIN counts USING (key, created_at) WHERE links.key = ?",
        top: format!(
            "SELECT links.key, links.created_at, version, doc, clicks, visits
            FROM (SELECT key, created_at, clicks, visits FROM counts WHERE clicks >= {from}
                  ORDER BY clicks DESC, key DESC LIMIT 50) AS top
                CROSS JOIN links ON links.key = top.key AND links.created_at = top.created_at
            ORDER BY clicks DESC, top.key DESC"
        ),
    }
}

fn days_since(select: &str) -> String {
    format!("{select} WHERE key = ? AND day BETWEEN {} AND {}", FIRST_DAY - 24, FIRST_DAY + 5)
}

/// Adds each facet with its own statements.
fn add_before(db: &Connection, delta: &Delta<'_>, day: i64) -> Result<()> {
    let add = |kind: &str, value: &str, count: u64| {
        if !db.prepare_cached("SELECT 1 FROM links WHERE key = ?")?.exists([delta.key])? {
            return Ok(());
        }
        if (kind, value) == ("visitor", "person") {
            let mut clicks = db.prepare_cached("UPDATE links SET clicks = clicks + ? WHERE key = ?")?;
            clicks.execute((count, delta.key))?;
        }
        let mut statement = db.prepare_cached(
            "INSERT INTO day_counts (key, day, kind, value, count) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (key, day, kind, value) DO UPDATE SET count = count + excluded.count",
        )?;
        statement.execute((delta.key, day, kind, value, count))?;
        Ok(())
    };
    if delta.clicks > 0 {
        add("visitor", "person", delta.clicks)?;
    }
    if delta.bots > 0 {
        add("visitor", "bot", delta.bots)?;
    }
    for (device, count) in &delta.devices {
        add("device", if *device == Device::Mobile { "mobile" } else { "desktop" }, *count)?;
    }
    delta.referrers.iter().try_for_each(|(host, count)| add("referrer", host, *count))
}

/// Adds clicks to a link's total, and returns false if the link has been deleted.
///
/// If all visits are by bots, an existing row is not rewritten.
fn add_clicks(db: &Connection, delta: &Delta<'_>) -> Result<bool> {
    let is_known = if delta.clicks == 0 {
        let mut known = db.prepare_cached("SELECT 1 FROM counts WHERE key = ? AND created_at = ?")?;
        known.exists((delta.key, delta.created_at))?
    } else {
        let mut update = db.prepare_cached(
            "UPDATE counts SET clicks = min(clicks + ?, 9223372036854775807) WHERE key = ? AND created_at = ?",
        )?;
        update.execute((delta.clicks, delta.key, delta.created_at))? == 1
    };
    if is_known {
        return Ok(true);
    }
    let mut insert = db.prepare_cached(
        "INSERT INTO counts (key, created_at, clicks, visits)
         SELECT key, created_at, ?, 0 FROM links WHERE key = ? AND created_at = ?",
    )?;
    Ok(insert.execute((delta.clicks, delta.key, delta.created_at))? == 1)
}

#[derive(Default, Serialize, Deserialize)]
struct Details {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    devices: BTreeMap<Device, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    referrers: BTreeMap<String, u64>,
}

fn add_document(db: &Connection, delta: &Delta<'_>, day: i64) -> Result<()> {
    if !add_clicks(db, delta)? {
        return Ok(());
    }
    let old: Option<String> = db
        .prepare_cached("SELECT details FROM days WHERE key = ? AND day = ?")?
        .query_row((delta.key, day), |row| row.get(0))
        .optional()?;
    let mut details: Details =
        old.as_ref().map_or_else(Details::default, |old| serde_json::from_str(old).expect("a document"));
    for (device, count) in &delta.devices {
        *details.devices.entry(*device).or_default() += count;
    }
    merge(&mut details.referrers, &delta.referrers);
    let sql = if old.is_some() {
        "UPDATE days SET people = people + ?, bots = bots + ?, details = ? WHERE key = ? AND day = ?"
    } else {
        "INSERT INTO days (people, bots, details, key, day) VALUES (?, ?, ?, ?, ?)"
    };
    let details = serde_json::to_string(&details).expect("a document");
    db.prepare_cached(sql)?.execute((delta.clicks, delta.bots, details, delta.key, day))?;
    Ok(())
}

fn merge(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (host, count) in from {
        *into.entry(host.clone()).or_default() += count;
    }
}

/// Returns the referrers JSON document, with the referrers in `delta` added.
fn referrers(old: Option<String>, delta: &Delta<'_>) -> Option<String> {
    if delta.referrers.is_empty() {
        return old;
    }
    let mut referrers = old.map_or_else(BTreeMap::new, |old| serde_json::from_str(&old).expect("a document"));
    merge(&mut referrers, &delta.referrers);
    Some(serde_json::to_string(&referrers).expect("a document"))
}

fn device(delta: &Delta<'_>, device: Device) -> u64 {
    delta.devices.get(&device).copied().unwrap_or_default()
}

fn add_columns(db: &Connection, delta: &Delta<'_>, day: i64) -> Result<()> {
    if !add_clicks(db, delta)? {
        return Ok(());
    }
    // Without a referrer, there is nothing to merge, so one statement is enough.
    let old = if delta.referrers.is_empty() {
        None
    } else {
        let mut old = db.prepare_cached("SELECT referrers FROM days WHERE key = ? AND day = ?")?;
        old.query_row((delta.key, day), |row| row.get(0)).optional()?.flatten()
    };
    let mut upsert = db.prepare_cached(
        "INSERT INTO days (key, day, people, bots, desktop, mobile, tablet, other, referrers)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (key, day) DO UPDATE SET people = people + excluded.people, bots = bots + excluded.bots, desktop = desktop + excluded.desktop,
             mobile = mobile + excluded.mobile, tablet = tablet + excluded.tablet, other = other + excluded.other,
             referrers = coalesce(excluded.referrers, referrers)",
    )?;
    let count = |of| device(delta, of);
    upsert.execute((
        delta.key,
        day,
        delta.clicks,
        delta.bots,
        count(Device::Desktop),
        count(Device::Mobile),
        count(Device::Tablet),
        count(Device::Other),
        referrers(old, delta),
    ))?;
    Ok(())
}

fn add_today(db: &Connection, delta: &Delta<'_>, day: i64) -> Result<()> {
    let old: Option<(i64, Option<String>)> = db
        .prepare_cached("SELECT day, referrers FROM counts WHERE key = ? AND created_at = ?")?
        .query_row((delta.key, delta.created_at), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let sql = match old {
        None => {
            "INSERT INTO counts (key, created_at, clicks, visits, day, people, bots, desktop, mobile, tablet, other,
                 referrers)
             SELECT key, created_at, ?3, 0, ?4, ?3, ?5, ?6, ?7, ?8, ?9, ?10 FROM links WHERE key = ?1 AND created_at = ?2"
        }
        Some((of, _)) if of == day => {
            "UPDATE counts SET clicks = min(clicks + ?3, 9223372036854775807), day = ?4, people = people + ?3, bots = bots + ?5,
                 desktop = desktop + ?6, mobile = mobile + ?7, tablet = tablet + ?8, other = other + ?9,
                 referrers = ?10
             WHERE key = ?1 AND created_at = ?2"
        }
        Some(_) => {
            let mut keep = db.prepare_cached(
                "INSERT INTO days SELECT key, day, people, bots, desktop, mobile, tablet, other, referrers FROM counts
                 WHERE key = ?",
            )?;
            keep.execute([delta.key])?;
            "UPDATE counts SET clicks = min(clicks + ?3, 9223372036854775807), day = ?4, people = ?3, bots = ?5, desktop = ?6,
                 mobile = ?7, tablet = ?8, other = ?9, referrers = ?10
             WHERE key = ?1 AND created_at = ?2"
        }
    };
    let old = old.filter(|(of, _)| *of == day).and_then(|(_, referrers)| referrers);
    let count = |of| device(delta, of);
    db.prepare_cached(sql)?.execute((
        delta.key,
        delta.created_at,
        delta.clicks,
        day,
        delta.bots,
        count(Device::Desktop),
        count(Device::Mobile),
        count(Device::Tablet),
        count(Device::Other),
        referrers(old, delta),
    ))?;
    Ok(())
}
