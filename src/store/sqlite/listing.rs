//! Listings: queries that read links in order until the page is full or the time is up.

use std::time::Instant;

use rusqlite::{Connection, params_from_iter, types::Value};

use super::rows::{self, damaged};
use crate::{
    link::{Creator, Key, LinkState},
    store::{
        Moment, StoreError,
        listing::{Cursor, Filter, LAST_KEY, Listing, Order, Page},
    },
};

/// The number of links to read between two checks of the clock.
const LINKS_PER_CHECK: u64 = 128;

/// The SQL expression for a link's target.
///
/// SQLite uses the index only if the expression is spelled exactly as in the index.
const TARGET: &str = "CASE WHEN json_valid(doc) THEN doc ->> 'target' END";

pub(super) fn list(db: &Connection, listing: &Listing) -> rusqlite::Result<Page> {
    let Listing { limit, filter, .. } = listing;
    let (sql, parameters) = statement(listing);
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(parameters))?;
    let deadline = filter.is_search().then(|| Instant::now() + listing.search_time);
    let (mut page, mut read, mut last) = (Page::default(), 0, None);
    while let Some(row) = rows.next()? {
        let is_late = read > 0
            && read % LINKS_PER_CHECK == 0
            && deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let is_full = page.records.len() == *limit;
        if is_full || is_late {
            page.next = last;
            page.searched = (!is_full).then_some(read);
            break;
        }
        read += 1;
        let key = row.get_ref(1)?.as_str().map_err(|error| damaged(1, error))?;
        if row.get(2)? {
            match rows::get_by_row_id(db, row.get(3)?) {
                Ok(record) if !filter.matches(&record) => {}
                record => {
                    let pushed = page.push(record.map_err(StoreError::from), || key.to_owned());
                    pushed.map_err(|error| damaged(0, error))?;
                }
            }
        }
        if let Ok(key) = key.parse::<Key>() {
            last = Some(Cursor { position: row.get(0)?, key });
        }
    }
    Ok(page)
}

/// Returns the SQL statement for a listing, and its parameters.
///
/// The statement returns a row for every link after the cursor, so that the caller knows how far it has read. The
/// columns are the position, the key, whether the link is a candidate for the filter, and the row id.
fn statement(listing: &Listing) -> (String, Vec<Value>) {
    let Listing { order, after, filter, .. } = listing;
    let mut parameters = Vec::new();
    let mut bind = |value: Value| {
        parameters.push(value);
        format!("?{}", parameters.len())
    };
    let start = match order {
        Order::Oldest => (i64::MIN, ""),
        Order::Newest | Order::MostClicked => (i64::MAX, LAST_KEY),
    };
    let (position, key) = after.as_ref().map_or(start, |cursor| (cursor.position, cursor.key.as_str()));
    let (position, key) = (bind(position.into()), bind(key.to_owned().into()));
    let is_candidate = candidates(filter, &mut bind);
    let has_target = match &filter.target {
        Some(target) => format!("{TARGET} = {} AND", bind(target.as_str().to_owned().into())),
        None => String::new(),
    };
    let sql = match order {
        Order::Newest => format!(
            "SELECT created_at, key, {is_candidate}, rowid FROM links
             WHERE {has_target} (created_at, key) < ({position}, {key}) ORDER BY created_at DESC, key DESC"
        ),
        Order::Oldest => format!(
            "SELECT created_at, key, {is_candidate}, rowid FROM links
             WHERE {has_target} (created_at, key) > ({position}, {key}) ORDER BY created_at, key"
        ),
        // The unary plus keeps SQLite from using the index on `created_at`, which would be slower.
        Order::MostClicked => format!(
            "SELECT clicks, counts.key, {is_candidate}, links.rowid FROM counts
             JOIN links ON links.key = counts.key AND +links.created_at = counts.created_at
             WHERE {has_target} clicks > 0 AND (clicks, counts.key) < ({position}, {key})
             ORDER BY clicks DESC, counts.key DESC"
        ),
    };
    (sql, parameters)
}

/// Returns an SQL expression that selects the candidates for a filter.
///
/// Candidates are all links that match the filter, and a few that don't. [`Filter::matches`] makes the final decision.
/// The expression ignores the filter's target. It searches the document as text, which is several times faster than
/// parsing it. A field name such as `"tags":` can't occur inside a string, because quotes in strings are escaped.
fn candidates(filter: &Filter, mut bind: impl FnMut(Value) -> String) -> String {
    let Filter { search, tag, created_by, state, host, target: _ } = filter;
    let contains = |text: String| format!("instr(doc, {text}) > 0");
    let has = |name: &str| format!("instr(doc, '\"{name}\":') > 0");
    let mut conditions = Vec::new();
    if let Some(search) = search {
        let literal = search.literal().replace('%', "\\%").replace('_', "\\_");
        let pattern = bind(format!("%{literal}%").into());
        let is_in = |text: &str| format!("{text} LIKE {pattern} ESCAPE '\\'");
        // Search the raw text first: most documents don't contain the search text, so they need no parsing.
        conditions.push(format!(
            "({} OR {} AND json_valid(doc) AND ({} OR {}))",
            is_in("links.key"),
            is_in("doc"),
            is_in("doc ->> 'target'"),
            is_in("doc ->> 'title'")
        ));
    }
    if let Some(tag) = tag {
        conditions.push(contains(bind(json(tag.as_str()).into())));
    }
    if let Some(host) = host {
        conditions.push(contains(bind(host.literal().to_owned().into())));
    }
    match created_by {
        Some(name) if *name == Creator::default() => {
            conditions.push(format!("NOT {}", has("created_by")));
        }
        Some(name) => {
            conditions.push(contains(bind(format!("\"created_by\":{}", json(name.as_str())).into())));
        }
        None => {}
    }
    if let Some((state, Moment { now, .. })) = state {
        // Timestamps in documents can be compared as text.
        let mut is = |name: &str, comparison: &str| {
            let now = bind(format!("{now:.3}").into());
            format!("({} AND json_valid(doc) AND doc ->> '{name}' {comparison} {now})", has(name))
        };
        conditions.push(match state {
            LinkState::TakenDown => has("taken_down_at"),
            LinkState::Expired => is("expires_at", "<="),
            LinkState::Scheduled => is("starts_at", ">"),
            LinkState::UsedUp => has("max_visits"),
            // The list of blocked hosts may be too long for a statement, so only `Filter::matches` checks the host.
            LinkState::Blocked => format!("NOT {}", has("taken_down_at")),
            LinkState::Active => format!(
                "NOT ({} OR {} OR {})",
                has("taken_down_at"),
                is("expires_at", "<="),
                is("starts_at", ">")
            ),
        });
    }
    if conditions.is_empty() {
        return "1".into();
    }
    // Use CASE, because otherwise SQLite evaluates both sides of AND.
    format!("CASE WHEN {} THEN 1 ELSE 0 END", conditions.join(" AND "))
}

/// Returns a string as JSON, with the same escapes as in documents.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
