//! A connection pool that survives silent networks and failovers.
//!
//! sqlx's pool pings each returned connection without a deadline, and releases the connection's permit only after the
//! ping. When a network goes silent, that pool soon runs out of permits. This pool takes back a connection only if it
//! is known to work, and every wait has a deadline.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use sqlx::{Connection, PgConnection, error::DatabaseError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{error::DriverError, login::Login};
use crate::store::StoreError;

/// The idle time after which a connection is pinged before use.
const TRUSTED_IDLE: Duration = Duration::from_secs(10);

/// The age at which a connection is replaced.
///
/// This limits how long a connection can keep using the old server after a failover.
const MAX_AGE: Duration = Duration::from_secs(1800);

/// The maximum pause after the first conflict.
///
/// The maximum grows by this amount with each further conflict, up to [`MAX_CONFLICT_PAUSE`].
const CONFLICT_PAUSE: Duration = Duration::from_millis(5);

/// The maximum pause after any conflict.
const MAX_CONFLICT_PAUSE: Duration = Duration::from_millis(50);

/// How often to poll for a free connection or a new password.
const PASSWORD_PAUSE: Duration = Duration::from_millis(2);

/// A pool with a bounded number of connections.
pub(super) struct Pool {
    login: Arc<Login>,
    /// The queue for calls while no new connection can be opened.
    turn: tokio::sync::Mutex<()>,
    deadline: Duration,
    size: u32,
    permits: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// A stack: the most recently used connection is used next.
    connections: Vec<Kept>,
    /// Incremented after a failover. Connections from earlier generations are discarded.
    generation: u64,
}

struct Kept {
    connection: PgConnection,
    generation: u64,
    since: Instant,
    used: Instant,
}

/// A borrowed connection. Unless it is given back, it is closed on drop.
struct Lent {
    kept: Kept,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// Creates a pool of at most `size` connections.
    ///
    /// A call takes at most `deadline`, including the time to connect.
    pub(super) fn new(login: Arc<Login>, size: u32, deadline: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(size as usize));
        Self { login, turn: tokio::sync::Mutex::default(), deadline, size, permits, idle: Mutex::default() }
    }

    /// Runs a call on a connection, and retries after conflicts until the deadline.
    ///
    /// `work` returns a new closure for each attempt.
    pub(super) async fn run<T, W>(&self, work: impl Fn() -> W) -> Result<T, StoreError>
    where
        W: AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    {
        let result = timeout(self.deadline, self.run_on_connection(work)).await;
        let result = result.unwrap_or(Err(StoreError::Timeout(self.deadline)));
        match &result {
            Ok(_) | Err(StoreError::Corrupt(_)) => {}
            Err(error) if is_failover(error) => self.discard_all(),
            Err(error) if database_error(error).is_some() => {}
            // No new connection can be opened, so keep the idle connections.
            Err(_) if self.login.is_refused() => {}
            // The network or the server is down, so idle connections are broken too. Calls in progress fail on their
            // own.
            Err(_) => self.discard_idle(),
        }
        result
    }

    async fn run_on_connection<T, W>(&self, work: impl Fn() -> W) -> Result<T, StoreError>
    where
        W: AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    {
        let mut lent = self.lend().await?;
        let mut longest_pause = CONFLICT_PAUSE;
        loop {
            match work()(&mut lent.kept.connection).await {
                Err(error) if is_conflict(&error) => {
                    // Add jitter, so that the same two transactions don't conflict again.
                    sleep(longest_pause.mul_f64(rand::random())).await;
                    longest_pause = (longest_pause + CONFLICT_PAUSE).min(MAX_CONFLICT_PAUSE);
                }
                Ok(done) => {
                    self.give_back(lent);
                    return Ok(done);
                }
                Err(error @ StoreError::Corrupt(_)) => {
                    // The ping sends the rollback, which releases the transaction's locks.
                    if lent.kept.connection.ping().await.is_ok() {
                        self.give_back(lent);
                    }
                    return Err(error);
                }
                result => return result,
            }
        }
    }

    async fn lend(&self) -> Result<Lent, StoreError> {
        let permit = self.permits.clone().acquire_owned().await;
        let _permit = permit.map_err(|_| StoreError::unavailable("the store is closed"))?;
        loop {
            let (kept, generation) = self.take_idle().await;
            let Some(mut kept) = kept else {
                let connection = match self.login.connect().await {
                    Err(error) if self.login.may_recover_from(&error) => continue,
                    result => result?,
                };
                let now = Instant::now();
                let kept = Kept { connection, generation, since: now, used: now };
                return Ok(Lent { kept, _permit });
            };
            if kept.since.elapsed() > MAX_AGE && !self.login.is_refused() {
                continue;
            }
            // Treat a slow connection as broken, so that enough time is left to open a new one.
            let is_alive = kept.used.elapsed() < TRUSTED_IDLE
                || matches!(timeout(self.deadline / 4, kept.connection.ping()).await, Ok(Ok(())));
            if is_alive {
                return Ok(Lent { kept, _permit });
            }
            self.discard_idle();
        }
    }

    /// Takes an idle connection, if any, and returns the current generation.
    ///
    /// After a password change, open connections still work, but no new ones can be opened. Until the file contains the
    /// new password, calls take turns on the open connections.
    async fn take_idle(&self) -> (Option<Kept>, u64) {
        let take = || {
            let mut idle = self.idle.lock();
            (idle.connections.pop(), idle.generation)
        };
        if !self.login.is_refused() {
            return take();
        }
        let _turn = self.turn.lock().await;
        loop {
            let taken = take();
            if taken.0.is_some() || !self.login.is_refused() {
                return taken;
            }
            sleep(PASSWORD_PAUSE).await;
        }
    }

    fn give_back(&self, lent: Lent) {
        let mut idle = self.idle.lock();
        if lent.kept.generation == idle.generation && !self.permits.is_closed() {
            idle.connections.push(Kept { used: Instant::now(), ..lent.kept });
        }
    }

    fn discard_idle(&self) {
        let discarded = mem::take(&mut self.idle.lock().connections);
        drop(discarded);
    }

    fn discard_all(&self) {
        self.idle.lock().generation += 1;
        self.discard_idle();
    }

    /// Waits for calls in progress, and closes all connections.
    ///
    /// This takes no longer than the deadline for a call.
    pub(super) async fn close(&self) {
        let close = async {
            let all = self.permits.acquire_many(self.size).await;
            self.permits.close();
            drop(all);
            let idle = mem::take(&mut self.idle.lock().connections);
            join_all(idle.into_iter().map(|kept| kept.connection.close())).await;
        };
        if timeout(self.deadline, close).await.is_err() {
            tracing::warn!("database connections not closed in time");
        }
        self.permits.close();
        self.discard_idle();
    }
}

/// Returns whether a transaction conflicted with a concurrent one.
fn is_conflict(error: &StoreError) -> bool {
    const SERIALIZATION_FAILURE: &str = "40001";
    const DEADLOCK_DETECTED: &str = "40P01";
    has_code(error, &[SERIALIZATION_FAILURE, DEADLOCK_DETECTED])
}

/// Returns whether the server was demoted or is shutting down.
///
/// Its address may already belong to another server.
fn is_failover(error: &StoreError) -> bool {
    const READ_ONLY: &str = "25006";
    const ADMIN_SHUTDOWN: &str = "57P01";
    const CRASH_SHUTDOWN: &str = "57P02";
    const CANNOT_CONNECT_NOW: &str = "57P03";
    has_code(error, &[READ_ONLY, ADMIN_SHUTDOWN, CRASH_SHUTDOWN, CANNOT_CONNECT_NOW])
        || matches!(error, StoreError::Unavailable(reason) if reason.is::<Demoted>())
}

/// Returns whether the server responded with one of these SQLSTATE codes.
fn has_code(error: &StoreError, codes: &[&str]) -> bool {
    let code = database_error(error).and_then(DatabaseError::code);
    code.is_some_and(|code| codes.contains(&&*code))
}

/// Returns the error response of the server, if there was one.
fn database_error(error: &StoreError) -> Option<&dyn DatabaseError> {
    let StoreError::Unavailable(reason) = error else { return None };
    reason.downcast_ref().and_then(DriverError::response)
}

/// The error for a server that is a standby.
#[derive(Debug, thiserror::Error)]
#[error("the server is a standby, which accepts no writes")]
pub(super) struct Demoted;
