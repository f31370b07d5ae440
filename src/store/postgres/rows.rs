//! SQL statements for links, the counter and the secret, and the conversion of rows.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};

use super::{
    channel::{CHANNEL, UNDEFINED_FUNCTION},
    counts,
    pool::{Demoted, Pool},
};
use crate::{
    link::{Key, Link, Revision},
    store::{
        History, Record, Secret, StoreError,
        row::{self, DayColumns, day_number, signed, unsigned},
    },
};

/// The columns of a link with its counts, in the order that [`read`] expects.
macro_rules! columns {
    () => {
        "links.key, links.created_at, version, doc::text, coalesce(clicks, 0), coalesce(visits, 0)"
    };
}
pub(super) use columns;

/// Adds the links whose keys are free, and returns whether each was added.
pub(super) async fn put(pool: Arc<Pool>, links: Vec<(Link, History)>) -> Result<Vec<bool>, StoreError> {
    pool.run(|| {
        async |connection: &mut PgConnection| {
            if links.iter().all(|(_, history)| *history == History::default()) {
                return insert(connection, &links).await;
            }
            let mut transaction = connection.begin().await?;
            let inserted = insert(&mut transaction, &links).await?;
            let new = links.iter().zip(&inserted).filter(|(_, inserted)| **inserted).map(|(link, _)| link);
            insert_history(&mut transaction, new).await?;
            transaction.commit().await?;
            Ok(inserted)
        }
    })
    .await
}

async fn insert(connection: &mut PgConnection, links: &[(Link, History)]) -> Result<Vec<bool>, StoreError> {
    // If several links have the same key, send only the first. The response contains only keys, so it could not tell
    // such links apart.
    let mut seen = HashSet::new();
    let firsts: Vec<bool> = links.iter().map(|(link, _)| seen.insert(&link.key)).collect();
    let new = || links.iter().zip(&firsts).filter(|(_, first)| **first).map(|((link, _), _)| link);
    let docs = new().map(|link| row::encode(&link.doc)).collect::<Result<Vec<_>, _>>()?;
    let inserted: Vec<String> = sqlx::query_scalar(
        "INSERT INTO links (key, created_at, version, doc)
         SELECT key, created_at, version, doc::jsonb
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[]) AS new (key, created_at, version, doc)
         ON CONFLICT DO NOTHING RETURNING key",
    )
    .bind(new().map(|link| link.key.as_str()).collect::<Vec<_>>())
    .bind(new().map(|link| link.created_at.as_millisecond()).collect::<Vec<_>>())
    .bind(new().map(|link| i64::from(link.version)).collect::<Vec<_>>())
    .bind(docs)
    .fetch_all(connection)
    .await?;
    let inserted: HashSet<String> = inserted.into_iter().collect();
    let is_new = |((link, _), first): (&(Link, _), _)| first && inserted.contains(link.key.as_str());
    Ok(links.iter().zip(firsts).map(is_new).collect())
}

async fn insert_history<'a>(
    connection: &mut PgConnection,
    links: impl Iterator<Item = &'a (Link, History)>,
) -> Result<(), StoreError> {
    let (mut keys, mut created, mut clicks, mut visits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut days = Vec::new();
    for (link, history) in links.filter(|(_, history)| *history != History::default()) {
        keys.push(link.key.as_str());
        created.push(link.created_at.as_millisecond());
        clicks.push(signed(history.clicks()));
        visits.push(signed(history.visits));
        for (day, counts) in &history.days {
            days.push((link.key.as_str(), day_number(*day), DayColumns::try_from(counts)?));
        }
    }
    let insert = sqlx::query(
        "INSERT INTO counts (key, created_at, clicks, visits)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])",
    );
    insert.bind(keys).bind(created).bind(clicks).bind(visits).execute(&mut *connection).await?;
    counts::replace_days(connection, &days).await
}

/// Looks up `keys`. A damaged row causes an error only for its own key.
pub(super) async fn look_up(
    pool: Arc<Pool>,
    keys: Vec<Key>,
) -> Result<Vec<Result<Option<Record>, StoreError>>, StoreError> {
    let look_up = || {
        async |connection: &mut PgConnection| {
            let wanted: Vec<&str> = keys.iter().map(Key::as_str).collect();
            let rows = sqlx::query(concat!(
                "SELECT ",
                columns!(),
                " FROM links LEFT JOIN counts USING (key, created_at) WHERE links.key = ANY($1)"
            ));
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

pub(super) fn read(row: &PgRow) -> Result<Record, StoreError> {
    let link = row::link(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)?;
    Ok(Record {
        link: Arc::new(link),
        clicks: unsigned(row.try_get(4)?)?,
        visits: unsigned(row.try_get(5)?)?,
    })
}

/// How to announce a change to other instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announce {
    /// With a notification in the change's transaction.
    ByNotification,
    /// Not at all, because the database has no notification channels.
    Never,
}

impl Announce {
    /// Returns a statement that runs `change` and announces each changed key.
    ///
    /// The statement returns one row per changed link.
    fn statement(self, change: &str) -> AssertSqlSafe<String> {
        let value = match self {
            Self::ByNotification => format!("pg_notify('{CHANNEL}', key)"),
            Self::Never => "key".into(),
        };
        AssertSqlSafe(format!("WITH changed AS ({change} RETURNING key) SELECT {value} FROM changed"))
    }
}

pub(super) async fn update(
    connection: &mut PgConnection,
    link: &Link,
    expected: u32,
    announce: Announce,
) -> Result<usize, StoreError> {
    let update = sqlx::query(announce.statement(
        "UPDATE links SET version = $1, doc = $2::jsonb WHERE key = $3 AND created_at = $4 AND version = $5",
    ));
    let changed = update
        .bind(i64::from(link.version))
        .bind(row::encode(&link.doc)?)
        .bind(link.key.as_str())
        .bind(link.created_at.as_millisecond())
        .bind(i64::from(expected))
        .fetch_all(connection)
        .await?;
    Ok(changed.len())
}

pub(super) async fn delete(
    connection: &mut PgConnection,
    key: &Key,
    expected: Revision,
    announce: Announce,
) -> Result<usize, StoreError> {
    let mut transaction = connection.begin().await?;
    let delete = announce.statement("DELETE FROM links WHERE key = $1 AND created_at = $2 AND version = $3");
    let delete = sqlx::query(delete).bind(key.as_str()).bind(expected.created_at.as_millisecond());
    let deleted = delete.bind(i64::from(expected.version)).fetch_all(&mut *transaction).await?.len();
    if deleted > 0 {
        // Delete the counts in separate statements, which see counts that were committed while the first statement
        // waited for the lock on the link.
        for counts in ["DELETE FROM counts WHERE key = $1", "DELETE FROM days WHERE key = $1"] {
            sqlx::query(counts).bind(key.as_str()).execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await?;
    Ok(deleted)
}

/// Checks that the server is not a standby.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), StoreError> {
    match sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(connection).await {
        Ok(true) => Err(StoreError::unavailable(Demoted)),
        Ok(false) => Ok(()),
        // This is a compatible database that lacks the function. It has no standbys, and it has responded.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_FUNCTION) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Advances the counter by `count`, and returns its new value.
pub(super) async fn advance_counter(connection: &mut PgConnection, count: u32) -> Result<u64, StoreError> {
    let advance = sqlx::query("UPDATE counters SET next = next + $1 WHERE name = 'key' RETURNING next");
    let row = advance.bind(i64::from(count)).fetch_one(connection).await?;
    unsigned(row.try_get(0)?)
}

/// Returns the shared secret. In a new store, `proposed` becomes the secret.
pub(super) async fn secret(connection: &mut PgConnection, proposed: Secret) -> Result<Secret, StoreError> {
    sqlx::query("INSERT INTO secrets (name, value) VALUES ('sessions', $1) ON CONFLICT DO NOTHING")
        .bind(&proposed.0[..])
        .execute(&mut *connection)
        .await?;
    let select = sqlx::query_scalar("SELECT value FROM secrets WHERE name = 'sessions'");
    let bytes: Vec<u8> = select.fetch_one(connection).await?;
    bytes.try_into()
}
