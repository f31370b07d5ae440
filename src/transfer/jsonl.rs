//! The format for backups: one JSON object per line.
//!
//! Each line contains a link's stored document and its counts.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    num::NonZeroU32,
};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{Entry, RowError, fields};
use crate::{
    clicks::DayCounts,
    is_default,
    link::{Document, Link, time},
    password,
    store::History,
};

/// The JSON object on a line. Timestamps are in RFC 3339 format.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    key: String,
    #[serde(default, with = "time::optional")]
    created_at: Option<Timestamp>,
    #[serde(default = "first")]
    version: NonZeroU32,
    #[serde(default, skip_serializing_if = "is_default")]
    visits: u64,
    /// The number of clicks on unknown days.
    #[serde(default, skip_serializing_if = "is_default")]
    undated_clicks: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    days: BTreeMap<Date, DayCounts>,
    #[serde(flatten)]
    doc: Document,
}

fn first() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// Writes an entry as a line.
pub(super) fn write(entry: Entry, output: &mut dyn Write) -> io::Result<()> {
    let Entry { link, history } = entry;
    let line = Line {
        key: link.key.to_string(),
        created_at: Some(link.created_at),
        version: NonZeroU32::new(link.version).unwrap_or(NonZeroU32::MIN),
        visits: history.visits,
        undated_clicks: history.undated_clicks,
        days: history.days,
        doc: link.doc,
    };
    serde_json::to_writer(&mut *output, &line)?;
    output.write_all(b"\n")
}

/// Parses a line.
///
/// # Errors
/// See [`RowError`]. An unknown field is an error, because it may be a misspelt option, or an option from a newer
/// version.
pub(super) fn parse(line: &[u8], now: Timestamp) -> Result<Entry, RowError> {
    let line: Line = serde_json::from_slice(line).map_err(|error| RowError::Json(error.to_string()))?;
    let mut doc = line.doc;
    if let Some(name) = doc.unknown_field() {
        return Err(RowError::Json(format!("unknown field `{name}`")));
    }
    if !doc.is_supported() {
        return Err(RowError::Unsupported);
    }
    if let Some(hash) = &doc.options.password {
        doc.options.password = Some(password::imported(hash.as_phc().into()).ok_or(RowError::Password)?);
    }
    if let Some(day) = line.days.keys().find(|day| day.year() < 0) {
        return Err(RowError::value("days", &day.to_string(), "a day of the years 0 to 9999"));
    }
    let days = line.days.into_iter().filter(|(_, counts)| !is_default(counts)).collect();
    let link = Link {
        key: fields::key(Some(&line.key))?,
        created_at: line.created_at.unwrap_or(now),
        version: line.version.get(),
        doc,
    };
    Entry::new(link, History { visits: line.visits, undated_clicks: line.undated_clicks, days })
}

/// Returns whether the start of a file looks like this format.
pub(super) fn fits(head: &str) -> bool {
    head.starts_with('{') && head.contains("\"key\"") && head.contains("\"target\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(line: &str) -> String {
        let entry = parse(line.as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
        let mut written = Vec::new();
        write(entry, &mut written).unwrap();
        String::from_utf8(written).unwrap().trim_end().to_owned()
    }

    #[test]
    fn a_full_line_round_trips_byte_for_byte() {
        let line = concat!(
            r#"{"key":"k","created_at":"2026-01-02T03:04:05.678Z","version":7,"visits":3,"undated_clicks":10,"#,
            r#""days":{"2026-06-01":{"people":3,"bots":5,"devices":{"mobile":2,"other":1},"#,
            r#""referrers":{"news.example":1}},"2026-06-02":{"people":1}},"#,
            r#""target":"https://example.com/","taken_down_at":"1969-12-31T23:59:59.999Z","#,
            r#""expires_at":"2999-12-31T23:59:59.999Z","max_visits":5,"#,
            r#""redirect":308,"forward_query":true,"title":"Ünïcode \"title\" 😀","tags":["a","b c"],"#,
            r#""password":"$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
        );
        assert_eq!(round_trip(line), line);
    }

    #[test]
    fn a_key_and_a_target_are_enough() {
        assert_eq!(
            round_trip(r#"{"key":"k","target":"https://example.com"}"#),
            r#"{"key":"k","created_at":"1970-01-01T00:00:00.000Z","version":1,"target":"https://example.com/"}"#
        );
    }

    #[test]
    fn an_invalid_member_is_refused_with_its_reason() {
        for (member, reason) in [
            (r#""colour":"red""#, "unknown field `colour`"),
            (r#""needs":99"#, "the link needs a newer version"),
            (r#""redirect":303"#, "a redirect is 301, 302, 307 or 308"),
            (r#""max_visits":0"#, "invalid value: integer `0`"),
            (r#""title":" ""#, "a title is 1 to 255 characters"),
            (r#""tags":["a,b"]"#, "a tag is 1 to 64 characters"),
            (r#""password":"secret""#, "the link has a password that can't be imported"),
            (
                r#""password":"$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0""#,
                "a password that can't be imported",
            ),
            (r#""created_at":"yesterday""#, "failed to parse"),
            (r#""days":{"2026-06-01":{"devices":{"toaster":1}}}"#, "unknown variant `toaster`"),
            (r#""days":{"-000001-06-01":{"people":1}}"#, "is not a day of the years 0 to 9999"),
            (r#""undated_clicks":18446744073709551615"#, "the counts exceed"),
            (r#""visits":9223372036854775808"#, "the counts exceed"),
        ] {
            let line = format!(r#"{{"key":"k","target":"https://example.com",{member}}}"#);
            let error = parse(line.as_bytes(), Timestamp::UNIX_EPOCH).unwrap_err().to_string();
            assert!(error.contains(reason), "{member}: {error}");
        }
    }

    #[test]
    fn hosts_that_differ_in_case_are_counted_together() {
        let line = r#"{"key":"k","target":"https://example.com","days":{"2026-06-01":{"referrers":{"A.example":1,"a.example":2}}}}"#;
        let entry = parse(line.as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
        let counts = entry.history.days.into_values().flat_map(|counts| counts.referrers.into_values());
        assert_eq!(counts.collect::<Vec<_>>(), [3]);
    }
}
