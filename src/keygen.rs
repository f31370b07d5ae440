//! Keys for new links: the [`KeyStrategy`] trait and its factory.

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

/// A strategy that proposes keys for new links.
///
/// The store decides whether a proposed key is free.
#[async_trait]
pub trait KeyStrategy: Send + Sync {
    /// Returns a key for `target`. `attempt` counts the attempts for one request, starting at 0.
    ///
    /// Later attempts must propose unpredictable keys. Otherwise, a client could take all proposed keys in advance and
    /// make requests fail.
    ///
    /// # Errors
    /// See [`KeygenError`].
    async fn propose(&self, target: &Target, attempt: u32) -> Result<Key, KeygenError>;

    /// Returns whether a request may get an existing link.
    ///
    /// The existing link must have the proposed key, the same target and no options.
    fn reuses_links(&self) -> bool {
        false
    }
}

/// The error for a key that could not be proposed.
#[derive(Debug, Error)]
pub enum KeygenError {
    /// The store failed to provide counter values.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The proposed key is too long, because all shorter keys are used up.
    #[error(transparent)]
    Exhausted(#[from] InvalidKey),
}

/// Creates the strategy named in the options.
///
/// Random characters come from `rng`. Counter values come from the store behind `links`.
pub fn strategy(options: &KeyOptions, rng: StdRng, links: Arc<Links>) -> Arc<dyn KeyStrategy> {
    let length = options.key_length.into();
    match options.key_strategy {
        StrategyName::Random => Arc::new(random::Random::new(rng, length)),
        StrategyName::Counter => Arc::new(counter::Counter::new(links, rng)),
        StrategyName::Hash => Arc::new(hash::Hash::new(length, rng)),
    }
}

/// The number of attempts with predictable keys.
///
/// A client that knows the algorithm can take those keys in advance.
const PREDICTABLE_ATTEMPTS: u32 = 3;

/// The number of random characters that later attempts append.
///
/// They add 47 bits of entropy to a key.
const SUFFIX: usize = 8;

/// The base-62 digits, in the order of their values.
const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Formats `number` in base 62, most significant digit first.
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
    fn base62_uses_the_order_of_the_alphabet() {
        for (number, text) in
            [(0, "a"), (61, "9"), (62, "ba"), (1000, "qi"), (1001, "qj"), (u64::MAX, "v8QrKbgkrIp")]
        {
            assert_eq!(base62(number), text);
        }
    }
}
