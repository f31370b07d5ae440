//! The service's own CSV, for spreadsheets: a link per row, and its clicks as one number.
//!
//! RFC 4180 in UTF-8, with a header. The columns are the fields of a link and, by their own names, all options. A cell that
//! a spreadsheet would take for a formula begins with an apostrophe (OWASP, "CSV injection"), which goes away when the
//! file comes back. Passwords are only said to exist, so a link that has one does not come back: it would be open to
//! everyone.

use std::{borrow::Cow, io::Write, sync::LazyLock};

use jiff::Timestamp;
use serde_json::Value;
use url::form_urlencoded;

use super::{
    Entry, Flaw,
    fields::{self, Fields, Layout, simplified},
};
use crate::{
    field_names::field_names,
    link::{Document, options::Options},
    store::History,
};

pub(super) const LAYOUT: Layout = Layout { marks: &[&["key", "target"], &["key", "url"]], entry };

/// The columns before those of the options.
const COLUMNS: [&str; 9] =
    ["key", "target", "state", "clicks", "created_at", "taken_down_at", "visits", "version", "needs"];

static OPTION_NAMES: LazyLock<&[&str]> = LazyLock::new(field_names::<Options>);

/// Returns the names of the columns.
pub(super) fn header() -> impl Iterator<Item = &'static str> {
    COLUMNS.into_iter().chain(OPTION_NAMES.iter().copied())
}

/// Writes a link as a row.
pub(super) fn write<W: Write>(entry: &Entry, now: Timestamp, output: &mut csv::Writer<W>) -> csv::Result<()> {
    let Entry { link, history } = entry;
    let row: [Cow<'_, str>; COLUMNS.len()] = [
        guarded(link.key.as_str()),
        guarded(link.doc.target.as_str()),
        link.state(now).as_str().into(),
        history.clicks().to_string().into(),
        link.created_at.to_string().into(),
        link.doc.taken_down_at.map_or_else(String::new, |time| time.to_string()).into(),
        history.visits.to_string().into(),
        link.version.to_string().into(),
        link.doc.needs().to_string().into(),
    ];
    let options = serde_json::to_value(&link.doc.options).map_err(std::io::Error::from)?;
    for cell in &row {
        output.write_field(cell.as_bytes())?;
    }
    for name in OPTION_NAMES.iter() {
        let cell = match &options[name] {
            Value::Null => String::new(),
            Value::String(_) if *name == "password" => "true".into(),
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            value => value.to_string(),
        };
        output.write_field(guarded(&cell).as_bytes())?;
    }
    output.write_record(None::<&[u8]>)
}

fn entry(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, Flaw> {
    let text = |names: &[&str]| fields.text(names).map(unguarded);
    if fields.flag("password")? {
        return Err(Flaw::Password);
    }
    if fields.count(&["needs"])? > Document::SUPPORTED.into() {
        return Err(Flaw::Unsupported);
    }
    let created_at = fields.time(&["createdat"])?;
    let key = fields::key(text(&["key"]))?;
    let mut link = fields::link(key, fields::target(text(&["target", "url"]))?, created_at, now);
    link.doc.taken_down_at = fields.time(&["takendownat"])?;
    link.doc.options = options(fields)?;
    let version: Option<std::num::NonZeroU32> = fields.parse("version", "a number of 1 or more")?;
    link.version = version.map_or(link.version, Into::into);
    let visits = fields.count(&["visits"])?;
    Entry::new(link, History { visits, ..fields::undated(fields.count(&["clicks"])?) })
}

/// Reads the options from the columns of their names. Timestamps, whose names end in `_at`, may have any form that
/// [`fields::time`] reads.
fn options(fields: &Fields<'_>) -> Result<Options, Flaw> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for name in OPTION_NAMES.iter().copied().filter(|name| *name != "password") {
        let Some(cell) = fields.optional(&[&simplified(name)]).map(unguarded) else { continue };
        if name.ends_with("_at") {
            form.append_pair(name, &fields::time_of(name, cell)?.to_string());
        } else {
            form.append_pair(name, cell);
        }
    }
    serde_html_form::from_str(&form.finish()).map_err(|error| Flaw::Json(error.to_string()))
}

/// Returns whether a spreadsheet would evaluate this text, or an import take it for a missing value. Apostrophes before it
/// count as part of the guard, so that a text with one of its own comes back with it.
fn is_special(text: &str) -> bool {
    let text = text.trim_start_matches('\'');
    text.starts_with(['=', '+', '-', '@', '\t', '\r']) || fields::is_null(text)
}

fn guarded(text: &str) -> Cow<'_, str> {
    if is_special(text) { format!("'{text}").into() } else { text.into() }
}

fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| is_special(text)).unwrap_or(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_needs_a_newer_program_is_refused() {
        let read = |needs: &'static str| {
            let mut fields = Fields::default();
            for (name, value) in [("key", "k"), ("target", "https://example.com"), ("needs", needs)] {
                fields.push(name, value);
            }
            entry(&fields, Timestamp::UNIX_EPOCH)
        };
        assert!(read("").is_ok() && read("0").is_ok() && read("1").is_ok());
        assert_eq!(read("99"), Err(Flaw::Unsupported));
    }

    #[test]
    fn a_formula_and_a_null_are_guarded_and_come_back() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            ("-x", "'-x"),
            ("@x", "'@x"),
            ("'=1", "''=1"),
            ("NULL", "'NULL"),
            ("plain", "plain"),
            ("'quoted'", "'quoted'"),
            ("", ""),
        ] {
            assert_eq!(guarded(text), cell);
            assert_eq!(unguarded(cell), text);
        }
    }
}
