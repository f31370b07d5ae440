//! Listings: one statement per page, or per slice of a search.

use std::time::{Duration, Instant};

use sqlx::{PgConnection, Postgres, QueryBuilder, Row, postgres::PgRow};

use super::rows::{columns, read};
use crate::{
    link::LinkState,
    store::{
        Moment, StoreError,
        listing::{Cursor, Filter, LAST_KEY, Listing, Order, Page},
    },
};

/// The number of links in the first slice of a search.
const FIRST_SLICE: u32 = 2000;

/// The target duration of a slice. If a slice is faster, the next one is twice as large.
const SLICE_TIME: Duration = Duration::from_millis(40);

/// A position in a listing. Unlike a [`Cursor`], it can hold the invalid key of a damaged link.
type Position = (i64, String);

/// Returns a page of a listing that is not a search.
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

/// Returns a page of a search, or of the most clicked links.
pub(super) async fn page_by_slices(
    connection: &mut PgConnection,
    listing: &Listing,
) -> Result<Page, StoreError> {
    let (mut page, mut after) = (Page::default(), start(listing));
    let Filter { target, .. } = &listing.filter;
    let takes_all = !listing.filter.is_search() && target.is_none();
    let page_size = u32::try_from(listing.limit).unwrap_or(u32::MAX).saturating_add(1);
    let mut size = if takes_all { page_size } else { FIRST_SLICE };
    let (deadline, mut searched) = (Instant::now() + listing.search_time, 0);
    loop {
        let begin = Instant::now();
        let end = end_of_slice(connection, listing, &after, size).await?;
        let missing = listing.limit - page.records.len();
        let rows = rows(connection, listing, &after, Some(size), missing).await?;
        for row in &rows {
            push(&mut page, &listing.filter, row)?;
        }
        if page.records.len() == listing.limit {
            let is_last = takes_all && end.is_none();
            page.next = page.records.last().filter(|_| !is_last).map(|record| listing.order.cursor(record));
            return Ok(page);
        }
        after = match (rows.last(), end) {
            // The slice may contain more candidates.
            (Some(last), _) if rows.len() == missing => {
                searched += missing as u64;
                position(listing.order, last)?
            }
            (_, Some(end)) => {
                searched += u64::from(size);
                end
            }
            (_, None) => return Ok(page),
        };
        if Instant::now() >= deadline
            && let Ok(key) = after.1.parse()
        {
            page.next = Some(Cursor { position: after.0, key });
            page.searched = Some(searched);
            return Ok(page);
        }
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

/// Returns the position of a row from [`rows`].
fn position(order: Order, row: &PgRow) -> Result<Position, StoreError> {
    let column = if order == Order::MostClicked { 4 } else { 1 };
    Ok((row.try_get(column)?, row.try_get(0)?))
}

/// The parts of a statement that depend on the order.
struct Source {
    /// The table whose index has this order.
    table: &'static str,
    join: &'static str,
    /// The columns of a [`Position`].
    columns: &'static str,
    order: &'static str,
    comparison: &'static str,
}

impl Source {
    fn of(order: Order) -> Self {
        let (table, join) = ("links", "LEFT JOIN counts");
        let columns = "created_at, links.key";
        match order {
            Order::Newest => {
                Self { table, join, columns, order: "created_at DESC, links.key DESC", comparison: "<" }
            }
            Order::Oldest => Self { table, join, columns, order: "created_at, links.key", comparison: ">" },
            Order::MostClicked => Self {
                table: "counts",
                join: "JOIN links",
                columns: "clicks, counts.key",
                order: "clicks DESC, counts.key DESC",
                comparison: "<",
            },
        }
    }

    /// Adds the conditions that an index covers.
    fn push_range(&self, query: &mut QueryBuilder<Postgres>, after: &Position, filter: &Filter) {
        let Self { table, columns, comparison, .. } = self;
        query.push(format!(" FROM {table} WHERE ({columns}) {comparison} ("));
        query.push_bind(after.0).push(", ").push_bind(after.1.clone()).push(")");
        if *table == "counts" {
            query.push(" AND clicks > 0");
        } else if let Some(target) = &filter.target {
            query.push(" AND doc ->> 'target' = ").push_bind(target.as_str().to_owned());
        }
    }
}

/// Returns the position of the last row in the next slice.
///
/// Returns `None` if fewer than `size` rows are left.
async fn end_of_slice(
    connection: &mut PgConnection,
    listing: &Listing,
    after: &Position,
    size: u32,
) -> Result<Option<Position>, StoreError> {
    let source = Source::of(listing.order);
    let mut query = QueryBuilder::new(format!("SELECT {}", source.columns));
    source.push_range(&mut query, after, &listing.filter);
    query.push(format!(" ORDER BY {} LIMIT 1 OFFSET ", source.order)).push_bind(i64::from(size) - 1);
    Ok(query.build_query_as().fetch_optional(connection).await?)
}

/// Returns at most `limit` links that may match the filter.
///
/// The links come after the position in `after`. If `slice` is set, only that many links are examined. The slice is a
/// subquery with a limit, which tells the planner how few rows it has to join.
async fn rows(
    connection: &mut PgConnection,
    listing: &Listing,
    after: &Position,
    slice: Option<u32>,
    limit: usize,
) -> Result<Vec<PgRow>, StoreError> {
    let source = Source::of(listing.order);
    let mut query = QueryBuilder::new(concat!("SELECT ", columns!(), " FROM (SELECT *"));
    source.push_range(&mut query, after, &listing.filter);
    if let Some(size) = slice {
        query.push(format!(" ORDER BY {} LIMIT {size}", source.order));
    }
    query.push(format!(") AS {} {} USING (key, created_at) WHERE true", source.table, source.join));
    push_conditions(&mut query, listing);
    query.push(format!(" ORDER BY {} LIMIT ", source.order));
    query.push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    Ok(query.build().fetch_all(connection).await?)
}

/// Adds SQL conditions that every match for the filter meets.
///
/// A few links that don't match also meet these conditions. [`Filter::matches`] removes such links.
fn push_conditions(query: &mut QueryBuilder<Postgres>, listing: &Listing) {
    let Filter { search, tag, created_by, state, host, target } = &listing.filter;
    if let Some(target) = target
        && listing.order == Order::MostClicked
    {
        query.push(" AND doc ->> 'target' = ").push_bind(target.as_str().to_owned());
    }
    if let Some(tag) = tag {
        query.push(" AND doc -> 'tags' ? ").push_bind(tag.as_str().to_owned());
    }
    if let Some(name) = created_by {
        query.push(" AND coalesce(doc ->> 'created_by', 'public') = ").push_bind(name.as_str().to_owned());
    }
    if let Some(host) = host {
        query.push(" AND strpos(doc ->> 'target', ").push_bind(host.literal().to_owned()).push(") > 0");
    }
    if let Some((state, Moment { now, .. })) = state {
        // Timestamps in documents can be compared byte by byte, as text.
        let mut passed = |name: &str, comparison: &str| {
            query.push(format!(" AND coalesce(doc ->> '{name}' COLLATE \"C\" {comparison} "));
            query.push_bind(format!("{now:.3}")).push(", false)");
        };
        match state {
            LinkState::Expired => passed("expires_at", "<="),
            LinkState::Scheduled => passed("starts_at", ">"),
            LinkState::TakenDown => drop(query.push(" AND doc ? 'taken_down_at'")),
            LinkState::UsedUp => drop(query.push(" AND doc ? 'max_visits'")),
            // Don't filter by host: the list of blocked hosts can be too long for a statement.
            LinkState::Blocked => drop(query.push(" AND NOT doc ? 'taken_down_at'")),
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
        let literal = search.literal().to_owned();
        let mut separator = " AND (";
        for text in ["links.key", "doc ->> 'target'", "doc ->> 'title'"] {
            // With the "C" collation, every database lowercases only ASCII letters. It is also the fastest collation.
            query.push(separator).push(format!("strpos(lower(({text}) COLLATE \"C\"), "));
            query.push_bind(literal.clone()).push(") > 0");
            separator = " OR ";
        }
        query.push(")");
    }
}
