//! The id that client and service use for a request.

use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id accepted from a client, in bytes.
const MAX_LEN: usize = 128;

/// Makes ids of 32 hexadecimal digits. They are a keyed hash of a running number, so that they don't show how many
/// requests a service answers.
pub(super) struct RequestIds {
    hasher: RandomState,
    next: AtomicU64,
}

impl RequestIds {
    /// `[u64; 4]` is the key of the hash.
    pub(super) fn new([a, b, c, d]: [u64; 4]) -> Self {
        Self { hasher: RandomState::with_seeds(a, b, c, d), next: AtomicU64::new(0) }
    }

    /// Returns the id that the client sent, where it can be logged, or else a new one.
    pub(super) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let is_sane = |id: &&HeaderValue| {
            (1..=MAX_LEN).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        headers.get(X_REQUEST_ID).filter(is_sane).cloned().unwrap_or_else(|| self.next())
    }

    fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 32];
        for (half, digits) in id.chunks_exact_mut(16).enumerate() {
            write_hex(digits, self.hasher.hash_one((number, half)));
        }
        HeaderValue::from_bytes(&id).expect("hexadecimal is visible")
    }
}

/// Fills `text` with the last digits of `number`.
fn write_hex(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number % 16) as usize];
        number /= 16;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

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
