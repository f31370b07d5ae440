//! Log lines: one JSON object each, `{"ts","level","msg",…}`, or text for a person.

use std::{cell::RefCell, fmt, fmt::Write as _, io::Write as _, time::SystemTime};

use jiff::Timestamp;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt},
};

use crate::config::{LogFormat, LogOptions};

use super::{json::write_string, log_sink::LogSink, request_line::write_thousandths};

/// Returns a subscriber that sends events to `sink`.
pub fn subscriber(options: &LogOptions, sink: LogSink) -> Box<dyn Subscriber + Send + Sync> {
    let filter = options.log_level.clone();
    let layer = match options.log_format {
        LogFormat::Json => JsonLines { sink, filter: filter.clone() }.boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(sink).with_ansi(false).boxed(),
    };
    Box::new(tracing_subscriber::registry().with(layer.with_filter(filter)))
}

/// Logs a panic as one line, wherever it happens, instead of the text that the standard library would print.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let reason = panic.payload_as_str().unwrap_or("of another type than text");
        tracing::error!(reason, location, "panic");
    }));
}

/// Writes each event as one JSON object.
pub(super) struct JsonLines {
    sink: LogSink,
    filter: Targets,
}

impl JsonLines {
    /// Whether what comes from `target` at `level` is to be logged.
    pub(super) fn take(&self, target: &str, level: Level) -> bool {
        self.filter.would_enable(target, &level)
    }

    /// Writes one line, whose fields after the time and the level `write_fields` adds.
    pub(super) fn append(&self, level: Level, write_fields: impl FnOnce(&mut Vec<u8>)) {
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

/// Writes times; what is the same for all of a second is kept.
#[derive(Default)]
struct Stamp {
    second: u64,
    /// The time up to the second, without an ending.
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
        write_thousandths(line, now.subsec_millis().into());
        line.push(b'Z');
    }
}

impl<S: Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        self.append(*event.metadata().level(), |line| {
            event.record(&mut JsonFields { line, text: String::new() });
        });
    }
}

struct JsonFields<'a> {
    line: &'a mut Vec<u8>,
    text: String,
}

impl JsonFields<'_> {
    fn name(&mut self, field: &Field) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        let _ = write!(self.line, r#","{name}":"#);
    }

    fn value(&mut self, field: &Field, value: impl serde::Serialize) {
        self.name(field);
        // What serde_json can't represent, such as a NaN, becomes null by itself.
        let _ = serde_json::to_writer(&mut *self.line, &value);
    }
}

impl Visit for JsonFields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        write_string(self.line, value);
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

/// An error together with what caused it, outermost first; a cause that the error before it has said already is not
/// said again.
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
