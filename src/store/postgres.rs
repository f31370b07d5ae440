//! Links in PostgreSQL or whatever speaks its protocol, for many instances.
//!
//! Plain SQL without extensions, advisory locks or server-side functions of our own, so that CockroachDB and YugabyteDB
//! take it too. Look-ups and creates that come together go as one statement, see [`Batcher`].

mod rows;
mod schema;

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::civil::Date;
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions, Postgres},
};
use tokio::time::timeout;

use super::{
    Change, Changed, History, OpenOptions, Record, Scan, Store, StoreError,
    batcher::Batcher,
    columns::Columns,
    listing::{Cursor, Order},
};
use crate::{
    clicks::{DayCount, Tally},
    link::{Key, Link},
};

/// Calls that go as one statement at most.
const BATCH: usize = 256;

/// The channel on which instances tell each other of changes.
const CHANNEL: &str = "urlshort_changes";

/// A connection that has been idle for so long is tried before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(10);

/// A store on a server.
pub(super) struct PostgresStore {
    database: Database,
    creates: Batcher<(Link, History), bool>,
    look_ups: Batcher<Key, Result<Option<Record>, StoreError>>,
    visits: Batcher<Key, bool>,
}

/// The connections, and how long they may take.
#[derive(Clone)]
struct Database {
    pool: PgPool,
    deadline: Duration,
}

impl PostgresStore {
    /// Connects, and brings the schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with the server's reason, or that of the way there.
    pub(super) async fn open(url: &str, options: &OpenOptions) -> Result<Self, StoreError> {
        let connect: PgConnectOptions = url.parse().map_err(StoreError::unavailable)?;
        let connect = connect.disable_statement_logging();
        // A connection of its own: the pool would try again until its time is up, and not say why.
        let first = timeout(options.deadline, PgConnection::connect_with(&connect)).await;
        let mut first = first.map_err(|_| StoreError::Timeout(options.deadline))??;
        schema::prepare(&mut first).await?;
        first.close().await?;

        let pool = PgPoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(options.deadline)
            .test_before_acquire(false)
            .before_acquire(|connection, state| {
                Box::pin(async move {
                    if state.idle_for > TRUSTED_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(connect);
        let database = Database { pool, deadline: options.deadline };
        let concurrency = options.connections as usize;
        let (creates, look_ups, visits) = (database.clone(), database.clone(), database.clone());
        Ok(Self {
            creates: Batcher::start(concurrency, BATCH, move |links| rows::put(creates.clone(), links)),
            look_ups: Batcher::start(concurrency, BATCH, move |keys| rows::look_up(look_ups.clone(), keys)),
            // Two at a time: more would only wait for each other where all want the same link.
            visits: Batcher::start(2, BATCH, move |keys| rows::use_visits(visits.clone(), keys)),
            database,
        })
    }

    /// Tells a change from a conflict and from a link that is not there, and tells other instances of the first.
    async fn announce(&self, key: &Key, changed_rows: u64) -> Result<Change, StoreError> {
        if changed_rows > 0 {
            // Best effort: a database without channels lets the entry's lifetime do it.
            let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(key.as_str());
            if let Err(error) = notify.execute(&self.database.pool).await {
                tracing::debug!(%error, "other instances could not be told of a change");
            }
            return Ok(Change::Done);
        }
        let known = match self.look_ups.call(key.clone()).await? {
            Ok(record) => record.is_some(),
            Err(StoreError::Corrupt(_)) => true,
            Err(error) => return Err(error),
        };
        Ok(if known { Change::Conflict } else { Change::Missing })
    }
}

impl Database {
    /// Runs `work` on a connection, which is given up where the work does not end in time: nobody knows what a
    /// connection is at that has not answered.
    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PoolConnection<Postgres>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.pool.acquire().await?;
        match timeout(self.deadline, work(&mut connection)).await {
            Ok(result) => result,
            Err(_) => {
                connection.close_on_drop();
                Err(StoreError::Timeout(self.deadline))
            }
        }
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn put_with_history(&self, link: Link, history: History) -> Result<bool, StoreError> {
        self.creates.call((link, history)).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Link>>, StoreError> {
        Ok(self.record(key).await?.map(|record| record.link))
    }

    async fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.look_ups.call(key.clone()).await?
    }

    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError> {
        let columns = Columns::from(&link);
        let changed = self.database.run(async |db| rows::update(db, &columns, expected).await).await?;
        self.announce(&link.key, changed).await
    }

    async fn delete(&self, key: &Key, expected: Option<u32>) -> Result<Change, StoreError> {
        let changed = self.database.run(async |db| rows::delete(db, key, expected).await).await?;
        self.announce(key, changed).await
    }

    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError> {
        self.visits.call(key.clone()).await
    }

    async fn scan(&self, order: Order, after: Option<Cursor>, limit: usize) -> Result<Scan, StoreError> {
        self.database.run(async |db| rows::scan(db, order, after.as_ref(), limit).await).await
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        let next = self.database.run(async |db| rows::advance_counter(db, count).await).await?;
        Ok(next - u64::from(count)..next)
    }

    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<(), StoreError> {
        self.database.run(async |db| rows::add_clicks(db, &tallies).await).await
    }

    async fn day_counts(&self, key: &Key, first: Date, last: Date) -> Result<Vec<DayCount>, StoreError> {
        self.database.run(async |db| rows::day_counts(db, key, first, last).await).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.run(async |db| Ok(db.ping().await?)).await
    }

    async fn watch(&self, changed: &(dyn Fn(Changed) + Send + Sync)) -> StoreError {
        match listen(&self.database.pool, changed).await {
            Ok(never) => match never {},
            Err(error) => error.into(),
        }
    }

    async fn close(&self) {
        self.database.pool.close().await;
    }
}

async fn listen(
    pool: &PgPool,
    changed: &(dyn Fn(Changed) + Send + Sync),
) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(CHANNEL).await?;
    loop {
        changed(Changed::Anything);
        // `None` means that the connection was lost and found again: whatever was told in between was missed.
        while let Some(notification) = listener.try_recv().await? {
            changed(notification.payload().parse().map_or(Changed::Anything, Changed::Link));
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::corrupt(error),
            error => Self::unavailable(error),
        }
    }
}
