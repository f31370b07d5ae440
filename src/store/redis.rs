//! A store in Redis or Valkey, for many instances.
//!
//! It works with a single server or a cluster. A link, its counts and the listings that contain it share a hash slot
//! (see [`layout`]), so that a script can change them atomically. A script that is retried after a lost response does
//! not apply its change again.

mod blocked;
mod cluster;
mod connection;
mod layout;
mod listing;
mod purge;
mod server;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    ops::{Bound, Range},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, future::join_all};
use jiff::civil::Date;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, Script, ScriptInvocation};
use tokio::time::{sleep, timeout};

use self::{
    connection::{Connection, RedisUrl},
    layout::{CHANNEL, COUNTER, Keys, SECRET},
};
use super::{
    Change, Changed, DayPurge, FIRST_NUMBER, History, PurgedDays, Record, Secret, Store, StoreError,
    StoreOptions,
    listing::{Listing, Order, Page},
    row::{self, signed, unsigned},
};
use crate::{
    blocked_hosts::{BlockedHost, HostPattern},
    clicks::{DayCounts, Tally},
    link::{Key, Link, Revision},
};

/// How long the subscription waits for messages before it pings the server.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A store on a Redis server or cluster.
pub(super) struct RedisStore {
    url: RedisUrl,
    connection: Connection,
    scripts: Scripts,
    /// This instance's number, which is unique among all instances that have ever used the store.
    instance: u64,
    next_write: AtomicU64,
}

struct Scripts {
    put: Script,
    update: Script,
    delete: Script,
    use_visit: Script,
    add_clicks: Script,
    blocked: blocked::Scripts,
}

impl Scripts {
    fn new() -> Self {
        Self {
            put: Script::new(include_str!("redis/put.lua")),
            update: Script::new(include_str!("redis/update.lua")),
            delete: Script::new(include_str!("redis/delete.lua")),
            use_visit: Script::new(include_str!("redis/use_visit.lua")),
            add_clicks: Script::new(include_str!("redis/add_clicks.lua")),
            blocked: blocked::Scripts::new(),
        }
    }
}

impl RedisStore {
    /// Connects to the server, and refuses settings that could lose links.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with the server or network error.
    pub(super) async fn open(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let url: RedisUrl = url.parse()?;
        let connection = Connection::open(&url, options).await?;
        let instance = server::prepare(&connection).await?;
        Ok(Self { url, connection, scripts: Scripts::new(), instance, next_write: AtomicU64::new(0) })
    }

    /// Forwards changes made by other instances until the subscription fails.
    ///
    /// The subscription fails if it ends or goes silent, or if the server is demoted.
    async fn forward_changes(
        &self,
        changed: &(dyn Fn(Changed) + Send + Sync),
    ) -> Result<Infallible, StoreError> {
        let deadline = self.connection.deadline();
        let mut replaced = self.connection.replaced();
        let subscription = timeout(deadline, self.url.subscribe(CHANNEL)).await;
        let (mut sink, mut messages) = subscription.map_err(|_| StoreError::Timeout(deadline))??.split();
        changed(Changed::Anything);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let message =
                        message.ok_or_else(|| StoreError::unavailable("the subscription has ended"))?;
                    changed(Changed::from_message(&message.get_payload::<String>().unwrap_or_default()));
                }
                _ = replaced.changed() => {
                    return Err(StoreError::unavailable("the server is silent, or no longer accepts writes"));
                }
                () = sleep(HEARTBEAT) => {
                    let pong = timeout(deadline, sink.ping::<redis::Value>()).await;
                    pong.map_err(|_| StoreError::Timeout(deadline))??;
                }
            }
        }
    }

    /// Returns an idempotency token that is unique across all writes by all instances.
    fn write_token(&self) -> String {
        format!("{}.{}", self.instance, self.next_write.fetch_add(1, Ordering::Relaxed))
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        command
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|error| self.connection.failure(error))
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        script
            .invoke_async(&mut self.connection.clone())
            .await
            .map_err(|error| self.connection.failure(error))
    }

    async fn add_clicks_to(
        &self,
        (key, created_at): (&Key, i64),
        tallies: &[&Tally],
        batch: &str,
    ) -> Result<(), StoreError> {
        let keys = Keys::new(key);
        let people = tallies.iter().map(|tally| signed(tally.counts.people)).fold(0, i64::saturating_add);
        let mut script = self.scripts.add_clicks.prepare_invoke();
        script.key(&keys.link).key(&keys.by_clicks).key(&keys.days);
        script.arg(batch).arg(key.as_str()).arg(created_at).arg(people);
        for (field, count) in tallies.iter().flat_map(|tally| layout::day_fields(tally.day, &tally.counts)) {
            script.arg(field).arg(count);
        }
        let _: i64 = self.run(&script).await?;
        Ok(())
    }
}

#[async_trait]
impl Store for RedisStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn put_if_absent(&self, link: Link, history: History) -> Result<bool, StoreError> {
        let keys = Keys::new(&link.key);
        let (created_at, clicks) = (link.created_at.as_millisecond(), signed(history.clicks()));
        let mut script = self.scripts.put.prepare_invoke();
        script.key(&keys.link).key(&keys.by_creation).key(&keys.by_clicks).key(&keys.days);
        script.arg(self.write_token()).arg(created_at).arg(link.version).arg(row::encode(&link.doc)?);
        script.arg(layout::member(Order::Newest, created_at, &link.key));
        script.arg(clicks).arg(layout::member(Order::MostClicked, clicks, &link.key));
        script.arg(signed(history.visits));
        for (field, count) in history.days.iter().flat_map(|(day, counts)| layout::day_fields(*day, counts)) {
            script.arg(field).arg(count);
        }
        self.connection.run_durably(&script).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let mut command = redis::cmd("HMGET");
        command.arg(Keys::new(key).link).arg(&["created_at", "version", "doc", "clicks", "visits"]);
        type Fields = (Option<i64>, Option<i64>, Option<String>, Option<i64>, Option<i64>);
        let (created_at, version, doc, clicks, visits) = match self.query::<Fields>(&command).await? {
            (None, None, None, None, None) => return Ok(None),
            (Some(created_at), Some(version), Some(doc), clicks, visits) => {
                (created_at, version, doc, clicks.unwrap_or_default(), visits.unwrap_or_default())
            }
            _ => return Err(StoreError::corrupt("a field is missing")),
        };
        let link = Arc::new(row::link(key.as_str(), created_at, version, &doc)?);
        Ok(Some(Record { link, clicks: unsigned(clicks)?, visits: unsigned(visits)? }))
    }

    async fn update(&self, link: Link, expected: u32) -> Result<Change, StoreError> {
        let mut script = self.scripts.update.prepare_invoke();
        script.key(Keys::new(&link.key).link);
        script.arg(link.created_at.as_millisecond()).arg(expected).arg(link.version);
        script.arg(row::encode(&link.doc)?).arg(CHANNEL).arg(link.key.as_str());
        change(self.run(&script).await?)
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Change, StoreError> {
        let (keys, created_at) = (Keys::new(key), expected.created_at.as_millisecond());
        let mut script = self.scripts.delete.prepare_invoke();
        script.key(&keys.link).key(&keys.by_creation).key(&keys.by_clicks).key(&keys.days);
        script.arg(created_at).arg(expected.version).arg(key.as_str());
        script.arg(layout::member(Order::Newest, created_at, key)).arg(CHANNEL);
        change(self.run(&script).await?)
    }

    async fn use_visit(&self, key: &Key) -> Result<bool, StoreError> {
        let keys = Keys::new(key);
        let mut script = self.scripts.use_visit.prepare_invoke();
        script.key(&keys.link).key(keys.visit(&self.write_token()));
        self.run(&script).await
    }

    async fn list(&self, listing: &Listing) -> Result<Page, StoreError> {
        self.page(listing).await
    }

    async fn take_numbers(&self, count: u32) -> Result<Range<u64>, StoreError> {
        let taken: u64 = self.query(&redis::Cmd::incr(COUNTER, count)).await?;
        let next = FIRST_NUMBER + taken;
        Ok(next - u64::from(count)..next)
    }

    async fn secret(&self, proposed: Secret) -> Result<Secret, StoreError> {
        let () = self.query(&redis::Cmd::set_nx(SECRET, &proposed.0[..])).await?;
        let bytes: Vec<u8> = self.query(&redis::Cmd::get(SECRET)).await?;
        bytes.try_into()
    }

    async fn add_clicks(&self, tallies: Vec<Tally>) -> Result<Vec<(Key, StoreError)>, StoreError> {
        let mut by_link = BTreeMap::<(&Key, i64), Vec<&Tally>>::new();
        for tally in &tallies {
            by_link.entry((&tally.key, tally.created_at.as_millisecond())).or_default().push(tally);
        }
        let batch = self.write_token();
        let added = by_link.iter().map(|(link, tallies)| self.add_clicks_to(*link, tallies, &batch));
        let failed = by_link.keys().zip(join_all(added).await);
        let failed = failed.filter_map(|((key, _), added)| Some(((*key).clone(), added.err()?)));
        let failed: Vec<_> = failed.collect();
        // Return an error for the whole call only if nothing was added. If a link is damaged, some of its counts may
        // have been added.
        let is_damaged = failed.iter().any(|(_, error)| matches!(error, StoreError::Corrupt(_)));
        match failed.first() {
            Some((_, error)) if failed.len() == by_link.len() && !is_damaged => Err(error.clone()),
            _ => Ok(failed),
        }
    }

    async fn day_counts(
        &self,
        key: &Key,
        first: Date,
        last: Date,
    ) -> Result<BTreeMap<Date, DayCounts>, StoreError> {
        let fields: Vec<(String, u64)> = self.query(&redis::Cmd::hgetall(Keys::new(key).days)).await?;
        let mut days = layout::read_days(fields)?;
        days.retain(|day, _| (first..=last).contains(day));
        Ok(days)
    }

    async fn block_host(&self, entry: BlockedHost, max: u32) -> Result<bool, StoreError> {
        blocked::put(self, &entry, max).await
    }

    async fn unblock_host(&self, host: &HostPattern) -> Result<bool, StoreError> {
        blocked::delete(self, host).await
    }

    async fn blocked_hosts(
        &self,
        from: Bound<&HostPattern>,
        limit: usize,
    ) -> Result<Vec<BlockedHost>, StoreError> {
        blocked::list(self, from, limit).await
    }

    async fn blocked_hosts_revision(&self) -> Result<u64, StoreError> {
        blocked::revision(self).await
    }

    async fn purge_days(&self, purge: &DayPurge) -> Result<PurgedDays, StoreError> {
        self.purge_part(purge).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        server::check(&self.connection).await
    }

    async fn watch(&self, changed: &(dyn Fn(Changed) + Send + Sync)) -> StoreError {
        match self.forward_changes(changed).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn close(&self) {}
}

fn change(reply: i64) -> Result<Change, StoreError> {
    match reply {
        1 => Ok(Change::Done),
        0 => Ok(Change::Conflict),
        -1 => Ok(Change::Missing),
        other => Err(StoreError::corrupt(format!("a script returned {other}"))),
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        match error.code() {
            // A Redis key has the wrong type, or a script found an unreadable value.
            Some("WRONGTYPE" | "CORRUPT") => Self::corrupt(error),
            _ if error.kind() == ErrorKind::UnexpectedReturnType => Self::corrupt(error),
            _ => Self::unavailable(error),
        }
    }
}
