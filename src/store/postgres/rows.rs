//! The statements, and what their rows mean.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use jiff::civil::Date;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};

use super::{
    channel::{CHANNEL, UNDEFINED_FUNCTION},
    pool::{Demoted, Pool},
};
use crate::{
    clicks::{DayCount, Facet, Tally},
    link::{Key, Link},
    store::{
        History, Record, Scan, StoreError,
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

/// Keeps those of `links` whose keys are free, and says which.
pub(super) async fn put(pool: Arc<Pool>, links: Vec<(Link, History)>) -> Result<Vec<bool>, StoreError> {
    pool.run(|| {
        async |connection: &mut PgConnection| {
            let has_history = links.iter().any(|(_, history)| !history.days.is_empty());
            if !has_history {
                return Ok(insert(connection, &links).await?);
            }
            let mut transaction = connection.begin().await?;
            let inserted = insert(&mut transaction, &links).await?;
            let new = links.iter().zip(&inserted).filter(|(_, inserted)| **inserted).map(|(link, _)| link);
            let days =
                new.flat_map(|(link, history)| history.days.iter().map(|counted| (&link.key, counted)));
            count(&mut transaction, &days.collect::<Vec<_>>()).await?;
            transaction.commit().await?;
            Ok(inserted)
        }
    })
    .await
}

async fn insert(connection: &mut PgConnection, links: &[(Link, History)]) -> Result<Vec<bool>, sqlx::Error> {
    // One statement keeps one link of a key. Which one, where a key comes twice, is for the first to be: the others
    // would find it taken.
    let mut seen = HashSet::new();
    let firsts: Vec<bool> = links.iter().map(|(link, _)| seen.insert(&link.key)).collect();
    let rows: Vec<_> = links
        .iter()
        .zip(&firsts)
        .filter(|(_, first)| **first)
        .map(|((link, history), _)| (Columns::from(link), history))
        .collect();
    macro_rules! column {
        ($field:ident) => {
            rows.iter().map(|(columns, _)| columns.$field.clone()).collect::<Vec<_>>()
        };
    }
    let inserted: Vec<String> = sqlx::query_scalar(
        "INSERT INTO links (key, target, created_at, expires_at, max_visits, taken_down_at, redirect, forward_query,
             title, tags, password, version, clicks, visits)
         SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
             $7::bigint[], $8::boolean[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[],
             $14::bigint[])
         ON CONFLICT DO NOTHING RETURNING key",
    )
    .bind(column!(key))
    .bind(column!(target))
    .bind(column!(created_at))
    .bind(column!(expires_at))
    .bind(column!(max_visits))
    .bind(column!(taken_down_at))
    .bind(column!(redirect))
    .bind(column!(forward_query))
    .bind(column!(title))
    .bind(column!(tags))
    .bind(column!(password))
    .bind(column!(version))
    .bind(rows.iter().map(|(_, history)| signed(history.clicks())).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, history)| signed(history.visits)).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let inserted: HashSet<String> = inserted.into_iter().collect();
    Ok(links
        .iter()
        .zip(firsts)
        .map(|((link, _), first)| first && inserted.contains(link.key.as_str()))
        .collect())
}

/// Looks up `keys`, each of which gets an answer of its own: a damaged link fails alone.
pub(super) async fn look_up(
    pool: Arc<Pool>,
    keys: Vec<Key>,
) -> Result<Vec<Result<Option<Record>, StoreError>>, StoreError> {
    let look_up = || {
        async |connection: &mut PgConnection| {
            let wanted: Vec<&str> = keys.iter().map(Key::as_str).collect();
            let rows = sqlx::query(concat!(select!(), " WHERE key = ANY($1)"));
            let rows = rows.bind(wanted).fetch_all(connection).await?;
            let mut found = HashMap::new();
            for row in &rows {
                found.insert(row.try_get::<&str, _>(0)?, read(row));
            }
            Ok(keys.iter().map(|key| found.get(key.as_str()).cloned().transpose()).collect())
        }
    };
    pool.run(look_up).await
}

fn read(row: &PgRow) -> Result<Record, StoreError> {
    let columns = Columns {
        key: row.try_get(0)?,
        target: row.try_get(1)?,
        created_at: row.try_get(2)?,
        expires_at: row.try_get(3)?,
        max_visits: row.try_get(4)?,
        taken_down_at: row.try_get(5)?,
        redirect: row.try_get(6)?,
        forward_query: row.try_get(7)?,
        title: row.try_get(8)?,
        tags: row.try_get(9)?,
        password: row.try_get(10)?,
        version: row.try_get(11)?,
    };
    Ok(Record {
        link: Arc::new(Link::try_from(columns)?),
        clicks: unsigned(row, 12)?,
        visits: unsigned(row, 13)?,
    })
}

/// How other instances learn of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announce {
    /// By a notification that is part of the change's transaction: both happen, or neither.
    ByNotification,
    /// Not at all, as the database has no channels.
    Never,
}

impl Announce {
    /// A statement that runs `change`, which returns the key, and tells of it. It returns a row for each change.
    fn statement(self, change: &str) -> AssertSqlSafe<String> {
        let told = match self {
            Self::ByNotification => format!("pg_notify('{CHANNEL}', key)"),
            Self::Never => "key".into(),
        };
        AssertSqlSafe(format!("WITH changed AS ({change} RETURNING key) SELECT {told} FROM changed"))
    }
}

pub(super) async fn update(
    connection: &mut PgConnection,
    link: &Columns,
    expected: u32,
    announce: Announce,
) -> Result<usize, StoreError> {
    let update = sqlx::query(announce.statement(
        "UPDATE links SET target = $1, expires_at = $2, max_visits = $3, taken_down_at = $4, redirect = $5,
             forward_query = $6, title = $7, tags = $8, password = $9, version = $10
         WHERE key = $11 AND version = $12",
    ));
    let changed = update
        .bind(&link.target)
        .bind(link.expires_at)
        .bind(link.max_visits)
        .bind(link.taken_down_at)
        .bind(link.redirect)
        .bind(link.forward_query)
        .bind(&link.title)
        .bind(&link.tags)
        .bind(&link.password)
        .bind(link.version)
        .bind(&link.key)
        .bind(i64::from(expected))
        .fetch_all(connection)
        .await?;
    Ok(changed.len())
}

pub(super) async fn delete(
    connection: &mut PgConnection,
    key: &Key,
    expected: Option<u32>,
    announce: Announce,
) -> Result<usize, StoreError> {
    let mut transaction = connection.begin().await?;
    let delete = announce.statement("DELETE FROM links WHERE key = $1 AND version = coalesce($2, version)");
    let delete = sqlx::query(delete).bind(key.as_str()).bind(expected.map(i64::from));
    let deleted = delete.fetch_all(&mut *transaction).await?.len();
    if deleted > 0 {
        // A statement of its own: it sees counts that were committed while the first one waited for the link.
        let counts = sqlx::query("DELETE FROM day_counts WHERE key = $1");
        counts.bind(key.as_str()).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(deleted)
}

/// Uses up a visit of each of `keys`, in which the same may stand many times: one row that everybody wants is then
/// locked once for all of them.
pub(super) async fn use_visits(pool: Arc<Pool>, keys: Vec<Key>) -> Result<Vec<bool>, StoreError> {
    let mut wanted = BTreeMap::<&str, i64>::new();
    for key in &keys {
        *wanted.entry(key.as_str()).or_default() += 1;
    }
    let (names, counts): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
    let granted = pool.run(|| async |connection: &mut PgConnection| {
        let granted = sqlx::query_as::<_, (String, i64)>(
            "WITH wanted AS (SELECT * FROM unnest($1::text[], $2::bigint[]) AS wanted (key, count)),
             before AS (SELECT key, visits FROM links WHERE key = ANY($1) ORDER BY key FOR UPDATE)
             UPDATE links
             SET visits = before.visits + LEAST(wanted.count, COALESCE(max_visits - before.visits, wanted.count))
             FROM before JOIN wanted ON wanted.key = before.key
             WHERE links.key = before.key AND (max_visits IS NULL OR before.visits < max_visits)
             RETURNING links.key, links.visits - before.visits",
        );
        Ok(granted.bind(&names).bind(&counts).fetch_all(connection).await?)
    });
    let mut granted: HashMap<String, i64> = granted.await?.into_iter().collect();
    let grant = |key: &Key| {
        let left = granted.get_mut(key.as_str()).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    };
    Ok(keys.iter().map(grant).collect())
}

pub(super) async fn scan(
    connection: &mut PgConnection,
    order: Order,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Scan, StoreError> {
    let (sql, column, start) = match order {
        Order::Newest => (
            concat!(
                select!(),
                " WHERE (created_at, key) < ($1, $2) ORDER BY created_at DESC, key DESC LIMIT $3"
            ),
            "created_at",
            i64::MAX,
        ),
        Order::Oldest => (
            concat!(select!(), " WHERE (created_at, key) > ($1, $2) ORDER BY created_at, key LIMIT $3"),
            "created_at",
            i64::MIN,
        ),
        Order::MostClicked => (
            concat!(
                select!(),
                " WHERE clicks > 0 AND (clicks, key) < ($1, $2) ORDER BY clicks DESC, key DESC LIMIT $3"
            ),
            "clicks",
            i64::MAX,
        ),
    };
    let (mut position, mut key) =
        after.map_or((start, String::new()), |cursor| (cursor.position, cursor.key.to_string()));
    let mut scan = Scan::default();
    loop {
        let missing = limit - scan.records.len();
        let next = sqlx::query(sql).bind(position).bind(key).bind(i64::try_from(missing).unwrap_or(i64::MAX));
        let rows = next.fetch_all(&mut *connection).await?;
        for row in &rows {
            scan.push(read(row), || row.try_get(0).unwrap_or_default())?;
        }
        match rows.last() {
            // Damaged links have left room for others.
            Some(last) if rows.len() == missing && scan.records.len() < limit => {
                (position, key) = (last.try_get(column)?, last.try_get(0)?);
            }
            _ => return Ok(scan),
        }
    }
}

/// Asks whether the server still takes writes, which a demoted one does not.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), StoreError> {
    match sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(connection).await {
        Ok(true) => Err(StoreError::unavailable(Demoted)),
        Ok(false) => Ok(()),
        // It answers, and knows no standbys.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_FUNCTION) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Moves the counter on, and returns where it then stands.
pub(super) async fn advance_counter(connection: &mut PgConnection, count: u32) -> Result<u64, StoreError> {
    let advance = sqlx::query("UPDATE counters SET next = next + $1 WHERE name = 'key' RETURNING next");
    let row = advance.bind(i64::from(count)).fetch_one(connection).await?;
    unsigned(&row, 0)
}

pub(super) async fn add_clicks(connection: &mut PgConnection, tallies: &[Tally]) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    // Locks in the order of the keys, so that two instances can't wait for each other in a circle.
    let keys: Vec<&str> = tallies.iter().map(|tally| tally.key.as_str()).collect();
    let lock = sqlx::query_scalar("SELECT key FROM links WHERE key = ANY($1) ORDER BY key FOR UPDATE");
    let known: Vec<String> = lock.bind(keys).fetch_all(&mut *transaction).await?;
    let known: HashSet<String> = known.into_iter().collect();
    let counts = tallies.iter().filter(|tally| known.contains(tally.key.as_str()));
    let counts: Vec<_> = counts.map(|tally| (&tally.key, &tally.counted)).collect();
    count(&mut transaction, &counts).await?;

    let people: Vec<_> = counts.iter().filter(|(_, counted)| counted.facet == Facet::People).collect();
    // A key may come more than once, for more than one day; an update takes one of the rows that match.
    let mut clicks = HashMap::<&str, i64>::new();
    for (key, counted) in people {
        *clicks.entry(key.as_str()).or_default() += signed(counted.count);
    }
    let (keys, clicks): (Vec<_>, Vec<_>) = clicks.into_iter().unzip();
    let add = sqlx::query(
        "UPDATE links SET clicks = clicks + added.count
         FROM (SELECT * FROM unnest($1::text[], $2::bigint[])) AS added (key, count) WHERE links.key = added.key",
    );
    add.bind(keys).bind(clicks).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// Adds to the counts by day, of links that are known to be there.
async fn count(connection: &mut PgConnection, counts: &[(&Key, &DayCount)]) -> Result<(), sqlx::Error> {
    let pairs: Vec<_> = counts.iter().map(|(_, counted)| counted.facet.as_pair()).collect();
    let add = sqlx::query(
        "INSERT INTO day_counts (key, day, kind, value, count)
         SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::bigint[])
         ON CONFLICT (key, day, kind, value) DO UPDATE SET count = day_counts.count + excluded.count",
    );
    add.bind(counts.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>())
        .bind(counts.iter().map(|(_, counted)| day::to_number(counted.day)).collect::<Vec<_>>())
        .bind(pairs.iter().map(|(kind, _)| *kind).collect::<Vec<_>>())
        .bind(pairs.iter().map(|(_, value)| *value).collect::<Vec<_>>())
        .bind(counts.iter().map(|(_, counted)| signed(counted.count)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn day_counts(
    connection: &mut PgConnection,
    key: &Key,
    first: Date,
    last: Date,
) -> Result<Vec<DayCount>, StoreError> {
    let select = sqlx::query(
        "SELECT day, kind, value, count FROM day_counts WHERE key = $1 AND day BETWEEN $2 AND $3",
    );
    let select = select.bind(key.as_str()).bind(day::to_number(first)).bind(day::to_number(last));
    let rows = select.fetch_all(connection).await?;
    let counts = rows.iter().map(|row| {
        let (kind, value): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
        Ok(DayCount {
            day: day::from_number(row.try_get(0)?)?,
            facet: Facet::from_pair(kind, value).map_err(StoreError::corrupt)?,
            count: unsigned(row, 3)?,
        })
    });
    counts.collect()
}

/// SQL has no unsigned integers; counts stay far below where that matters.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(row: &PgRow, column: usize) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(StoreError::corrupt)
}
