//! Which distributed trace a request belongs to, so that its log line can be found from there.

use std::str;

use axum::http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Hexadecimal digits in the id of a trace.
const TRACE_DIGITS: usize = 32;

/// Hexadecimal digits in the id of a span.
const SPAN_DIGITS: usize = 16;

/// The id of a trace: 32 lower-case hexadecimal digits, not all of them zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId([u8; TRACE_DIGITS]);

impl TraceId {
    /// The id that the headers carry: that of W3C Trace Context, or else that of AWS X-Ray, which load balancers add.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        match (parents.next(), parents.next()) {
            (Some(parent), None) => Self::from_traceparent(parent.as_bytes()),
            // The standard allows only one; of two, nobody knows which is right.
            _ => None,
        }
        .or_else(|| Self::from_x_ray(headers.get(X_AMZN_TRACE_ID)?.as_bytes()))
    }

    /// Reads `version-trace-parent-flags` (<https://www.w3.org/TR/trace-context/#traceparent-header>). Versions to come
    /// may append fields; version ff is not allowed.
    fn from_traceparent(header: &[u8]) -> Option<Self> {
        let mut fields = header.split(|byte| *byte == b'-');
        let version = hex(fields.next()?, 2).filter(|version| *version != b"ff")?;
        let trace = fields.next()?;
        hex(fields.next()?, SPAN_DIGITS).filter(|parent| !is_zero(parent))?;
        hex(fields.next()?, 2)?;
        if version == b"00" && fields.next().is_some() {
            return None;
        }
        Self::from_digits(trace)
    }

    /// Reads `Root=1-TIME-UNIQUE` among fields separated by semicolons. The 8 digits of the time and the 24 others
    /// together are the id that the W3C form would have
    /// (<https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-traceids>).
    fn from_x_ray(header: &[u8]) -> Option<Self> {
        let mut fields = header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let root = fields.find_map(|field| field.strip_prefix(b"Root=1-"))?;
        let (time, unique) = (root.get(..8)?, root.get(8..)?.strip_prefix(b"-")?);
        let mut digits = [0; TRACE_DIGITS];
        digits[..8].copy_from_slice(time);
        digits[8..].copy_from_slice(unique.get(..24).filter(|_| unique.len() == 24)?);
        Self::from_digits(&digits)
    }

    fn from_digits(digits: &[u8]) -> Option<Self> {
        let digits = hex(digits, TRACE_DIGITS).filter(|digits| !is_zero(digits))?;
        digits.try_into().ok().map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// `text`, if it is that many lower-case hexadecimal digits.
fn hex(text: &[u8], digits: usize) -> Option<&[u8]> {
    let is_hex = text.len() == digits && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then_some(text)
}

fn is_zero(digits: &[u8]) -> bool {
    digits.iter().all(|digit| *digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn trace_id(headers: &[(HeaderName, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        TraceId::of(&map).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
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
    fn the_root_of_an_x_ray_header_is_read_wherever_it_stands() {
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
    fn the_standard_goes_first_and_only_where_it_stands_once() {
        let x_ray = (X_AMZN_TRACE_ID, "Root=1-11111111-111111111111111111111111");
        let parent = (TRACEPARENT, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(trace_id(&[x_ray.clone(), parent.clone()]).unwrap(), ID);
        assert_eq!(trace_id(&[parent.clone(), x_ray.clone(), parent]).unwrap(), "1".repeat(32));
        assert_eq!(trace_id(&[(TRACEPARENT, "nonsense"), x_ray]).unwrap(), "1".repeat(32));
        assert_eq!(trace_id(&[]), None);
    }
}
