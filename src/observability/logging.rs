//! Log lines: one JSON object each, `{"ts","level","msg",…}`, or text for a person.

use std::{cell::RefCell, fmt, fmt::Write as _, io::Write as _};

use clap::ValueEnum;
use jiff::Timestamp;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt},
};

use super::log_sink::LogSink;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Plain text, for a terminal.
    Text,
}

/// A subscriber that sends the events that pass `filter` to `sink`.
pub fn subscriber(filter: Targets, format: LogFormat, sink: LogSink) -> Box<dyn Subscriber + Send + Sync> {
    let layer = match format {
        LogFormat::Json => JsonLines { sink }.boxed(),
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
struct JsonLines {
    sink: LogSink,
}

impl<S: Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(512));
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            let level = event.metadata().level();
            // Writing to memory can't fail.
            let _ = write!(line, r#"{{"ts":"{:.3}","level":"{level}""#, Timestamp::now());
            event.record(&mut JsonFields { line, text: String::new() });
            line.extend_from_slice(b"}\n");
            self.sink.append(line);
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
        self.value(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.value(field, Chain(value).to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let _ = write!(text, "{value:?}");
        self.value(field, text.as_str());
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
