//! The limit on password attempts.
//!
//! Only failures count, and they are counted separately for each client and link. Any number of visitors who know the
//! password can therefore follow the link, and no client can use up another client's attempts. While many clients are
//! guessing the password of one link, each of them must wait longer after a failure, unless it has entered the correct
//! password before. A client's first attempt is always allowed. Against an attacker with very many addresses, a link is
//! therefore protected only by the length of its password and the cost of each attempt.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::{
    gate::{Gate, Permit},
    link::Key,
    web::{extract::client::ClientIp, respond::error::ApiError},
};

/// The number of failures allowed per minute, for each client and link.
const PER_CLIENT: f64 = 10.0;

/// The number of failures per minute that counts as an attack.
///
/// Failures are counted for each link, across all clients.
const PER_LINK: f64 = 60.0;

/// The wait after a failure on a link under attack.
const LONG_WAIT: Duration = Duration::from_mins(1);

/// The maximum number of links with recent failures by one client.
const LINKS_PER_CLIENT: usize = 100;

/// The maximum number of queued attempts per client.
///
/// A client's attempts run one at a time, so that no client can occupy all threads that check passwords.
const MAX_QUEUED: usize = 100;

/// The capacity of each cache.
///
/// A full cache evicts entries that were not used recently.
const CACHE_ENTRIES: usize = 10_000;

/// The recent attempts by all clients.
pub struct Attempts {
    clients: Cache<IpAddr, Arc<Client>>,
    links: Cache<Key, Arc<Mutex<Failures>>>,
}

struct Client {
    turns: Gate,
    tries: Mutex<HashMap<Key, Tries>>,
}

/// A client's attempts on one link.
#[derive(Default)]
struct Tries {
    failures: Failures,
    last_failure: Option<Instant>,
    has_succeeded: bool,
}

/// A count of failures that decays at a constant rate.
#[derive(Default)]
struct Failures {
    count: f64,
    at: Option<Instant>,
}

/// An attempt in progress.
///
/// The attempt counts as a failure until [`Attempt::succeed`] or [`Attempt::forgive`] is called, so that clients gain
/// nothing by disconnecting.
pub(crate) struct Attempt {
    client: Arc<Client>,
    link: Arc<Mutex<Failures>>,
    key: Key,
    before: Option<Instant>,
    _turn: Permit,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { clients: Cache::new(CACHE_ENTRIES), links: Cache::new(CACHE_ENTRIES) }
    }
}

impl Attempts {
    /// Refuses a client that must wait.
    ///
    /// This check doesn't need the password, so it runs before the request body is read.
    pub(crate) fn check(&self, client: ClientIp, key: &Key) -> Result<(), ApiError> {
        let Some(client) = self.clients.get(&client.limit_key()) else { return Ok(()) };
        let failures = self.links.get(key);
        client.admit(key, failures.as_deref(), Instant::now()).map_err(ApiError::RateLimited)
    }

    /// Starts an attempt after the client's earlier attempts have ended.
    pub(crate) async fn begin(&self, client: ClientIp, key: &Key) -> Result<Attempt, ApiError> {
        let client =
            self.clients.get_or_insert_with(&client.limit_key(), || Ok::<_, ApiError>(Arc::default()))?;
        let turn = client.turns.enter().await.map_err(|_| ApiError::RateLimited(Duration::from_secs(1)))?;
        let link = self.links.get_or_insert_with(key, || Ok::<_, ApiError>(Arc::default()))?;
        let now = Instant::now();
        client.admit(key, Some(&link), now).map_err(ApiError::RateLimited)?;
        let before = client.charge(key, now);
        link.lock().add(1.0, PER_LINK, now);
        Ok(Attempt { client, link, key: key.clone(), before, _turn: turn })
    }
}

impl Default for Client {
    fn default() -> Self {
        Self { turns: Gate::new(1, MAX_QUEUED), tries: Mutex::default() }
    }
}

impl Client {
    /// Allows an attempt on a link, or returns the time to wait.
    fn admit(&self, key: &Key, link: Option<&Mutex<Failures>>, now: Instant) -> Result<(), Duration> {
        let mut tries = self.tries.lock();
        let Some(tried) = tries.get_mut(key) else {
            return self.make_room(&mut tries, now);
        };
        let excess = tried.failures.count(PER_CLIENT, now) + 1.0 - PER_CLIENT;
        if excess > 0.0 {
            return Err(Duration::from_secs_f64(excess * 60.0 / PER_CLIENT));
        }
        let is_attacked = link.is_some_and(|link| link.lock().count(PER_LINK, now) >= PER_LINK);
        let waited = tried.last_failure.map_or(LONG_WAIT, |last| now.saturating_duration_since(last));
        match LONG_WAIT.saturating_sub(waited) {
            wait if is_attacked && !tried.has_succeeded && !wait.is_zero() => Err(wait),
            _ => Ok(()),
        }
    }

    /// Makes room for one more link, or returns the time to wait.
    ///
    /// At the limit, links without recent failures are removed.
    fn make_room(&self, tries: &mut HashMap<Key, Tries>, now: Instant) -> Result<(), Duration> {
        if tries.len() >= LINKS_PER_CLIENT {
            tries.retain(|_, tried| tried.failures.count(PER_CLIENT, now) > 0.0);
        }
        if tries.len() < LINKS_PER_CLIENT { Ok(()) } else { Err(LONG_WAIT / 10) }
    }

    /// Counts a failure, and returns the time of the previous failure.
    fn charge(&self, key: &Key, now: Instant) -> Option<Instant> {
        let mut tries = self.tries.lock();
        let tried = tries.entry(key.clone()).or_default();
        tried.failures.add(1.0, PER_CLIENT, now);
        tried.last_failure.replace(now)
    }
}

impl Failures {
    /// Updates and returns the count, which decays by `per_minute` each minute.
    fn count(&mut self, per_minute: f64, now: Instant) -> f64 {
        let since = self.at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.count = (self.count - since.as_secs_f64() * per_minute / 60.0).max(0.0);
        self.count
    }

    fn add(&mut self, number: f64, per_minute: f64, now: Instant) {
        self.count = (self.count(per_minute, now) + number).max(0.0);
    }
}

impl Attempt {
    /// Records that the password was correct.
    pub(crate) fn succeed(self) {
        self.undo(true);
    }

    /// Discards an attempt whose result is unknown.
    pub(crate) fn forgive(self) {
        self.undo(false);
    }

    fn undo(self, has_succeeded: bool) {
        let now = Instant::now();
        self.link.lock().add(-1.0, PER_LINK, now);
        if let Some(tried) = self.client.tries.lock().get_mut(&self.key) {
            tried.failures.add(-1.0, PER_CLIENT, now);
            tried.last_failure = self.before;
            tried.has_succeeded |= has_succeeded;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn client(number: u8) -> ClientIp {
        ClientIp([192, 0, 2, number].into())
    }

    async fn fail(attempts: &Attempts, who: u8, link: &str) -> Result<(), Duration> {
        match attempts.begin(client(who), &key(link)).await {
            Ok(attempt) => {
                drop(attempt);
                Ok(())
            }
            Err(ApiError::RateLimited(wait)) => Err(wait),
            Err(error) => panic!("{error}"),
        }
    }

    async fn succeed(attempts: &Attempts, who: u8, link: &str) {
        attempts.begin(client(who), &key(link)).await.unwrap().succeed();
    }

    #[tokio::test]
    async fn only_failures_count_per_client_and_link() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            succeed(&attempts, 1, "k").await;
        }
        for _ in 0..10 {
            fail(&attempts, 1, "k").await.unwrap();
        }
        let wait = fail(&attempts, 1, "k").await.unwrap_err();
        assert!(wait > Duration::from_secs(5) && wait <= Duration::from_secs(6), "{wait:?}");
        assert!(attempts.check(client(1), &key("k")).is_err());
        assert!(attempts.check(client(1), &key("other")).is_ok());
        fail(&attempts, 1, "other").await.unwrap();
        fail(&attempts, 2, "k").await.unwrap();
    }

    #[tokio::test]
    async fn a_link_under_attack_admits_first_attempts_and_clients_that_succeeded_before() {
        let attempts = Attempts::default();
        succeed(&attempts, 100, "k").await;
        for who in 0..7 {
            for _ in 0..10 {
                let _ = fail(&attempts, who, "k").await;
            }
        }
        succeed(&attempts, 101, "k").await;
        for _ in 0..9 {
            fail(&attempts, 100, "k").await.unwrap();
        }
        fail(&attempts, 102, "k").await.unwrap();
        let wait = fail(&attempts, 102, "k").await.unwrap_err();
        assert!(wait > Duration::from_secs(50), "{wait:?}");
        fail(&attempts, 102, "other").await.unwrap();
        fail(&attempts, 102, "other").await.unwrap();
    }

    #[tokio::test]
    async fn failures_decay_over_time() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        failures.add(10.0, PER_CLIENT, start);
        assert_eq!(failures.count(PER_CLIENT, start + Duration::from_secs(30)), 5.0);
        assert_eq!(failures.count(PER_CLIENT, start + Duration::from_secs(90)), 0.0);
    }

    #[tokio::test]
    async fn a_client_has_failures_on_a_bounded_number_of_links() {
        let attempts = Attempts::default();
        for number in 0..LINKS_PER_CLIENT {
            fail(&attempts, 1, &number.to_string()).await.unwrap();
        }
        assert!(fail(&attempts, 1, "one-more").await.is_err());
        for number in 0..LINKS_PER_CLIENT + 1 {
            succeed(&attempts, 2, &number.to_string()).await;
        }
    }
}
