//! By which name client and service speak of a request.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken from a client, in bytes.
const MAX_LEN: usize = 128;

/// Gives ids that no other process gives: a prefix of this one's own and a running number, both in hexadecimal.
pub(super) struct RequestIds {
    prefix: [u8; 17],
    next: AtomicU64,
}

impl RequestIds {
    pub(super) fn new(instance: u64) -> Self {
        let mut prefix = [b'-'; 17];
        write_hex(&mut prefix[..16], instance);
        Self { prefix, next: AtomicU64::new(1) }
    }

    /// The id that the client sends, where that can stand in a log line, or else a new one.
    pub(super) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let is_sane = |id: &&HeaderValue| {
            (1..=MAX_LEN).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        headers.get(X_REQUEST_ID).filter(is_sane).cloned().unwrap_or_else(|| self.next())
    }

    fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let digits = ((number | 1).ilog2() / 4 + 1) as usize;
        let mut id = [0; 33];
        id[..17].copy_from_slice(&self.prefix);
        write_hex(&mut id[17..][..digits], number);
        HeaderValue::from_bytes(&id[..17 + digits]).expect("hexadecimal is visible")
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
    use super::*;

    #[test]
    fn ids_are_a_prefix_and_a_running_number() {
        let ids = RequestIds::new(0x00ab_cdef);
        assert_eq!(ids.next(), "0000000000abcdef-1");
        ids.next.store(0xff, Ordering::Relaxed);
        assert_eq!(ids.next(), "0000000000abcdef-ff");
        assert_eq!(ids.next(), "0000000000abcdef-100");
        ids.next.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(ids.next(), "0000000000abcdef-ffffffffffffffff");
    }
}
