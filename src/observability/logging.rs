//! Logging, either as one JSON object per line (`{"ts","level","msg",…}`) or as human-readable text.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    io::{self, Write as _},
    time::SystemTime,
};

use jiff::Timestamp;
use memchr::memchr2;
use serde::Serialize;
use serde_json::ser::Formatter;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt},
};

use super::log_sink::LogSink;
use crate::config::{LogFormat, LogOptions};

/// Returns a subscriber that sends events to `sink`.
pub fn subscriber(options: &LogOptions, sink: LogSink) -> Box<dyn Subscriber + Send + Sync> {
    let filter = options.log_level.clone();
    let layer = match options.log_format {
        LogFormat::Json => JsonLines { sink, filter: filter.clone() }.boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(sink).with_ansi(false).boxed(),
    };
    Box::new(tracing_subscriber::registry().with(layer.with_filter(filter)))
}

/// Installs a panic hook that logs each panic as one line.
///
/// It replaces the hook of the standard library, which prints several lines of text.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let reason = panic.payload_as_str().unwrap_or("of another type than text");
        tracing::error!(reason, location, "panic");
    }));
}

/// A layer that writes each event as one JSON object.
pub(super) struct JsonLines {
    sink: LogSink,
    filter: Targets,
}

impl JsonLines {
    /// Returns whether events from `target` at `level` are logged.
    pub(super) fn takes(&self, target: &str, level: Level) -> bool {
        self.filter.would_enable(target, &level)
    }

    /// Writes a line with a message and the fields of `object`.
    ///
    /// `object` must be a struct with at least one field.
    pub(super) fn append_object(&self, level: Level, message: &'static str, object: &impl Serialize) {
        self.append(level, |line| {
            line.extend_from_slice(br#","msg":""#);
            line.extend_from_slice(message.as_bytes());
            line.push(b'"');
            let start = line.len();
            write_json(line, object);
            // Merge the fields into the line's own object: replace `{` with a comma, and remove `}`, because `append`
            // writes it.
            line[start] = b',';
            line.pop();
        });
    }

    /// Writes a line with the time, the level, and the fields that `write_fields` appends.
    fn append(&self, level: Level, write_fields: impl FnOnce(&mut Vec<u8>)) {
        thread_local! {
            static BUFFERS: RefCell<(Vec<u8>, Stamp)> = RefCell::new((Vec::with_capacity(1024), Stamp::default()));
        }
        BUFFERS.with_borrow_mut(|(line, stamp)| {
            line.clear();
            line.extend_from_slice(br#"{"ts":""#);
            stamp.write(line, SystemTime::now());
            line.extend_from_slice(br#"","level":""#);
            line.extend_from_slice(level.as_str().as_bytes());
            line.push(b'"');
            write_fields(line);
            line.extend_from_slice(b"}\n");
            self.sink.append(line);
        });
    }
}

/// A timestamp writer that caches the text of the current second.
#[derive(Default)]
struct Stamp {
    second: u64,
    /// The timestamp up to the second, without the final `Z`.
    text: String,
}

impl Stamp {
    fn write(&mut self, line: &mut Vec<u8>, now: SystemTime) {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.second != now.as_secs() || self.text.is_empty() {
            self.second = now.as_secs();
            let second =
                i64::try_from(self.second).ok().and_then(|second| Timestamp::from_second(second).ok());
            self.text = second.unwrap_or_default().to_string();
            self.text.pop();
        }
        line.extend_from_slice(self.text.as_bytes());
        line.push(b'.');
        line.extend([100, 10, 1].map(|place| b"0123456789"[(now.subsec_millis() / place % 10) as usize]));
        line.push(b'Z');
    }
}

impl<S: Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        self.append(*metadata.level(), |line| {
            if !is_own(metadata.target()) {
                line.extend_from_slice(br#","source":"#);
                write_json(line, metadata.target());
            }
            event.record(&mut JsonFields { line, text: String::new() });
        });
    }
}

/// Returns whether the target of an event is a module of this program, not of a library.
fn is_own(target: &str) -> bool {
    target.split("::").next() == Some(env!("CARGO_CRATE_NAME"))
}

struct JsonFields<'a> {
    line: &'a mut Vec<u8>,
    text: String,
}

impl JsonFields<'_> {
    fn value(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        let _ = write!(self.line, r#","{name}":"#);
        write_json(self.line, value);
    }
}

impl Visit for JsonFields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.value(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_str(field, &Chain(value).to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
        self.text = text;
    }
}

/// A formatter that escapes DEL and the C1 control characters.
///
/// JSON allows them without an escape.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        for character in text.chars() {
            match character {
                control if control.is_control() => write!(writer, "\\u{:04x}", u32::from(control))?,
                other => write!(writer, "{other}")?,
            }
        }
        Ok(())
    }
}

/// Writes `value` as JSON without control characters.
///
/// Without them, a log line can't control the terminal that displays it. Values that JSON can't represent, such as NaN,
/// become null.
pub(super) fn write_json(line: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let start = line.len();
    // Writing to memory can't fail, and all keys in the log are strings.
    let _ = serde_json::to_writer(&mut *line, value);
    // In UTF-8, C1 control characters begin with the byte C2. Searching the output once costs less than using a
    // formatter that checks every string.
    if memchr2(0x7f, 0xc2, &line[start..]).is_some() {
        line.truncate(start);
        let _ = value.serialize(&mut serde_json::Serializer::with_formatter(line, Escaping));
    }
}

/// An error and its causes, outermost first.
///
/// A cause is omitted if the text of the error before it already ends with the cause's text.
pub struct Chain<'a>(pub &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        formatter.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.ends_with(&text) {
                write!(formatter, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_survives_a_round_trip_and_no_control_character_is_written() {
        for character in (0..0x250).filter_map(char::from_u32) {
            let (mut line, text) = (Vec::new(), format!("a{character}b"));
            write_json(&mut line, &text);
            assert!(!str::from_utf8(&line).unwrap().contains(char::is_control), "{character:?}");
            assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
        }
    }
}
