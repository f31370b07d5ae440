//! Sequential keys, which are short, unique by construction, and easy to guess.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use futures_util::{FutureExt, future::BoxFuture, future::Shared};
use parking_lot::Mutex;
use rand::rngs::StdRng;

use super::{KeyStrategy, KeygenError, PREDICTABLE_ATTEMPTS, SUFFIX, base62, random::Letters};
use crate::{
    link::{Key, Target},
    links::Links,
    store::StoreError,
};

/// The number of counter values taken from the store at a time.
///
/// A crash wastes at most one block. Larger blocks need fewer store calls.
const BLOCK: u32 = 100;

/// A strategy that formats numbers from the store's counter in base 62.
///
/// The store hands out each block of numbers only once, so no number is used twice, even across instances and restarts.
pub(super) struct Counter {
    links: Arc<Links>,
    state: Arc<Mutex<State>>,
    letters: Letters,
}

#[derive(Default)]
struct State {
    block: Range<u64>,
    /// The refill in progress, shared by all callers waiting for a number.
    refill: Option<Shared<BoxFuture<'static, Result<(), StoreError>>>>,
}

impl Counter {
    pub(super) fn new(links: Arc<Links>, rng: StdRng) -> Self {
        Self { links, state: Arc::default(), letters: Letters::new(rng) }
    }

    async fn next(&self) -> Result<u64, StoreError> {
        loop {
            let refill = {
                let mut state = self.state.lock();
                if let Some(number) = state.block.next() {
                    return Ok(number);
                }
                state.refill.get_or_insert_with(|| self.refill()).clone()
            };
            refill.await?;
        }
    }

    fn refill(&self) -> Shared<BoxFuture<'static, Result<(), StoreError>>> {
        let (links, state) = (self.links.clone(), self.state.clone());
        async move {
            let taken = links.take_numbers(BLOCK).await;
            let mut state = state.lock();
            state.refill = None;
            state.block = taken?;
            Ok(())
        }
        .boxed()
        .shared()
    }
}

#[async_trait]
impl KeyStrategy for Counter {
    /// Uses a new number for each attempt, to skip keys that are taken.
    async fn propose(&self, _target: &Target, attempt: u32) -> Result<Key, KeygenError> {
        let mut key = base62(self.next().await?);
        if attempt >= PREDICTABLE_ATTEMPTS {
            key += &self.letters.draw(SUFFIX);
        }
        Ok(key.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use rand::SeedableRng;

    use bytesize::ByteSize;

    use super::*;
    use crate::{config::CacheOptions, observability::metrics::Metrics, store::memory::MemoryStore};

    fn links() -> Arc<Links> {
        let cache = CacheOptions { cache_bytes: ByteSize(0), cache_ttl: Duration::ZERO };
        Arc::new(Links::new(Arc::new(MemoryStore::default()), Duration::MAX, cache, Arc::new(Metrics::new())))
    }

    fn counter(links: Arc<Links>) -> Counter {
        Counter::new(links, StdRng::seed_from_u64(1))
    }

    #[tokio::test]
    async fn keys_count_up_from_qi_without_gaps() {
        let strategy = counter(links());
        let target = "https://example.com".parse().unwrap();
        for number in 1000..1000 + 3 * u64::from(BLOCK) {
            assert_eq!(strategy.propose(&target, 0).await.unwrap().as_str(), base62(number));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_instances_never_take_the_same_number() {
        let links = links();
        let instances = [Arc::new(counter(links.clone())), Arc::new(counter(links))];
        let tasks = (0..64).map(|task| {
            let counter = instances[task % 2].clone();
            tokio::spawn(async move {
                let mut numbers = Vec::new();
                for _ in 0..100 {
                    numbers.push(counter.next().await.unwrap());
                }
                numbers
            })
        });
        let numbers = futures_util::future::join_all(tasks).await;
        let distinct: HashSet<u64> = numbers.into_iter().flat_map(|task| task.unwrap()).collect();
        assert_eq!(distinct.len(), 6400);
    }
}
