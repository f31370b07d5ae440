//! The CSV format for spreadsheets: one link per row, without daily statistics.
//!
//! The file follows RFC 4180, in UTF-8 and with a header. Its columns are the fields of a link, followed by all options
//! under their own names. A cell that a spreadsheet would evaluate as a formula gets a leading apostrophe (OWASP, "CSV
//! injection"), which an import removes. The `password` column only shows whether the link has a password. A link with
//! a password can't be imported, because without the password the link would be open to everyone.

use std::{borrow::Cow, io::Write, num::NonZeroU32, sync::LazyLock};

use jiff::Timestamp;
use serde_json::Value;
use url::form_urlencoded;

use super::{
    Entry, RowError,
    fields::{self, Fields, simplified},
};
use crate::{
    field_names::field_names,
    link::{Creator, Document, Link, options::Options},
    store::History,
};

/// The columns before the options.
const COLUMNS: [&str; 10] = [
    "key",
    "target",
    "state",
    "clicks",
    "created_at",
    "created_by",
    "taken_down_at",
    "visits",
    "version",
    "needs",
];

static OPTION_NAMES: LazyLock<&[&str]> = LazyLock::new(field_names::<Options>);

pub(super) fn header() -> impl Iterator<Item = &'static str> {
    COLUMNS.into_iter().chain(OPTION_NAMES.iter().copied())
}

/// Writes an entry as a row, with its state at `now`.
pub(super) fn write<W: Write>(entry: &Entry, now: Timestamp, output: &mut csv::Writer<W>) -> csv::Result<()> {
    let Entry { link, history } = entry;
    let row: [Cow<'_, str>; COLUMNS.len()] = [
        guarded(link.key.as_str()),
        guarded(link.doc.target.as_str()),
        link.state(now).as_str().into(),
        history.clicks().to_string().into(),
        link.created_at.to_string().into(),
        guarded(link.doc.created_by.as_str()),
        link.doc.taken_down_at.map_or_else(String::new, |time| time.to_string()).into(),
        history.visits.to_string().into(),
        link.version.to_string().into(),
        link.doc.needs().to_string().into(),
    ];
    let options = serde_json::to_value(&*link.doc.options).map_err(std::io::Error::from)?;
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

/// Parses a row of any CSV that has `key` and `target` columns.
pub(super) fn parse(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, RowError> {
    let text = |names: &[&str]| fields.text(names).map(unguarded);
    if fields.flag("password")? {
        return Err(RowError::Password);
    }
    if fields.count(&["needs"])? > Document::SUPPORTED.into() {
        return Err(RowError::Unsupported);
    }
    let created_at = fields.time(&["createdat"])?.unwrap_or(now);
    let key = fields::key(text(&["key"]))?;
    let mut link = Link::new(key, fields::target(text(&["target", "url"]))?, created_at);
    let created_by =
        fields.parse(&["createdby"], "the name of a token", |text| unguarded(text).parse().ok())?;
    link.doc.created_by = created_by.unwrap_or(Creator::IMPORT);
    link.doc.taken_down_at = fields.time(&["takendownat"])?;
    link.doc.options = options(fields)?.into();
    let version =
        fields.parse(&["version"], "a number of 1 or more", |text| text.parse::<NonZeroU32>().ok())?;
    link.version = version.map_or(link.version, Into::into);
    let (visits, undated_clicks) = (fields.count(&["visits"])?, fields.count(&["clicks"])?);
    Entry::new(link, History { visits, undated_clicks, ..History::default() })
}

/// Parses the options.
///
/// Options whose names end in `_at` are timestamps. They can have any format that [`fields::time`] parses.
fn options(fields: &Fields<'_>) -> Result<Options, RowError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for name in OPTION_NAMES.iter().copied().filter(|name| *name != "password") {
        let Some(cell) = fields.optional(&[&simplified(name)]).map(unguarded) else { continue };
        if name.ends_with("_at") {
            let time = fields::time(cell).ok_or_else(|| RowError::value(name, cell, fields::A_TIME))?;
            form.append_pair(name, &time.to_string());
        } else {
            form.append_pair(name, cell);
        }
    }
    serde_html_form::from_str(&form.finish()).map_err(|error| RowError::Json(error.to_string()))
}

/// Returns whether `text` needs a leading apostrophe.
///
/// Without one, a spreadsheet would evaluate the text as a formula, or an import would read it as null. The check
/// ignores apostrophes at the start of the text, so that they survive a round trip.
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
            parse(&fields, Timestamp::UNIX_EPOCH)
        };
        assert!(read("").is_ok() && read("0").is_ok() && read("1").is_ok());
        assert_eq!(read("99"), Err(RowError::Unsupported));
    }

    #[test]
    fn a_formula_and_a_null_survive_a_round_trip() {
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
