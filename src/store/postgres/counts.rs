//! The counts for links: visits used up, total clicks, and daily counts.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    num::NonZeroU32,
    sync::Arc,
};

use jiff::civil::Date;
use sqlx::{Connection, PgConnection, Row, postgres::PgRow};

use super::pool::Pool;
use crate::{
    clicks::{DayCounts, Tally},
    link::Key,
    store::{
        StoreError,
        row::{DayColumns, day, day_number, signed},
    },
};

/// The columns of a day's counts, in the order that [`read_day`] expects.
macro_rules! day_columns {
    () => {
        "day, people, bots, desktop, mobile, tablet, other, referrers"
    };
}

/// Uses up one visit for each of `keys`, which may contain duplicates.
///
/// A popular link is locked only once per batch. A damaged link causes errors only for its own visits.
pub(super) async fn use_visits(
    pool: Arc<Pool>,
    keys: Vec<Key>,
) -> Result<Vec<Result<bool, StoreError>>, StoreError> {
    let mut wanted = BTreeMap::<&str, i64>::new();
    for key in &keys {
        *wanted.entry(key.as_str()).or_default() += 1;
    }
    let granted = pool.run(|| async |connection: &mut PgConnection| grant(connection, &wanted).await);
    let mut granted = granted.await?;
    let grant = |key: &Key| match granted.get_mut(key.as_str()) {
        Some(Ok(left)) => {
            *left -= 1;
            Ok(*left >= 0)
        }
        Some(Err(error)) => Err(error.clone()),
        None => Ok(false),
    };
    Ok(keys.iter().map(grant).collect())
}

/// Uses up as many of the requested visits as are left.
///
/// Returns the number of visits used up, by key.
async fn grant(
    connection: &mut PgConnection,
    wanted: &BTreeMap<&str, i64>,
) -> Result<HashMap<String, Result<i64, StoreError>>, StoreError> {
    let mut transaction = connection.begin().await?;
    // The lock keeps the limit and the visits from changing until the end of the transaction. Visits that other
    // transactions commit while this statement waits for the lock are visible only to the next statement.
    let links = sqlx::query_as::<_, (String, i64, Option<String>)>(
        "SELECT key, created_at, doc ->> 'max_visits' FROM links WHERE key = ANY($1) ORDER BY key FOR UPDATE",
    );
    let links = links.bind(wanted.keys().copied().collect::<Vec<_>>()).fetch_all(&mut *transaction).await?;
    let mut granted = HashMap::new();
    let (mut keys, mut created, mut counts, mut limits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (key, created_at, limit) in links {
        match limit.map_or(Ok(i64::MAX), |limit| limit.parse().map(|limit: NonZeroU32| limit.get().into())) {
            Ok(limit) => {
                counts.push(wanted[key.as_str()]);
                keys.push(key);
                created.push(created_at);
                limits.push(limit);
            }
            Err(error) => drop(granted.insert(key, Err(StoreError::corrupt(error)))),
        }
    }
    // A negative number of visits means that the link is damaged. Such a link grants no visits, so the subtraction
    // can't overflow.
    let visits = sqlx::query_as::<_, (String, Option<i64>)>(
        "WITH granted AS (
             SELECT key, created_at, CASE WHEN coalesce(counts.visits, 0) >= 0
                 THEN LEAST(wanted.visits, wanted.max - coalesce(counts.visits, 0)) END AS visits
             FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS wanted (key, created_at, visits, max)
             LEFT JOIN counts USING (key, created_at)),
         used AS (
             INSERT INTO counts (key, created_at, clicks, visits)
             SELECT key, created_at, 0, visits FROM granted WHERE visits > 0 ORDER BY key
             ON CONFLICT (key) DO UPDATE SET visits = counts.visits + excluded.visits)
         SELECT key, visits FROM granted WHERE visits > 0 OR visits IS NULL",
    );
    let visits = visits.bind(keys).bind(created).bind(counts).bind(limits);
    for (key, visits) in visits.fetch_all(&mut *transaction).await? {
        granted.insert(key, visits.ok_or_else(|| StoreError::corrupt("the visits are a negative number")));
    }
    transaction.commit().await?;
    Ok(granted)
}

pub(super) async fn add_clicks(connection: &mut PgConnection, tallies: &[Tally]) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    // A link may occur several times, once per day.
    let mut clicks = BTreeMap::<(&str, i64), i64>::new();
    for tally in tallies {
        let clicks = clicks.entry((tally.key.as_str(), tally.created_at.as_millisecond())).or_default();
        *clicks = clicks.saturating_add(signed(tally.counts.people));
    }
    let (links, clicks): (Vec<_>, Vec<_>) = clicks.into_iter().unzip();
    let (keys, created): (Vec<_>, Vec<_>) = links.into_iter().unzip();
    // `FOR KEY SHARE` makes concurrent removals of the links and their counts wait. The locks on both tables are taken
    // in key order, which prevents deadlocks between instances.
    let add = sqlx::query_as::<_, (String, i64)>(
        "WITH present AS (
             SELECT links.key, links.created_at, tallies.clicks
             FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS tallies (key, created_at, clicks)
             JOIN links ON links.key = tallies.key AND links.created_at = tallies.created_at
             ORDER BY links.key FOR KEY SHARE OF links)
         INSERT INTO counts (key, created_at, clicks, visits)
         SELECT key, created_at, clicks, 0 FROM present ORDER BY key
         ON CONFLICT (key) DO UPDATE
         SET clicks = LEAST(counts.clicks::numeric + excluded.clicks::numeric, 9223372036854775807)::bigint
         WHERE counts.created_at = excluded.created_at
         RETURNING key, created_at",
    );
    let present = add.bind(keys).bind(created).bind(clicks).fetch_all(&mut *transaction).await?;
    let present: HashSet<_> = present.iter().map(|(key, created_at)| (key.as_str(), *created_at)).collect();
    let is_present =
        |tally: &&Tally| present.contains(&(tally.key.as_str(), tally.created_at.as_millisecond()));

    let present: Vec<_> = tallies.iter().filter(is_present).collect();
    let mut stored = days_of(&mut transaction, &present).await?;
    let sums = present.iter().map(|tally| {
        let (key, day) = (tally.key.as_str(), day_number(tally.day));
        let mut counts = tally.counts.clone();
        if let Some(stored) = stored.remove(&(key.to_owned(), day)) {
            counts.add(stored);
        }
        Ok((key, day, DayColumns::try_from(&counts)?))
    });
    let sums = sums.collect::<Result<Vec<_>, StoreError>>()?;
    replace_days(&mut transaction, &sums).await?;
    Ok(transaction.commit().await?)
}

/// Reads the stored counts for the days of `tallies`.
///
/// The caller's lock on the counts keeps other transactions from changing the days.
async fn days_of(
    connection: &mut PgConnection,
    tallies: &[&Tally],
) -> Result<HashMap<(String, i32), DayCounts>, StoreError> {
    let select = sqlx::query(concat!(
        "SELECT ",
        day_columns!(),
        ", key FROM days JOIN unnest($1::text[], $2::integer[]) AS wanted (key, day) USING (key, day)"
    ));
    let select = select.bind(tallies.iter().map(|tally| tally.key.as_str()).collect::<Vec<_>>());
    let select = select.bind(tallies.iter().map(|tally| day_number(tally.day)).collect::<Vec<_>>());
    let rows = select.fetch_all(connection).await?;
    rows.iter().map(|row| Ok(((row.try_get(8)?, row.try_get(0)?), read_day(row)?))).collect()
}

/// Inserts daily counts, or replaces existing ones.
pub(super) async fn replace_days(
    connection: &mut PgConnection,
    days: &[(&str, i32, DayColumns)],
) -> Result<(), StoreError> {
    if days.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($field:ident) => {
            days.iter().map(|(_, _, columns)| columns.$field.clone()).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "INSERT INTO days (key, day, people, bots, desktop, mobile, tablet, other, referrers)
         SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
             $7::bigint[], $8::bigint[], $9::text[])
         ON CONFLICT (key, day) DO UPDATE SET people = excluded.people, bots = excluded.bots,
             desktop = excluded.desktop, mobile = excluded.mobile, tablet = excluded.tablet, other = excluded.other,
             referrers = excluded.referrers",
    )
    .bind(days.iter().map(|(key, _, _)| *key).collect::<Vec<_>>())
    .bind(days.iter().map(|(_, day, _)| *day).collect::<Vec<_>>())
    .bind(column!(people))
    .bind(column!(bots))
    .bind(column!(desktop))
    .bind(column!(mobile))
    .bind(column!(tablet))
    .bind(column!(other))
    .bind(column!(referrers))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn day_counts(
    connection: &mut PgConnection,
    key: &Key,
    first: Date,
    last: Date,
) -> Result<BTreeMap<Date, DayCounts>, StoreError> {
    let select = sqlx::query(concat!(
        "SELECT ",
        day_columns!(),
        " FROM days WHERE key = $1 AND day BETWEEN $2 AND $3"
    ));
    let select = select.bind(key.as_str()).bind(day_number(first)).bind(day_number(last));
    let rows = select.fetch_all(connection).await?;
    rows.iter().map(|row| Ok((day(row.try_get(0)?)?, read_day(row)?))).collect()
}

fn read_day(row: &PgRow) -> Result<DayCounts, StoreError> {
    let columns = DayColumns {
        people: row.try_get(1)?,
        bots: row.try_get(2)?,
        desktop: row.try_get(3)?,
        mobile: row.try_get(4)?,
        tablet: row.try_get(5)?,
        other: row.try_get(6)?,
        referrers: row.try_get(7)?,
    };
    columns.try_into()
}
