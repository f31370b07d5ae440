//! Connections to the server, which are given up rather than waited for.
//!
//! sqlx has a pool of its own, but it pings each connection that comes back, without a deadline and while the connection
//! keeps its place: when a network goes silent, such a pool is soon full of connections that nobody gets any more. Here
//! a connection comes back only if its call has succeeded, and every wait ends.

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

use super::login::Login;
use crate::store::StoreError;

/// A connection that has been idle for longer is pinged before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(10);

/// The age at which a connection is replaced, so that none stays on a server that others have left.
const MAX_AGE: Duration = Duration::from_secs(1800);

/// Longest pause after the first conflict. It grows by this much with each further one, up to [`MAX_CONFLICT_PAUSE`].
const CONFLICT_PAUSE: Duration = Duration::from_millis(5);

/// Longest pause after any conflict.
const MAX_CONFLICT_PAUSE: Duration = Duration::from_millis(50);

/// Pause between two looks for a free connection or another password, after a refused log-in.
const PASSWORD_PAUSE: Duration = Duration::from_millis(2);

/// A bounded number of connections.
pub(super) struct Pool {
    login: Arc<Login>,
    /// The queue of calls that wait for an open connection while no other can be opened.
    turn: tokio::sync::Mutex<()>,
    deadline: Duration,
    size: u32,
    places: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// The one that was used last comes last, and is used next.
    connections: Vec<Kept>,
    /// Grows when all connections made so far lead to the wrong server.
    generation: u64,
}

struct Kept {
    connection: PgConnection,
    generation: u64,
    since: Instant,
    used: Instant,
}

/// A connection in use. It is closed unless it is given back.
struct Lent {
    kept: Kept,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// A pool of at most `size` connections, whose calls take at most `deadline`, connecting included.
    pub(super) fn new(login: Arc<Login>, size: u32, deadline: Duration) -> Self {
        let places = Arc::new(Semaphore::new(size as usize));
        Self { login, turn: tokio::sync::Mutex::default(), deadline, size, places, idle: Mutex::default() }
    }

    /// Runs the work that `work` returns on a connection, again as long as its transaction conflicts with another one and
    /// the deadline has not passed.
    pub(super) async fn run<T, W>(&self, work: impl Fn() -> W) -> Result<T, StoreError>
    where
        W: AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    {
        let result = timeout(self.deadline, self.lend_to(work)).await;
        let result = result.unwrap_or(Err(StoreError::Timeout(self.deadline)));
        match &result {
            Ok(_) | Err(StoreError::Corrupt(_)) => {}
            Err(error) if leads_to_the_wrong_server(error) => self.discard_all(),
            Err(error) if database_error(error).is_some() => {}
            // The idle ones are the only ones that can be had.
            Err(_) if self.login.is_refused() => {}
            // The network or the server is gone, so idle connections are no better. Those in use find out themselves.
            Err(_) => self.discard_idle(),
        }
        result
    }

    async fn lend_to<T, W>(&self, work: impl Fn() -> W) -> Result<T, StoreError>
    where
        W: AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    {
        let mut lent = self.lend().await?;
        let mut longest_pause = CONFLICT_PAUSE;
        loop {
            match work()(&mut lent.kept.connection).await {
                Err(error) if is_conflict(&error) => {
                    // A random pause, so that two transactions don't meet again.
                    sleep(longest_pause.mul_f64(rand::random())).await;
                    longest_pause = (longest_pause + CONFLICT_PAUSE).min(MAX_CONFLICT_PAUSE);
                }
                Ok(done) => {
                    self.give_back(lent);
                    return Ok(done);
                }
                Err(error @ StoreError::Corrupt(_)) => {
                    // The ping sends the rollback of the transaction, which keeps its locks until then.
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
        let place = self.places.clone().acquire_owned().await;
        let _place = place.map_err(|_| StoreError::unavailable("the store is closed"))?;
        loop {
            let (kept, generation) = self.take_idle().await;
            let Some(mut kept) = kept else {
                let connection = match self.login.connect().await {
                    Err(error) if self.login.may_recover_from(&error) => continue,
                    result => result?,
                };
                let now = Instant::now();
                let kept = Kept { connection, generation, since: now, used: now };
                return Ok(Lent { kept, _place });
            };
            if kept.since.elapsed() > MAX_AGE && !self.login.is_refused() {
                continue;
            }
            // A connection that answers late is as good as none, and there must be time for a new one.
            let is_alive = kept.used.elapsed() < TRUSTED_IDLE
                || matches!(timeout(self.deadline / 4, kept.connection.ping()).await, Ok(Ok(())));
            if is_alive {
                return Ok(Lent { kept, _place });
            }
            self.discard_idle();
        }
    }

    /// Takes an idle connection, if there is one, and the current generation. When the password has changed, open
    /// connections still work but no other can be opened: calls share those, in turn, until the file has the new one.
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
        if lent.kept.generation == idle.generation && !self.places.is_closed() {
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

    /// Waits for calls under way, and closes all connections; both within the deadline of a call.
    pub(super) async fn close(&self) {
        let close = async {
            let all = self.places.acquire_many(self.size).await;
            self.places.close();
            drop(all);
            let idle = mem::take(&mut self.idle.lock().connections);
            join_all(idle.into_iter().map(|kept| kept.connection.close())).await;
        };
        if timeout(self.deadline, close).await.is_err() {
            tracing::warn!("the database did not finish in time; closing without it");
        }
        self.places.close();
        self.discard_idle();
    }
}

/// Returns whether a transaction failed only because of others at the same time.
fn is_conflict(error: &StoreError) -> bool {
    const SERIALIZATION_FAILURE: &str = "40001";
    const DEADLOCK_DETECTED: &str = "40P01";
    has_code(error, &[SERIALIZATION_FAILURE, DEADLOCK_DETECTED])
}

/// Returns whether a server says that it takes no writes, or is about to end: another one may have its address by now.
fn leads_to_the_wrong_server(error: &StoreError) -> bool {
    const READ_ONLY: &str = "25006";
    const ADMIN_SHUTDOWN: &str = "57P01";
    const CRASH_SHUTDOWN: &str = "57P02";
    const CANNOT_CONNECT_NOW: &str = "57P03";
    has_code(error, &[READ_ONLY, ADMIN_SHUTDOWN, CRASH_SHUTDOWN, CANNOT_CONNECT_NOW])
        || matches!(error, StoreError::Unavailable(reason) if reason.is::<Demoted>())
}

/// Returns whether the server gave one of these SQLSTATE codes.
fn has_code(error: &StoreError, codes: &[&str]) -> bool {
    let code = database_error(error).and_then(DatabaseError::code);
    code.is_some_and(|code| codes.contains(&&*code))
}

/// Returns what the server itself said.
fn database_error(error: &StoreError) -> Option<&dyn DatabaseError> {
    let StoreError::Unavailable(reason) = error else { return None };
    reason.downcast_ref().and_then(sqlx::Error::as_database_error)
}

/// A server that was a primary is now a standby.
#[derive(Debug, thiserror::Error)]
#[error("the server is a standby, which takes no writes")]
pub(super) struct Demoted;
