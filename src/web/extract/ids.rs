//! Request ids and trace ids.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering},
};

use ahash::RandomState;
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The maximum length of a request id from a client, in bytes.
const MAX_LEN: usize = 128;

/// A generator of request ids with 32 hexadecimal digits.
///
/// Each id is a keyed hash of a counter, so it does not reveal the number of requests.
pub struct RequestIds {
    hasher: RandomState,
    next: AtomicU64,
}

/// A request's id, stored in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

impl RequestId {
    /// Returns the id that the access log stored in a request.
    pub(crate) fn of(parts: &Parts) -> Self {
        parts.extensions.get().cloned().expect("the access log gives every request an id")
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

impl RequestIds {
    /// Creates a generator with this hash key.
    pub(crate) fn new([a, b, c, d]: [u64; 4]) -> Self {
        Self { hasher: RandomState::with_seeds(a, b, c, d), next: AtomicU64::new(0) }
    }

    /// Returns the request's id, or generates a new id.
    ///
    /// An id sent by the client is used only if it is safe to log.
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

/// Returns `number` as 16 hexadecimal digits.
///
/// All 16 digits are computed in parallel to save time, because most requests need a new id.
fn hex(number: u64) -> [u8; 16] {
    const ONES: u128 = u128::from_ne_bytes([1; 16]);
    // Each step moves half of the bits up. After the last step, every byte holds four bits.
    let mut digits = u128::from(number);
    for bits in [32, 16, 8, 4] {
        let kept = u128::MAX / ((1 << (2 * bits)) - 1) * ((1 << bits) - 1);
        digits = (digits | digits << bits) & kept;
    }
    let is_letter = (digits + 6 * ONES) >> 4 & ONES;
    (digits + u128::from(b'0') * ONES + is_letter * u128::from(b'a' - b'9' - 1)).to_be_bytes()
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// A trace id: 32 lower-case hexadecimal digits that are not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId([u8; 32]);

impl TraceId {
    /// Returns the trace id in a request's headers.
    ///
    /// The `traceparent` header (W3C Trace Context) takes precedence over the AWS X-Ray header, which load balancers
    /// add.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        match (parents.next(), parents.next()) {
            (Some(parent), None) => Self::from_traceparent(parent.to_str().ok()?),
            // The standard allows only one `traceparent` header, because several would be ambiguous.
            _ => None,
        }
        .or_else(|| Self::from_x_ray(headers.get(X_AMZN_TRACE_ID)?.to_str().ok()?))
    }

    /// Parses a header of the form `version-trace-parent-flags`.
    ///
    /// Versions after 00 may append fields, and version ff is invalid
    /// (<https://www.w3.org/TR/trace-context/#traceparent-header>).
    fn from_traceparent(header: &str) -> Option<Self> {
        let mut fields = header.split('-');
        let [version, trace, parent, flags] =
            [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
        let is_valid = is_hex(version, 2)
            && version != "ff"
            && is_hex(parent, 16)
            && !is_zero(parent)
            && is_hex(flags, 2)
            && (version != "00" || fields.next().is_none());
        Self::from_digits(trace.bytes()).filter(|_| is_valid)
    }

    /// Parses the `Root=1-TIME-UNIQUE` field of an X-Ray header.
    ///
    /// Semicolons separate the fields of the header. The trace id consists of the 8 digits of `TIME` and the 24 digits
    /// of `UNIQUE` (<https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-traceids>).
    fn from_x_ray(header: &str) -> Option<Self> {
        let root = header.split(';').find_map(|field| field.trim().strip_prefix("Root=1-"))?;
        let (time, unique) = root.split_once('-').filter(|(time, _)| time.len() == 8)?;
        Self::from_digits(time.bytes().chain(unique.bytes()))
    }

    fn from_digits(mut digits: impl Iterator<Item = u8>) -> Option<Self> {
        let mut id = [0; 32];
        for digit in &mut id {
            *digit = digits.next()?;
        }
        let id = Self(id);
        (digits.next().is_none() && is_hex(id.as_str(), 32) && !is_zero(id.as_str())).then_some(id)
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Returns whether `text` consists of `digits` lower-case hexadecimal digits.
fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(digits: &str) -> bool {
    digits.bytes().all(|digit| digit == b'0')
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn hex_matches_the_standard_formatting() {
        for number in [0, 1, 0x9a, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            assert_eq!(str::from_utf8(&hex(number)).unwrap(), format!("{number:016x}"));
        }
    }

    #[test]
    fn ids_differ_in_every_part() {
        let ids = RequestIds::new([1, 2, 3, 4]);
        let ids: Vec<_> = (0..1000).map(|_| ids.next().to_str().unwrap().to_owned()).collect();
        for part in [0..8, 8..16, 16..24, 24..32] {
            let parts: HashSet<_> = ids.iter().map(|id| &id[part.clone()]).collect();
            assert_eq!(parts.len(), ids.len(), "digits {part:?}");
        }
        let other = RequestIds::new([5, 2, 3, 4]).next();
        assert!(!ids.iter().any(|id| *id == other));
    }

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn trace_id(headers: &[(HeaderName, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        TraceId::of(&map).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn a_traceparent_is_parsed_by_the_standard() {
        for (header, is_valid) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-", false),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e47361-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736", false),
            ("4bf92f3577b34da6a3ce929d0e0e4736", false),
            ("-", false),
            ("", false),
        ] {
            let expected = is_valid.then(|| ID.to_owned());
            assert_eq!(trace_id(&[(TRACEPARENT, header)]), expected, "{header:?}");
        }
    }

    #[test]
    fn the_root_of_an_x_ray_header_is_found_at_any_position() {
        for (header, is_valid) in [
            ("Root=1-4bf92f35-77b34da6a3ce929d0e0e4736", true),
            ("Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=53995c3f42cd8ad8;Sampled=1", true),
            ("Self=1-67891234-12456789abcdef012345678; Root=1-4bf92f35-77b34da6a3ce929d0e0e4736", true),
            ("Root=2-4bf92f35-77b34da6a3ce929d0e0e4736", false),
            ("Root=1-4bf92f3577b34da6a3ce929d0e0e4736", false),
            ("Root=1-4bf92f35-77b34da6a3ce929d0e0e47361", false),
            ("Root=1-4bf92f35-77b34da6a3ce929d0e0e473", false),
            ("Root=1-4bf92f35-", false),
            ("Root=1-00000000-000000000000000000000000", false),
            ("Root=1-4bf92f35-77b34da6a3ce929d0e0e473é", false),
            ("Self=1-4bf92f35-77b34da6a3ce929d0e0e4736", false),
            ("Root=", false),
            (";;", false),
        ] {
            let expected = is_valid.then(|| ID.to_owned());
            assert_eq!(trace_id(&[(X_AMZN_TRACE_ID, header)]), expected, "{header:?}");
        }
    }

    #[test]
    fn a_single_traceparent_takes_precedence_over_x_ray() {
        let x_ray = (X_AMZN_TRACE_ID, "Root=1-11111111-111111111111111111111111");
        let parent = (TRACEPARENT, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(trace_id(&[x_ray.clone(), parent.clone()]).unwrap(), ID);
        assert_eq!(trace_id(&[parent.clone(), x_ray.clone(), parent]).unwrap(), "1".repeat(32));
        assert_eq!(trace_id(&[(TRACEPARENT, "nonsense"), x_ray]).unwrap(), "1".repeat(32));
        assert_eq!(trace_id(&[]), None);
    }
}
