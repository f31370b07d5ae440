//! The limit on password attempts.
//!
//! Only failures count, for each client and link by themselves: any number of visitors who know the password get in, and
//! nobody can use up another's tries. A link that many clients guess at together makes each of them wait longer after a
//! failure, unless it has got in before. A first try is always free, so a guesser with very many addresses is held up by
//! the password alone: how long it is, and what checking it costs.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::{
    gate::{Gate, Place},
    link::Key,
    web::{extract::client::ClientIp, respond::error::ApiError},
};

/// Failures of one client at one link per minute.
const PER_CLIENT: f64 = 10.0;

/// Failures at one link per minute, of all clients, from which on it is under attack.
const PER_LINK: f64 = 60.0;

/// The wait after a failure at a link under attack.
const LONG_WAIT: Duration = Duration::from_mins(1);

/// Links that one client may have failed at and not been forgiven yet.
const LINKS_PER_CLIENT: usize = 100;

/// Tries of one client that may wait for their turn: they take turns, so that a client can't take all threads.
const WAITING: usize = 100;

/// Clients, and links, that are remembered. Those that were not seen lately are forgotten first.
const REMEMBERED: usize = 10_000;

/// The recent attempts of all clients.
pub struct Attempts {
    clients: Cache<IpAddr, Arc<Client>>,
    links: Cache<Key, Arc<Mutex<Failures>>>,
}

struct Client {
    turns: Gate,
    tries: Mutex<HashMap<Key, Tries>>,
}

/// The attempts of one client at one link.
#[derive(Default)]
struct Tries {
    failures: Failures,
    last_failure: Option<Instant>,
    got_in: bool,
}

/// A number of failures that falls steadily.
#[derive(Default)]
struct Failures {
    count: f64,
    at: Option<Instant>,
}

/// A try under way. It counts as a failure until [`Attempt::forgive`] or [`Attempt::succeed`] says otherwise, so that
/// hanging up early gains nothing.
pub(crate) struct Attempt {
    client: Arc<Client>,
    link: Arc<Mutex<Failures>>,
    key: Key,
    before: Option<Instant>,
    _turn: Place,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { clients: Cache::new(REMEMBERED), links: Cache::new(REMEMBERED) }
    }
}

impl Attempts {
    /// Refuses a client that has to wait, before anything is read from it.
    pub(crate) fn check(&self, client: ClientIp, key: &Key) -> Result<(), ApiError> {
        let Some(client) = self.clients.get(&client.limit_key()) else { return Ok(()) };
        let failures = self.links.get(key);
        client.admit(key, failures.as_deref(), Instant::now()).map_err(ApiError::RateLimited)
    }

    /// Begins a try as soon as the client's earlier ones are over.
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
        Self { turns: Gate::new(1, WAITING), tries: Mutex::default() }
    }
}

impl Client {
    /// Lets a try at the link `key` begin, or says how long it has to wait.
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
            wait if is_attacked && !tried.got_in && !wait.is_zero() => Err(wait),
            _ => Ok(()),
        }
    }

    /// Forgets links at which nothing has failed lately, once they are many.
    fn make_room(&self, tries: &mut HashMap<Key, Tries>, now: Instant) -> Result<(), Duration> {
        if tries.len() >= LINKS_PER_CLIENT {
            tries.retain(|_, tried| tried.failures.count(PER_CLIENT, now) > 0.0);
        }
        if tries.len() < LINKS_PER_CLIENT { Ok(()) } else { Err(LONG_WAIT / 10) }
    }

    /// Counts a failure, and returns when the last one was.
    fn charge(&self, key: &Key, now: Instant) -> Option<Instant> {
        let mut tries = self.tries.lock();
        let tried = tries.entry(key.clone()).or_default();
        tried.failures.add(1.0, PER_CLIENT, now);
        tried.last_failure.replace(now)
    }
}

impl Failures {
    /// The count at `now`, where `per_minute` are forgiven in a minute.
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
    /// The password was right.
    pub(crate) fn succeed(self) {
        self.take_back(true);
    }

    /// Nobody can say whether it was.
    pub(crate) fn forgive(self) {
        self.take_back(false);
    }

    fn take_back(self, got_in: bool) {
        let now = Instant::now();
        self.link.lock().add(-1.0, PER_LINK, now);
        if let Some(tried) = self.client.tries.lock().get_mut(&self.key) {
            tried.failures.add(-1.0, PER_CLIENT, now);
            tried.last_failure = self.before;
            tried.got_in |= got_in;
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

    async fn get_in(attempts: &Attempts, who: u8, link: &str) {
        attempts.begin(client(who), &key(link)).await.unwrap().succeed();
    }

    #[tokio::test]
    async fn successes_cost_nothing_and_failures_count_by_client_and_link() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            get_in(&attempts, 1, "k").await;
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
    async fn a_link_under_attack_stays_open_to_first_tries_and_to_those_who_got_in_before() {
        let attempts = Attempts::default();
        get_in(&attempts, 100, "k").await;
        for who in 0..7 {
            for _ in 0..10 {
                let _ = fail(&attempts, who, "k").await;
            }
        }
        get_in(&attempts, 101, "k").await;
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
    async fn failures_are_forgiven_as_time_passes() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        failures.add(10.0, PER_CLIENT, start);
        assert_eq!(failures.count(PER_CLIENT, start + Duration::from_secs(30)), 5.0);
        assert_eq!(failures.count(PER_CLIENT, start + Duration::from_secs(90)), 0.0);
    }

    #[tokio::test]
    async fn a_client_is_remembered_by_a_bounded_number_of_links() {
        let attempts = Attempts::default();
        for number in 0..LINKS_PER_CLIENT {
            fail(&attempts, 1, &number.to_string()).await.unwrap();
        }
        assert!(fail(&attempts, 1, "one-more").await.is_err());
        for number in 0..LINKS_PER_CLIENT + 1 {
            get_in(&attempts, 2, &number.to_string()).await;
        }
    }
}
