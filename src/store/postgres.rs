//! A store in PostgreSQL or a compatible database, for many instances.
//!
//! It uses plain SQL without extensions, advisory locks or stored functions, so it should also work with CockroachDB
//! and YugabyteDB. Concurrent lookups and creates are batched into single statements (see [`Batcher`]).

mod blocked;
mod channel;
mod counts;
mod error;
mod listing;
mod login;
mod pool;
mod purge;
mod rows;
mod schema;

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use jiff::civil::Date;
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use self::{
    error::{DriverError, address},
    login::Login,
    pool::Pool,
    rows::Announce,
};
use super::{
    Change, Changed, DayPurge, History, PurgedDays, Record, Secret, Store, StoreError, StoreOptions,
    batcher::Batcher,
    listing::{Listing, Order, Page},
};
use crate::{
    blocked_hosts::{BlockedHost, HostPattern},
    clicks::{DayCounts, Tally},
    link::{Key, Link, Revision},
};

/// The maximum number of calls in one batch.
const BATCH: usize = 256;

/// A store on a PostgreSQL server.
pub(super) struct PostgresStore {
    login: Arc<Login>,
    deadline: Duration,
    pool: Arc<Pool>,
    /// A separate pool with a single connection, so that lookups never wait for slow searches.
    search_pool: Pool,
    announce: Announce,
    creates: Batcher<(Link, History), bool>,
    lookups: Batcher<Key, Result<Option<Record>, StoreError>>,
    visits: Batcher<Key, Result<bool, StoreError>>,
}

impl PostgresStore {
    /// Connects to the server, and migrates the schema.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with the server or network error.
    pub(super) async fn open(url: &str, open: &StoreOptions) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse().map_err(StoreError::unavailable)?;
        // Don't set `extra_float_digits`: PgBouncer refuses clients that do, and the store has no floating-point
        // numbers.
        let options = options.disable_statement_logging().extra_float_digits(None);
        let login = Arc::new(Login::new(options, open.pgpassword_file.clone()));
        let deadline = open.call_deadline();
        let options = login.options();
        let limit = open.store_timeout * 2;
        let silent =
            |_| StoreError::unavailable(format!("{} did not respond within {limit:?}", address(&options)));
        let announce = timeout(limit, prepare(&options, deadline)).await.map_err(silent)??;

        // Reserve one connection for listening to changes, and one for searches.
        let size = open.store_connections.saturating_sub(2).max(1);
        let search_pool = Pool::new(login.clone(), 1, deadline);
        let pool = Arc::new(Pool::new(login.clone(), size, deadline));
        let concurrency = size as usize;
        let (creates, lookups, visits) = (pool.clone(), pool.clone(), pool.clone());
        Ok(Self {
            creates: Batcher::start(concurrency, BATCH, move |links| rows::put(creates.clone(), links)),
            lookups: Batcher::start(concurrency, BATCH, move |keys| rows::look_up(lookups.clone(), keys)),
            // More concurrent batches would only wait for each other's locks on popular links.
            visits: Batcher::start(2, BATCH, move |keys| counts::use_visits(visits.clone(), keys)),
            login,
            deadline,
            pool,
            search_pool,
            announce,
        })
    }

    /// Determines the outcome of a change from the number of changed rows.
    async fn outcome(&self, key: &Key, changed_rows: usize) -> Result<Change, StoreError> {
        if changed_rows > 0 {
            return Ok(Change::Done);
        }
        let known = match self.lookups.call(key.clone()).await? {
            Ok(record) => record.is_some(),
            Err(StoreError::Corrupt(_)) => true,
            Err(error) => return Err(error),
        };
        Ok(if known { Change::Conflict } else { Change::Missing })
    }
}

/// Migrates the schema, and detects whether the database supports notifications.
async fn prepare(options: &PgConnectOptions, deadline: Duration) -> Result<Announce, StoreError> {
    let connection = timeout(deadline, options.connect()).await;
    let silent =
        |_| StoreError::unavailable(format!("{} did not respond within {deadline:?}", address(options)));
    let connection = connection.map_err(silent)?;
    let mut connection: PgConnection = connection.map_err(|error| DriverError::connecting(options, error))?;
    let announce = if channel::is_supported(&mut connection).await? {
        channel::check_delivery(&mut connection, options, deadline).await?;
        Announce::ByNotification
    } else {
        tracing::warn!("no LISTEN in this database: edits by other instances show after CACHE_TTL");
        Announce::Never
    };
    schema::prepare(&mut connection).await?;
    connection.close().await?;
    Ok(announce)
}

#[async_trait]
impl Store for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn put_if_absent(&self, link: Link, history: History) -> Result<bool, StoreError> {
        self.creates.call((link, history)).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.lookups.call(key.clone()).await?
    }

    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError> {
        let update = || async |db: &mut PgConnection| rows::update(db, &link, expected, self.announce).await;
        self.outcome(&link.key, self.pool.run(update).await?).await
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Change, StoreError> {
        let delete = || async |db: &mut PgConnection| rows::delete(db, key, expected, self.announce).await;
        self.outcome(key, self.pool.run(delete).await?).await
    }

    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError> {
        self.visits.call(key.clone()).await?
    }

    async fn list(&self, listing: &Listing) -> Result<Page, StoreError> {
        if listing.filter.is_search() {
            self.search_pool
                .run(|| async |db: &mut PgConnection| listing::page_by_slices(db, listing).await)
                .await
        } else if listing.order == Order::MostClicked {
            // With a single statement, the planner would join all links to return one page.
            self.pool.run(|| async |db: &mut PgConnection| listing::page_by_slices(db, listing).await).await
        } else {
            self.pool.run(|| async |db: &mut PgConnection| listing::page(db, listing).await).await
        }
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        let advance = || async |db: &mut PgConnection| rows::advance_counter(db, count).await;
        let next = self.pool.run(advance).await?;
        Ok(next - u64::from(count)..next)
    }

    async fn secret(&self, proposed: Secret) -> Result<Secret, StoreError> {
        self.pool.run(|| async |db: &mut PgConnection| rows::secret(db, proposed).await).await
    }

    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<Vec<(Key, StoreError)>, StoreError> {
        self.pool.run(|| async |db: &mut PgConnection| counts::add_clicks(db, &tallies).await).await?;
        Ok(Vec::new())
    }

    async fn day_counts(
        &self,
        key: &Key,
        first: Date,
        last: Date,
    ) -> Result<BTreeMap<Date, DayCounts>, StoreError> {
        self.pool.run(|| async |db: &mut PgConnection| counts::day_counts(db, key, first, last).await).await
    }

    async fn block_host(&self, entry: BlockedHost, max: u32) -> Result<bool, StoreError> {
        self.pool
            .run(|| async |db: &mut PgConnection| blocked::put(db, &entry, max, self.announce).await)
            .await
    }

    async fn unblock_host(&self, host: &HostPattern) -> Result<bool, StoreError> {
        self.pool.run(|| async |db: &mut PgConnection| blocked::delete(db, host, self.announce).await).await
    }

    async fn blocked_hosts(
        &self,
        from: Bound<&HostPattern>,
        limit: usize,
    ) -> Result<Vec<BlockedHost>, StoreError> {
        self.pool.run(|| async |db: &mut PgConnection| blocked::list(db, from, limit).await).await
    }

    async fn blocked_hosts_revision(&self) -> Result<u64, StoreError> {
        self.pool.run(|| async |db: &mut PgConnection| blocked::revision(db).await).await
    }

    async fn purge_days(&self, purge: &DayPurge) -> Result<PurgedDays, StoreError> {
        self.search_pool.run(|| async |db: &mut PgConnection| purge::days(db, purge).await).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.pool.run(|| async |db: &mut PgConnection| rows::check(db).await).await
    }

    async fn watch(&self, changed: &(dyn Fn(Changed) + Send + Sync)) -> StoreError {
        if self.announce == Announce::Never {
            return std::future::pending().await;
        }
        match channel::watch(&self.login.options(), self.deadline, changed).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn close(&self) {
        tokio::join!(self.pool.close(), self.search_pool.close());
    }
}
