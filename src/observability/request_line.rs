//! The access-log line of a request.
//!
//! Every redirect writes an access-log line. In JSON format, the line does not pass through `tracing` field by field,
//! because that would cost as much as everything else that this service does for a redirect (`cargo bench --bench
//! instructions`). The line is filtered and formatted as if it had passed through `tracing`.

use std::{net::IpAddr, time::Duration};

use serde::{Serialize, Serializer};
use tracing::{Level, dispatcher};

use super::logging::JsonLines;

/// The maximum number of bytes logged for a method, path or user agent.
const MAX_LOGGED: usize = 512;

/// The fields of one access-log line.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct RequestLine<'a> {
    #[serde(serialize_with = "cut_off")]
    pub method: &'a str,
    /// The path without the query, because a query may contain secrets.
    #[serde(serialize_with = "cut_off")]
    pub path: &'a str,
    /// The path template of the route.
    pub route: &'a str,
    pub status: u16,
    /// The time from the request head to the response head.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
    pub request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    pub client_ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_off_if_any")]
    pub user_agent: Option<&'a str>,
    /// The source of the fallback URL, if the client was redirected to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<&'a str>,
    /// The cause of a 5xx response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
}

impl RequestLine<'_> {
    pub(crate) fn log(&self, level: Level) {
        macro_rules! log_at {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    method = cut(self.method),
                    path = cut(self.path),
                    route = self.route,
                    status = self.status,
                    duration_ms = in_milliseconds(self.duration),
                    request_id = self.request_id,
                    trace_id = self.trace_id,
                    client_ip = %self.client_ip,
                    user_agent = self.user_agent.map(cut),
                    fallback = self.fallback,
                    error = self.error,
                    "request"
                )
            };
        }
        if !self.log_as_json(level) {
            match level {
                Level::ERROR => log_at!(Level::ERROR),
                Level::DEBUG => log_at!(Level::DEBUG),
                _ => log_at!(Level::INFO),
            }
        }
    }

    /// Logs the line as JSON. Returns false if the log is in another format.
    fn log_as_json(&self, level: Level) -> bool {
        dispatcher::get_default(|dispatch| {
            let lines = dispatch.downcast_ref::<JsonLines>();
            if let Some(lines) = lines.filter(|lines| lines.takes(module_path!(), level)) {
                lines.append_object(level, "request", self);
            }
            lines.is_some()
        })
    }
}

/// Returns at most [`MAX_LOGGED`] bytes of `text`.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LOGGED)]
}

fn cut_off<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(cut(text))
}

fn cut_off_if_any<S: Serializer>(text: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    text.map(cut).serialize(serializer)
}

/// Returns a duration in milliseconds, truncated to whole microseconds.
fn in_milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(in_milliseconds(*duration))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::{Value, json};

    use super::*;
    use crate::observability::logging::write_json;

    const LINE: RequestLine<'_> = RequestLine {
        method: "GET",
        path: "/q0V8fYz",
        route: "/{key}",
        status: 302,
        duration: Duration::from_nanos(12_034_999),
        request_id: "id-1",
        trace_id: None,
        client_ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 255)),
        user_agent: None,
        fallback: None,
        error: None,
    };

    fn fields(line: RequestLine<'_>) -> Value {
        serde_json::to_value(line).unwrap()
    }

    #[test]
    fn a_line_omits_unknown_fields() {
        let usual = json!({
            "method": "GET", "path": "/q0V8fYz", "route": "/{key}", "status": 302,
            "duration_ms": 12.034, "request_id": "id-1", "client_ip": "192.0.2.255",
        });
        assert_eq!(fields(LINE), usual);
        let line = RequestLine {
            duration: Duration::from_micros(7),
            trace_id: Some("4bf9"),
            client_ip: "2001:db8::1".parse().unwrap(),
            user_agent: Some("a \"test\"\t\\ ä"),
            fallback: Some("gone"),
            error: Some("one\ntwo"),
            ..LINE
        };
        let fields = fields(line);
        assert_eq!(fields["duration_ms"], 0.007);
        assert_eq!(fields["trace_id"], "4bf9");
        assert_eq!(fields["client_ip"], "2001:db8::1");
        assert_eq!(fields["user_agent"], "a \"test\"\t\\ ä");
        assert_eq!(fields["fallback"], "gone");
        assert_eq!(fields["error"], "one\ntwo");
    }

    #[test]
    fn long_values_are_cut_at_a_character_boundary() {
        let long = format!("/{}", "ä".repeat(600));
        let fields = fields(RequestLine { method: &long, path: &long, user_agent: Some(&long), ..LINE });
        for field in ["method", "path", "user_agent"] {
            assert_eq!(fields[field].as_str().unwrap().len(), MAX_LOGGED - 1, "{field}");
        }
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        let text: String = (0..0x250).filter_map(char::from_u32).collect();
        let line = RequestLine { path: &text, error: Some(&text), ..LINE };
        let mut json = Vec::new();
        write_json(&mut json, &line);
        assert!(!str::from_utf8(&json).unwrap().contains(char::is_control));
        let fields: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!((&fields["path"], &fields["error"]), (&json!(cut(&text)), &json!(text)));
    }
}
