//! Keys that can't be guessed.

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{
    distr::{Alphanumeric, SampleString},
    rngs::StdRng,
};

use super::{KeyStrategy, KeygenError};
use crate::link::{Key, Target};

/// A source of uniformly random characters from `a-z A-Z 0-9`.
///
/// The generator is cryptographically secure.
pub(super) struct Letters(Mutex<StdRng>);

impl Letters {
    pub(super) fn new(rng: StdRng) -> Self {
        Self(Mutex::new(rng))
    }

    pub(super) fn draw(&self, count: usize) -> String {
        let mut rng = self.0.lock();
        Alphanumeric.sample_string(&mut *rng, count)
    }
}

/// A strategy that generates random keys.
///
/// Each further attempt proposes a key that is one character longer, so a request can succeed even if all shorter keys
/// are taken.
pub(super) struct Random {
    letters: Letters,
    length: usize,
}

impl Random {
    pub(super) fn new(rng: StdRng, length: usize) -> Self {
        Self { letters: Letters::new(rng), length }
    }
}

#[async_trait]
impl KeyStrategy for Random {
    async fn propose(&self, _target: &Target, attempt: u32) -> Result<Key, KeygenError> {
        Ok(self.letters.draw(self.length + attempt as usize).parse()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    #[tokio::test]
    async fn keys_have_the_configured_length_and_differ() {
        let strategy = Random::new(StdRng::seed_from_u64(1), 7);
        let target = "https://example.com".parse().unwrap();
        let mut keys = HashSet::new();
        for _ in 0..1000 {
            keys.insert(strategy.propose(&target, 0).await.unwrap());
        }
        assert_eq!(keys.len(), 1000);
        assert!(keys.iter().all(|key| key.as_str().len() == 7));
        assert_eq!(strategy.propose(&target, 4).await.unwrap().as_str().len(), 11);
    }
}
