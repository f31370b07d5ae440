//! A row's named fields, and the parsers for their values.

use std::borrow::Cow;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{
    Entry,
    row::{RowError, excerpt},
};
use crate::{
    link::{
        Creator, Key, Link, Target,
        options::{Tags, Title, parse_flag},
        time::whole_milliseconds,
    },
    store::History,
};

/// Field names and values, in the order of the file.
///
/// Comparisons of names ignore case, spaces, `_` and `-`, so `Long URL`, `long_url` and `longUrl` are equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    /// Adds a value. The name must come from [`simplified`].
    pub(super) fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.0.push((name.into(), value.into()));
    }

    /// Returns all names, for an error message.
    pub(super) fn names(&self) -> String {
        self.0.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Returns the value of the first non-empty field in `names`.
    pub(super) fn text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| {
            let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
            Some(value.trim()).filter(|value| !value.is_empty())
        })
    }

    /// Returns [`Self::text`], or `None` if the text is a database tool's null.
    ///
    /// Don't use this for keys, because `NULL` is a valid key.
    pub(super) fn optional(&self, names: &[&str]) -> Option<&str> {
        self.text(names).filter(|value| !is_null(value))
    }

    /// Parses a value, if there is one.
    ///
    /// `expected` describes a valid value in the error message.
    pub(super) fn parse<T>(
        &self,
        names: &[&'static str],
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, RowError> {
        let Some(text) = self.optional(names) else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| RowError::value(names[0], text, expected))
    }

    /// Parses a number of clicks or visits. Returns 0 if the field is empty.
    pub(super) fn count(&self, names: &[&'static str]) -> Result<u64, RowError> {
        Ok(self.parse(names, "a count", |text| text.parse().ok())?.unwrap_or(0))
    }

    pub(super) fn time(&self, names: &[&'static str]) -> Result<Option<Timestamp>, RowError> {
        self.parse(names, A_TIME, time)
    }

    /// Parses a boolean. Returns false if the field is empty.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, RowError> {
        Ok(self.parse(&[name], "true or false", parse_flag)?.unwrap_or(false))
    }

    /// Returns a title on one line, truncated to the maximum length.
    pub(super) fn title(&self, name: &str) -> Option<Title> {
        let line = self.optional(&[name])?.replace(char::is_control, " ");
        line.trim().chars().take(Title::MAX_CHARS).collect::<String>().parse().ok()
    }

    /// Parses the `tags` field.
    pub(super) fn tags(&self, separators: &[char]) -> Result<Tags, RowError> {
        let text = self.optional(&["tags"]).unwrap_or_default();
        Ok(Tags::parse(text.split(separators).filter(|tag| !tag.trim().is_empty()))?)
    }

    /// Adds the total clicks to a link from another service. The days of the clicks are unknown.
    pub(super) fn with_clicks(&self, mut link: Link, names: &[&'static str]) -> Result<Entry, RowError> {
        link.doc.created_by = Creator::IMPORT;
        Entry::new(link, History { undated_clicks: self.count(names)?, ..History::default() })
    }
}

/// Returns whether `text` is a database tool's notation for null.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "NULL" | "\\N")
}

/// Returns a name in the form used for comparisons.
pub(super) fn simplified(name: &str) -> String {
    name.chars().filter(|char| !matches!(char, ' ' | '_' | '-')).flat_map(char::to_lowercase).collect()
}

pub(super) fn key(text: Option<&str>) -> Result<Key, RowError> {
    let text = text.ok_or(RowError::Missing("key"))?;
    text.parse().map_err(|error| RowError::Key(excerpt(text), error))
}

pub(super) fn target(text: Option<&str>) -> Result<Target, RowError> {
    Ok(text.ok_or(RowError::Missing("target"))?.parse()?)
}

/// The description of a valid timestamp, for error messages.
pub(super) const A_TIME: &str = "a date and time";

/// Parses a timestamp as written by services, databases and spreadsheets.
///
/// The timestamp can be in RFC 3339 or a similar format, or Unix time in seconds or milliseconds. Without an offset, it
/// is in UTC.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    /// As milliseconds, this number is a time in 1973; as seconds, it is a time in 5138. Real timestamps lie between
    /// those years.
    const FIRST_IN_MILLISECONDS: i64 = 100_000_000_000;
    let found = match text.parse::<i64>() {
        Ok(number) if number.abs() < FIRST_IN_MILLISECONDS => Timestamp::from_second(number).ok()?,
        Ok(number) => Timestamp::from_millisecond(number).ok()?,
        Err(_) => text.parse().ok().or_else(|| {
            let local: DateTime = text.parse().ok()?;
            Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp())
        })?,
    };
    whole_milliseconds(found).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_databases_and_services_write_them() {
        for (text, expected) in [
            ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z"),
            ("2026-01-02T03:04:05.678912Z", "2026-01-02T03:04:05.678Z"),
            ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
            ("2026-01-02T03:04:05+0000", "2026-01-02T03:04:05Z"),
            ("2026-01-02 03:04:05", "2026-01-02T03:04:05Z"),
            ("2026-01-02 03:04:05.678+00", "2026-01-02T03:04:05.678Z"),
            ("2026-01-02", "2026-01-02T00:00:00Z"),
            ("1767323045", "2026-01-02T03:04:05Z"),
            ("1767323045678", "2026-01-02T03:04:05.678Z"),
        ] {
            assert_eq!(time(text), Some(expected.parse().unwrap()), "{text}");
        }
        for text in [
            "yesterday",
            "02/03/2026",
            "2026-13-01",
            "99999999999999999",
            "-50000-01-01",
            "9999-12-30T22:00:00.999Z",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn a_title_from_another_service_is_shortened() {
        let title = |text: &str| {
            let mut fields = Fields::default();
            fields.push("title", text);
            fields.title("title").map(|title| title.as_str().to_owned())
        };
        assert_eq!(title(" two\nlines\t").unwrap(), "two lines");
        assert_eq!(title(&"ä".repeat(300)).unwrap(), "ä".repeat(255));
        assert_eq!(title("\n"), None);
    }

    #[test]
    fn null_means_no_value() {
        let mut fields = Fields::default();
        for (name, value) in [("a", "NULL"), ("b", "\\N"), ("c", " "), ("d", " x ")] {
            fields.push(name, value);
        }
        assert_eq!((fields.optional(&["a"]), fields.optional(&["b"])), (None, None));
        assert_eq!((fields.text(&["a"]), fields.text(&["c", "d"])), (Some("NULL"), Some("x")));
        assert_eq!(simplified("Long_URL - Link"), "longurllink");
    }
}
