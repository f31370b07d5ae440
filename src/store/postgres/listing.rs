//! Listings: a page by one statement, and searches by a statement for each slice of the links.

use std::time::{Duration, Instant};

use sqlx::{PgConnection, Postgres, QueryBuilder, Row, postgres::PgRow};

use super::rows::{columns, read};
use crate::{
    link::LinkState,
    store::{
        StoreError,
        listing::{Cursor, Filter, LAST_KEY, Listing, Order, Page},
    },
};

/// Links in the first slice of a search.
const FIRST_SLICE: u32 = 2000;

/// The time that a slice should take. Faster ones double the size of the next.
const SLICE_TIME: Duration = Duration::from_millis(40);

/// A position in a listing. Unlike a [`Cursor`], it can have the invalid key of a damaged link.
type Position = (i64, String);

/// Returns a page of a listing that is no search.
pub(super) async fn page(connection: &mut PgConnection, listing: &Listing) -> Result<Page, StoreError> {
    let (mut page, mut after) = (Page::default(), start(listing));
    loop {
        let missing = listing.limit - page.records.len();
        let rows = rows(connection, listing, &after, None, missing + 1).await?;
        let is_last = rows.len() <= missing;
        for row in rows.iter().take(missing) {
            push(&mut page, &listing.filter, row)?;
            after = position(listing.order, row)?;
        }
        if is_last {
            return Ok(page);
        }
        if page.records.len() == listing.limit {
            page.next = page.records.last().map(|record| listing.order.cursor(record));
            return Ok(page);
        }
    }
}

/// Returns a page of a search.
pub(super) async fn search(connection: &mut PgConnection, listing: &Listing) -> Result<Page, StoreError> {
    let (mut page, mut after) = (Page::default(), start(listing));
    let (deadline, mut size, mut searched) = (Instant::now() + listing.search_time, FIRST_SLICE, 0);
    loop {
        let begin = Instant::now();
        let end = end_of_slice(connection, listing, &after, size).await?;
        let missing = listing.limit - page.records.len();
        let rows = rows(connection, listing, &after, end.as_ref(), missing).await?;
        for row in &rows {
            push(&mut page, &listing.filter, row)?;
            after = position(listing.order, row)?;
        }
        if page.records.len() == listing.limit {
            page.next = page.records.last().map(|record| listing.order.cursor(record));
            return Ok(page);
        }
        if rows.len() == missing {
            continue;
        }
        let Some(end) = end else { return Ok(page) };
        searched += u64::from(size);
        if Instant::now() >= deadline
            && let Ok(key) = end.1.parse()
        {
            page.next = Some(Cursor { position: end.0, key });
            page.searched = Some(searched);
            return Ok(page);
        }
        after = end;
        if begin.elapsed() < SLICE_TIME {
            size *= 2;
        }
    }
}

fn push(page: &mut Page, filter: &Filter, row: &PgRow) -> Result<(), StoreError> {
    match read(row) {
        Ok(record) if !filter.matches(&record) => Ok(()),
        record => page.push(record, || row.try_get(0).unwrap_or_default()),
    }
}

fn start(listing: &Listing) -> Position {
    match (&listing.after, listing.order) {
        (Some(Cursor { position, key }), _) => (*position, key.to_string()),
        (None, Order::Oldest) => (i64::MIN, String::new()),
        (None, Order::Newest | Order::MostClicked) => (i64::MAX, LAST_KEY.into()),
    }
}

/// Returns the position of a row of [`rows`].
fn position(order: Order, row: &PgRow) -> Result<Position, StoreError> {
    let column = if order == Order::MostClicked { 4 } else { 1 };
    Ok((row.try_get(column)?, row.try_get(0)?))
}

/// Returns the position of the last of the next `size` links with the target, or `None` if there are fewer.
async fn end_of_slice(
    connection: &mut PgConnection,
    listing: &Listing,
    after: &Position,
    size: u32,
) -> Result<Option<Position>, StoreError> {
    let (select, order) = match listing.order {
        Order::Newest => {
            ("SELECT created_at, key FROM links WHERE (created_at, key) < (", "created_at DESC, key DESC")
        }
        Order::Oldest => ("SELECT created_at, key FROM links WHERE (created_at, key) > (", "created_at, key"),
        Order::MostClicked => {
            ("SELECT clicks, key FROM counts WHERE clicks > 0 AND (clicks, key) < (", "clicks DESC, key DESC")
        }
    };
    let mut query = QueryBuilder::<Postgres>::new(select);
    query.push_bind(after.0).push(", ").push_bind(&after.1).push(")");
    if let Some(target) = &listing.filter.target
        && listing.order != Order::MostClicked
    {
        query.push(" AND doc ->> 'target' = ").push_bind(target.as_str());
    }
    query.push(format!(" ORDER BY {order} LIMIT 1 OFFSET ")).push_bind(i64::from(size) - 1);
    Ok(query.build_query_as().fetch_optional(connection).await?)
}

/// Returns up to `limit` links after one position and up to another that may meet the filter.
async fn rows(
    connection: &mut PgConnection,
    listing: &Listing,
    after: &Position,
    end: Option<&Position>,
    limit: usize,
) -> Result<Vec<PgRow>, StoreError> {
    let (tables, columns, is_after, is_before_end, order) = match listing.order {
        Order::Newest => (
            "links LEFT JOIN counts",
            "links.created_at, links.key",
            "<",
            ">=",
            "links.created_at DESC, links.key DESC",
        ),
        Order::Oldest => (
            "links LEFT JOIN counts",
            "links.created_at, links.key",
            ">",
            "<=",
            "links.created_at, links.key",
        ),
        Order::MostClicked => {
            ("counts JOIN links", "clicks, counts.key", "<", ">=", "clicks DESC, counts.key DESC")
        }
    };
    let mut query = QueryBuilder::<Postgres>::new(concat!("SELECT ", columns!()));
    query.push(format!(" FROM {tables} USING (key, created_at) WHERE ({columns}) {is_after} ("));
    query.push_bind(after.0).push(", ").push_bind(after.1.as_str()).push(")");
    if let Some(end) = end {
        query.push(format!(" AND ({columns}) {is_before_end} ("));
        query.push_bind(end.0).push(", ").push_bind(end.1.as_str()).push(")");
    }
    if listing.order == Order::MostClicked {
        query.push(" AND clicks > 0");
    }
    push_conditions(&mut query, &listing.filter);
    query.push(format!(" ORDER BY {order} LIMIT "));
    query.push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    Ok(query.build().fetch_all(connection).await?)
}

/// Adds conditions that all links meet that meet the filter, and few others. [`Filter::matches`] decides about these.
fn push_conditions(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    let Filter { search, tag, created_by, state, target } = filter;
    if let Some(target) = target {
        query.push(" AND doc ->> 'target' = ").push_bind(target.as_str().to_owned());
    }
    if let Some(tag) = tag {
        query.push(" AND doc -> 'tags' ? ").push_bind(tag.as_str().to_owned());
    }
    if let Some(name) = created_by {
        query.push(" AND coalesce(doc ->> 'created_by', 'public') = ").push_bind(name.as_str().to_owned());
    }
    if let Some((state, now)) = state {
        // Timestamps in documents sort as text, byte by byte.
        let mut passed = |name: &str, comparison: &str| {
            query.push(format!(" AND coalesce(doc ->> '{name}' COLLATE \"C\" {comparison} "));
            query.push_bind(format!("{now:.3}")).push(", false)");
        };
        match state {
            LinkState::Expired => passed("expires_at", "<="),
            LinkState::Scheduled => passed("starts_at", ">"),
            LinkState::TakenDown => drop(query.push(" AND doc ? 'taken_down_at'")),
            LinkState::UsedUp => drop(query.push(" AND doc ? 'max_visits'")),
            LinkState::Active => {
                query.push(
                    " AND NOT doc ? 'taken_down_at' AND coalesce(doc ->> 'expires_at' COLLATE \"C\" > ",
                );
                query.push_bind(format!("{now:.3}"));
                query.push(", true) AND coalesce(doc ->> 'starts_at' COLLATE \"C\" <= ");
                query.push_bind(format!("{now:.3}")).push(", true)");
            }
        }
    }
    if let Some(search) = search {
        let pattern = search.like_pattern();
        let mut separator = " AND (";
        for text in ["links.key", "doc ->> 'target'", "doc ->> 'title'"] {
            // The collation "C" knows the case of ASCII only, in every database, and is the fastest.
            query
                .push(separator)
                .push(format!("lower(({text}) COLLATE \"C\") LIKE "))
                .push_bind(pattern.clone());
            separator = " OR ";
        }
        query.push(")");
    }
}
