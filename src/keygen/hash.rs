//! Keys derived from the target.
//!
//! Every instance derives the same key from the same URL.

use async_trait::async_trait;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};

use super::{ALPHABET, KeyStrategy, KeygenError, PREDICTABLE_ATTEMPTS, SUFFIX, random::Letters};
use crate::link::{Key, Target};

/// A strategy that derives keys from the SHA-256 hash of a URL.
///
/// The URL is normalised first. A key consists of the leading base-62 digits of the hash. Later attempts append a
/// random suffix.
pub(super) struct Hash {
    length: usize,
    letters: Letters,
}

impl Hash {
    pub(super) fn new(length: usize, rng: StdRng) -> Self {
        Self { length, letters: Letters::new(rng) }
    }
}

#[async_trait]
impl KeyStrategy for Hash {
    async fn propose(&self, target: &Target, attempt: u32) -> Result<Key, KeygenError> {
        let mut hasher = Sha256::new_with_prefix(target.as_str());
        let is_predictable = attempt < PREDICTABLE_ATTEMPTS;
        if attempt > 0 && is_predictable {
            // URLs contain no NUL, so this hash input can't equal the hash input for another URL.
            hasher.update([0]);
            hasher.update(attempt.to_be_bytes());
        }
        let digits = base62_digits(hasher.finalize().into());
        let suffix = if is_predictable { String::new() } else { self.letters.draw(SUFFIX) };
        Ok(format!("{}{suffix}", &digits[..self.length]).parse()?)
    }

    fn reuses_links(&self) -> bool {
        true
    }
}

/// Returns the key for `identity`, independently of the configured strategy.
///
/// Its 12 characters hold 71 bits, which makes a collision very unlikely.
pub fn key_of(identity: &[u8]) -> Key {
    let digits = base62_digits(Sha256::digest(identity).into());
    digits[..12].parse().expect("the digits are those of keys")
}

/// Formats a 256-bit number as 43 base-62 digits, most significant first.
fn base62_digits(mut number: [u8; 32]) -> String {
    let mut digits = [char::default(); 43];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0;
        for byte in &mut number {
            let dividend = remainder * 256 + usize::from(*byte);
            *byte = u8::try_from(dividend / 62).expect("the remainder is below 62");
            remainder = dividend % 62;
        }
        *digit = char::from(ALPHABET[remainder]);
    }
    digits.iter().collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[tokio::test]
    async fn the_same_target_gets_the_same_key_and_another_on_the_next_attempt() {
        let strategy = Hash::new(7, StdRng::seed_from_u64(1));
        let target: Target = "https://example.com".parse().unwrap();
        let key = strategy.propose(&target, 0).await.unwrap();
        assert_eq!(strategy.propose(&target, 0).await.unwrap(), key);
        assert_ne!(strategy.propose(&target, 1).await.unwrap(), key);
        assert_eq!(key.as_str().len(), 7);
        let late = strategy.propose(&target, PREDICTABLE_ATTEMPTS).await.unwrap();
        assert_ne!(strategy.propose(&target, PREDICTABLE_ATTEMPTS).await.unwrap(), late);
    }

    #[test]
    fn the_digits_are_those_of_the_number() {
        let mut number = [0; 32];
        number[30..].copy_from_slice(&1000_u16.to_be_bytes());
        assert_eq!(base62_digits(number), format!("{}qi", "a".repeat(41)));
    }
}
