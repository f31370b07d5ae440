//! The line that each request leaves in the log.
//!
//! Every redirect writes one, so as JSON it is put together by hand: that its fields pass through `tracing` one by one,
//! each as something that could be anything, would cost as much as all else that a redirect does in this service
//! (`cargo bench --bench instructions`). It is filtered, and looks, as if they had.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use tracing::{Level, dispatcher};

use super::{json::write_string, logging::JsonLines};

/// Bytes of a method, path or user agent that are logged. The rest is cut off.
const MAX_LOGGED: usize = 512;

/// What is said of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// Such as `GET`.
    pub method: &'a str,
    /// The path without its query, which may bear secrets.
    pub path: &'a str,
    /// The template of the path.
    pub route: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// From the head of the request to that of its answer.
    pub duration: Duration,
    /// By which client and service know the request.
    pub request_id: &'a str,
    /// The distributed trace that the request belongs to.
    pub trace_id: Option<&'a str>,
    /// Who asked.
    pub client_ip: IpAddr,
    /// What it calls itself.
    pub user_agent: Option<&'a str>,
    /// Why the service failed, where it did.
    pub error: Option<&'a str>,
}

impl RequestLine<'_> {
    /// Logs it as an error, for debugging, or as the usual.
    pub fn log(&self, level: Level) {
        macro_rules! log_at {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    method = cut(self.method),
                    path = cut(self.path),
                    route = self.route,
                    status = self.status,
                    duration_ms = (self.duration.as_secs_f64() * 1e6).round() / 1e3,
                    request_id = self.request_id,
                    trace_id = self.trace_id,
                    client_ip = %self.client_ip,
                    user_agent = self.user_agent.map(cut),
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

    /// False where the log is not JSON.
    fn log_as_json(&self, level: Level) -> bool {
        dispatcher::get_default(|dispatch| {
            let lines = dispatch.downcast_ref::<JsonLines>();
            if let Some(lines) = lines.filter(|lines| lines.take(module_path!(), level)) {
                lines.append(level, |line| self.write_fields(line));
            }
            lines.is_some()
        })
    }

    fn write_fields(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(br#","msg":"request","method":"#);
        write_string(line, cut(self.method));
        line.extend_from_slice(br#","path":"#);
        write_string(line, cut(self.path));
        line.extend_from_slice(br#","route":"#);
        write_string(line, self.route);
        line.extend_from_slice(br#","status":"#);
        write_number(line, self.status.into());
        line.extend_from_slice(br#","duration_ms":"#);
        let micros = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX);
        write_number(line, micros / 1000);
        line.push(b'.');
        write_thousandths(line, micros % 1000);
        line.extend_from_slice(br#","request_id":"#);
        write_string(line, self.request_id);
        if let Some(trace_id) = self.trace_id {
            line.extend_from_slice(br#","trace_id":"#);
            write_string(line, trace_id);
        }
        line.extend_from_slice(br#","client_ip":""#);
        write_address(line, self.client_ip);
        line.push(b'"');
        if let Some(agent) = self.user_agent {
            line.extend_from_slice(br#","user_agent":"#);
            write_string(line, cut(agent));
        }
        if let Some(error) = self.error {
            line.extend_from_slice(br#","error":"#);
            write_string(line, error);
        }
    }
}

/// At most [`MAX_LOGGED`] bytes of `text`.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LOGGED)]
}

fn write_number(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes three digits of a number below 1000.
pub(super) fn write_thousandths(line: &mut Vec<u8>, number: u64) {
    line.extend([100, 10, 1].map(|place| b"0123456789"[(number / place % 10) as usize]));
}

fn write_address(line: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => write_v4(line, address),
        IpAddr::V6(address) => {
            let _ = write!(line, "{address}");
        }
    }
}

fn write_v4(line: &mut Vec<u8>, address: Ipv4Addr) {
    let [first, rest @ ..] = address.octets();
    write_number(line, first.into());
    for octet in rest {
        line.push(b'.');
        write_number(line, octet.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

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
        error: None,
    };

    fn fields(line: RequestLine<'_>) -> Value {
        let mut text = br#"{"ts":0"#.to_vec();
        line.write_fields(&mut text);
        text.push(b'}');
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn a_line_has_what_is_known() {
        let usual = json!({
            "ts": 0, "msg": "request", "method": "GET", "path": "/q0V8fYz", "route": "/{key}", "status": 302,
            "duration_ms": 12.034, "request_id": "id-1", "client_ip": "192.0.2.255",
        });
        assert_eq!(fields(LINE), usual);
        let line = RequestLine {
            duration: Duration::from_micros(7),
            trace_id: Some("4bf9"),
            client_ip: "2001:db8::1".parse().unwrap(),
            user_agent: Some("a \"test\"\t\\ ä"),
            error: Some("one\ntwo"),
            ..LINE
        };
        let fields = fields(line);
        assert_eq!(fields["duration_ms"], 0.007);
        assert_eq!(fields["trace_id"], "4bf9");
        assert_eq!(fields["client_ip"], "2001:db8::1");
        assert_eq!(fields["user_agent"], "a \"test\"\t\\ ä");
        assert_eq!(fields["error"], "one\ntwo");
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        let long = format!("/{}", "ä".repeat(600));
        let fields = fields(RequestLine { method: &long, path: &long, user_agent: Some(&long), ..LINE });
        for field in ["method", "path", "user_agent"] {
            assert_eq!(fields[field].as_str().unwrap().len(), MAX_LOGGED - 1, "{field}");
        }
    }
}
