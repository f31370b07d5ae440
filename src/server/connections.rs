//! The limit on open connections, and the eviction of idle ones.
//!
//! If clients connect directly, one client can't lock out the others: each client gets only a share of the connections,
//! and at the limit, a new connection replaces the connection that has been idle longest. Behind proxies, neither rule
//! applies: a proxy's connections carry requests from many clients, and closing an idle connection could race with the
//! proxy's next request.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::{sync::watch, task::AbortHandle};

use super::activity::Activity;

/// The divisor for calculating one client's share of the limit.
const CLIENTS: usize = 4;

/// The maximum number of idle connections to remember from one search.
///
/// During a flood of new connections, most admissions can evict a remembered connection instead of searching all of
/// them.
const CANDIDATES: usize = 64;

/// A listener's open connections.
pub(super) struct Connections {
    limit: usize,
    /// The maximum number of connections per client, or `None` if clients connect through proxies.
    share: Option<usize>,
    open: Arc<Open>,
    /// A channel with one receiver per open connection.
    alive: watch::Sender<()>,
}

struct Open {
    state: Mutex<State>,
    gauge: IntGauge,
}

#[derive(Default)]
struct State {
    next_id: u64,
    all: HashMap<u64, Arc<Entry>>,
    per_client: HashMap<IpAddr, usize>,
    /// The next connections to evict. The connection that has been idle longest comes last.
    candidates: Vec<Candidate>,
}

struct Entry {
    client: IpAddr,
    activity: Activity,
    /// The task that serves the connection. Not set until the task has been spawned.
    task: OnceLock<AbortHandle>,
}

struct Candidate {
    id: u64,
    idle_since: Instant,
}

/// An open connection's slot, released on drop.
pub(super) struct Slot {
    id: u64,
    entry: Arc<Entry>,
    open: Arc<Open>,
    _alive: watch::Receiver<()>,
}

impl Connections {
    /// Creates an empty set of at most `limit` connections.
    ///
    /// `is_direct` is true if clients connect directly, not through proxies.
    pub(super) fn new(limit: usize, is_direct: bool, gauge: IntGauge) -> Self {
        let share = is_direct.then(|| limit.div_ceil(CLIENTS));
        Self {
            limit,
            share,
            open: Arc::new(Open { state: Mutex::default(), gauge }),
            alive: watch::Sender::new(()),
        }
    }

    /// Takes a slot for a connection from `client`.
    ///
    /// Returns `None` if the connection must be refused.
    pub(super) fn admit(&self, client: IpAddr) -> Option<Slot> {
        let mut state = self.open.state.lock();
        if self.share.is_some_and(|share| state.per_client.get(&client).is_some_and(|open| *open >= share)) {
            return None;
        }
        if state.all.len() >= self.limit
            && !(self.share.is_some() && state.close_longest_idle(&self.open.gauge))
        {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        let entry = Arc::new(Entry { client, activity: Activity::start(), task: OnceLock::new() });
        state.all.insert(id, entry.clone());
        *state.per_client.entry(client).or_default() += 1;
        self.open.gauge.inc();
        Some(Slot { id, entry, open: self.open.clone(), _alive: self.alive.subscribe() })
    }

    pub(super) fn count(&self) -> usize {
        self.open.state.lock().all.len()
    }

    pub(super) async fn wait_for_all(&self) {
        self.alive.closed().await;
    }
}

impl State {
    /// Evicts the connection that has been idle longest. Returns false if none is idle.
    fn close_longest_idle(&mut self, gauge: &IntGauge) -> bool {
        self.close_candidate(gauge) || {
            self.find_candidates();
            self.close_candidate(gauge)
        }
    }

    fn close_candidate(&mut self, gauge: &IntGauge) -> bool {
        while let Some(Candidate { id, idle_since }) = self.candidates.pop() {
            let Some(entry) = self.all.get(&id) else { continue };
            if entry.activity.idle_since() == Some(idle_since)
                && let Some(task) = entry.task.get()
            {
                task.abort();
                self.remove(id, gauge);
                return true;
            }
        }
        false
    }

    fn find_candidates(&mut self) {
        let idle = self
            .all
            .iter()
            .filter_map(|(id, entry)| Some(Candidate { id: *id, idle_since: entry.activity.idle_since()? }));
        self.candidates = idle.collect();
        self.candidates.sort_unstable_by_key(|candidate| std::cmp::Reverse(candidate.idle_since));
        let extra = self.candidates.len().saturating_sub(CANDIDATES);
        self.candidates.drain(..extra);
    }

    fn remove(&mut self, id: u64, gauge: &IntGauge) {
        let Some(entry) = self.all.remove(&id) else { return };
        gauge.dec();
        if let Some(open) = self.per_client.get_mut(&entry.client) {
            *open -= 1;
            if *open == 0 {
                self.per_client.remove(&entry.client);
            }
        }
    }
}

impl Slot {
    pub(super) fn activity(&self) -> &Activity {
        &self.entry.activity
    }

    /// Returns a handle for registering the task that an eviction aborts.
    pub(super) fn eviction(&self) -> Eviction {
        Eviction(self.entry.clone())
    }
}

/// A handle for registering the task that an eviction aborts.
pub(super) struct Eviction(Arc<Entry>);

impl Eviction {
    pub(super) fn aborts(self, task: Option<AbortHandle>) {
        if let Some(task) = task {
            // The task can't already be set, because a connection has only one task.
            let _ = self.0.task.set(task);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.state.lock().remove(self.id, &self.open.gauge);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;

    fn connections(limit: usize, is_direct: bool) -> Connections {
        Connections::new(limit, is_direct, IntGauge::new("open", "Open connections.").unwrap())
    }

    fn client(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    /// Returns a slot, and a task that runs until the connection is evicted.
    fn serve(connections: &Connections, number: u8) -> Option<(Slot, JoinHandle<()>)> {
        let slot = connections.admit(client(number))?;
        let task = tokio::spawn(std::future::pending());
        slot.eviction().aborts(Some(task.abort_handle()));
        Some((slot, task))
    }

    async fn is_evicted((_, task): &(Slot, JoinHandle<()>)) -> bool {
        tokio::task::yield_now().await;
        task.is_finished()
    }

    #[test]
    fn one_client_gets_only_a_share_of_the_connections() {
        let connections = connections(8, true);
        let first = [connections.admit(client(1)).unwrap(), connections.admit(client(1)).unwrap()];
        assert!(connections.admit(client(1)).is_none());
        let other = connections.admit(client(2)).unwrap();
        drop(first);
        assert!(connections.admit(client(1)).is_some());
        assert_eq!(connections.count(), 1, "the last one was dropped at once");
        drop(other);
        assert_eq!(connections.open.gauge.get(), 0);
    }

    #[tokio::test]
    async fn at_the_limit_the_longest_idle_connection_is_evicted() {
        let connections = connections(3, true);
        let slots = [1, 2, 3].map(|number| serve(&connections, number).unwrap());
        let in_progress = slots[0].0.activity().begin(false);
        let fourth = serve(&connections, 4).unwrap();
        assert!(is_evicted(&slots[1]).await);
        assert!(!is_evicted(&slots[0]).await && !is_evicted(&slots[2]).await);
        let fifth = serve(&connections, 5).unwrap();
        assert!(is_evicted(&slots[2]).await);
        let _busy = [fourth.0.activity().begin(false), fifth.0.activity().begin(false)];
        assert!(serve(&connections, 6).is_none(), "all have a request in progress");
        drop(in_progress);
        assert!(serve(&connections, 6).is_some());
        assert!(is_evicted(&slots[0]).await);
    }

    #[tokio::test]
    async fn behind_proxies_no_connection_is_evicted() {
        let connections = connections(2, false);
        let slots = [1, 1].map(|number| serve(&connections, number).unwrap());
        assert!(serve(&connections, 1).is_none());
        assert!(!is_evicted(&slots[0]).await && !is_evicted(&slots[1]).await);
    }

    #[tokio::test]
    async fn wait_for_all_returns_when_the_last_connection_closes() {
        let connections = Arc::new(connections(2, false));
        let slot = connections.admit(client(1)).unwrap();
        let waiting = {
            let connections = connections.clone();
            tokio::spawn(async move { connections.wait_for_all().await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(slot);
        waiting.await.unwrap();
    }
}
