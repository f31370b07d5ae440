//! The id that client and service use for a request.

use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id accepted from a client, in bytes.
const MAX_LEN: usize = 128;

/// Makes ids of 32 hexadecimal digits. They are a keyed hash of a running number, so that they don't show how many
/// requests a service answers.
pub struct RequestIds {
    hasher: RandomState,
    next: AtomicU64,
}

impl RequestIds {
    /// `[u64; 4]` is the key of the hash.
    pub(crate) fn new([a, b, c, d]: [u64; 4]) -> Self {
        Self { hasher: RandomState::with_seeds(a, b, c, d), next: AtomicU64::new(0) }
    }

    /// Returns the id that the client sent, where it can be logged, or else a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let is_sane = |id: &&HeaderValue| {
            (1..=MAX_LEN).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        headers.get(X_REQUEST_ID).filter(is_sane).cloned().unwrap_or_else(|| self.next())
    }

    fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 32];
        for (half, digits) in id.chunks_exact_mut(16).enumerate() {
            digits.copy_from_slice(&hex(self.hasher.hash_one((number, half))));
        }
        HeaderValue::from_bytes(&id).expect("hexadecimal is visible")
    }
}

/// Returns the sixteen hexadecimal digits of `number`, computed side by side: every request needs thirty-two.
fn hex(number: u64) -> [u8; 16] {
    const ONES: u128 = u128::from_ne_bytes([1; 16]);
    // Each step moves half of the bits up, until every byte holds four.
    let mut digits = u128::from(number);
    for bits in [32, 16, 8, 4] {
        let kept = u128::MAX / ((1 << (2 * bits)) - 1) * ((1 << bits) - 1);
        digits = (digits | digits << bits) & kept;
    }
    let is_letter = (digits + 6 * ONES) >> 4 & ONES;
    (digits + u128::from(b'0') * ONES + is_letter * u128::from(b'a' - b'9' - 1)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 1, 0x9a, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            assert_eq!(str::from_utf8(&hex(number)).unwrap(), format!("{number:016x}"));
        }
    }

    #[test]
    fn ids_are_distinct_and_have_no_part_in_common() {
        let ids = RequestIds::new([1, 2, 3, 4]);
        let ids: Vec<_> = (0..1000).map(|_| ids.next().to_str().unwrap().to_owned()).collect();
        for part in [0..8, 8..16, 16..24, 24..32] {
            let parts: HashSet<_> = ids.iter().map(|id| &id[part.clone()]).collect();
            assert_eq!(parts.len(), ids.len(), "digits {part:?}");
        }
        let other = RequestIds::new([5, 2, 3, 4]).next();
        assert!(!ids.iter().any(|id| *id == other));
    }
}
