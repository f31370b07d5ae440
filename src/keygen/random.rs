//! Keys that can't be guessed.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use rand::{
    distr::{Alphanumeric, SampleString},
    rngs::StdRng,
};

use super::{KeyStrategy, KeygenError};
use crate::link::{Key, Target};

/// Draws each character of `a-z A-Z 0-9` evenly from a cryptographic generator.
pub(super) struct Random {
    rng: Mutex<StdRng>,
    length: usize,
}

impl Random {
    pub(super) fn new(rng: StdRng, length: usize) -> Self {
        Self { rng: Mutex::new(rng), length }
    }
}

#[async_trait]
impl KeyStrategy for Random {
    async fn propose(&self, _target: &Target, _attempt: u32) -> Result<Key, KeygenError> {
        // A generator that another thread left while panicking is as random as before.
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Alphanumeric.sample_string(&mut *rng, self.length).parse()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    #[tokio::test]
    async fn keys_have_the_asked_length_and_differ() {
        let strategy = Random::new(StdRng::seed_from_u64(1), 7);
        let target = "https://example.com".parse().unwrap();
        let mut keys = HashSet::new();
        for _ in 0..1000 {
            keys.insert(strategy.propose(&target, 0).await.unwrap());
        }
        assert_eq!(keys.len(), 1000);
        assert!(keys.iter().all(|key| key.as_str().len() == 7));
    }
}
