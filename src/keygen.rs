//! How a new link gets its key: the [`KeyStrategy`] port and the factory that picks one by name.

mod counter;
mod hash;
mod random;

use std::sync::Arc;

use async_trait::async_trait;
use rand::rngs::StdRng;
use thiserror::Error;

pub use self::hash::key_of;

use crate::{
    config::{KeyOptions, StrategyName},
    link::{InvalidKey, Key, Target},
    links::Links,
    store::StoreError,
};

/// Proposes keys for new links. Whether a proposal is free is for the store to say.
#[async_trait]
pub trait KeyStrategy: Send + Sync {
    /// A key for `target`, in the `attempt`-th try (from 0) at one request. Late tries propose keys that nobody can take in
    /// advance, so that no request fails because of those who do.
    ///
    /// # Errors
    /// [`KeygenError::Store`] where the strategy keeps its place in the store and the store fails.
    async fn propose(&self, target: &Target, attempt: u32) -> Result<Key, KeygenError>;

    /// Whether a link that stands already under the proposed key, with the same target and without options, is
    /// to be given out again.
    fn reuses_links(&self) -> bool {
        false
    }
}

/// No key could be proposed.
#[derive(Debug, Error)]
pub enum KeygenError {
    /// The store did not give what the strategy keeps there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The strategy has run out of keys that a short URL can hold.
    #[error(transparent)]
    Exhausted(#[from] InvalidKey),
}

/// Returns the strategy that the options name. The random ones draw from `rng`; the counter is in the store.
pub fn strategy(options: &KeyOptions, rng: StdRng, links: Arc<Links>) -> Arc<dyn KeyStrategy> {
    let length = options.key_length.into();
    match options.key_strategy {
        StrategyName::Random => Arc::new(random::Random::new(rng, length)),
        StrategyName::Counter => Arc::new(counter::Counter::new(links, rng)),
        StrategyName::Hash => Arc::new(hash::Hash::new(length, rng)),
    }
}

/// Tries in which a strategy proposes keys that follow from its rule alone. A client that knows the rule can take those first.
const PREDICTABLE_ATTEMPTS: u32 = 3;

/// Random characters that later tries add: 47 bits.
const SUFFIX: usize = 8;

/// The digits of base 62, in the order in which counted keys go up.
const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// `number` in base 62, most significant digit first.
fn base62(mut number: u64) -> String {
    let mut digits = Vec::with_capacity(11);
    loop {
        digits.push(char::from(ALPHABET[(number % 62) as usize]));
        number /= 62;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base62_counts_as_the_alphabet_says() {
        for (number, text) in
            [(0, "a"), (61, "9"), (62, "ba"), (1000, "qi"), (1001, "qj"), (u64::MAX, "v8QrKbgkrIp")]
        {
            assert_eq!(base62(number), text);
        }
    }
}
