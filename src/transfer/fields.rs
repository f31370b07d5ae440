//! The values of one link in a file by their names, and how to read them.

use std::borrow::Cow;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{Entry, Flaw};
use crate::{
    link::{
        Key, Link, Target,
        options::{Tags, Title, parse_flag},
        time::whole_milliseconds,
    },
    store::History,
};

/// How another service, or a spreadsheet, lays out a link.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Groups of names, all of which a file of this layout has, in one of the groups.
    pub(super) marks: &'static [&'static [&'static str]],
    /// Reads a link. What the file does not date was made now.
    pub(super) entry: fn(&Fields<'_>, Timestamp) -> Result<Entry, Flaw>,
}

impl Layout {
    /// Whether a file with these fields has this layout.
    pub(super) fn fits(&self, fields: &Fields<'_>) -> bool {
        self.marks.iter().any(|group| group.iter().all(|name| fields.has(name)))
    }
}

/// Names with their values. In names, case, spaces, `_` and `-` do not count: `Long URL` is `long_url` is `longUrl`.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    /// Adds a value under a name that [`simplified`] has made.
    pub(super) fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.0.push((name.into(), value.into()));
    }

    /// The names, for a message.
    pub(super) fn names(&self) -> String {
        self.0.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(", ")
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The first of `names` that has a value.
    pub(super) fn text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| {
            let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
            Some(value.trim()).filter(|value| !value.is_empty())
        })
    }

    /// The same for a value that may be null, as database tools write it. A key may well be `NULL`.
    pub(super) fn optional(&self, names: &[&str]) -> Option<&str> {
        self.text(names).filter(|value| !is_null(value))
    }

    /// A value of some type, if there is one. What it is meant to be, `wanted`, goes into the message.
    pub(super) fn parse<T: std::str::FromStr>(
        &self,
        name: &'static str,
        wanted: &'static str,
    ) -> Result<Option<T>, Flaw> {
        self.read(&[name], wanted, |text| text.parse().ok())
    }

    /// A number of clicks or visits; 0 where there is none.
    pub(super) fn count(&self, names: &[&'static str]) -> Result<u64, Flaw> {
        Ok(self.read(names, "a count", |text| text.parse().ok())?.unwrap_or(0))
    }

    /// A point in time, if there is one.
    pub(super) fn time(&self, names: &[&'static str]) -> Result<Option<Timestamp>, Flaw> {
        self.read(names, "a date and time", time)
    }

    /// Yes or no; no where nothing is said.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Flaw> {
        Ok(self.read(&[name], "true or false", parse_flag)?.unwrap_or(false))
    }

    fn read<T>(
        &self,
        names: &[&'static str],
        wanted: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Flaw> {
        let Some(text) = self.optional(names) else { return Ok(None) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Flaw::Value { name: names[0], value: excerpt(text), wanted }),
        }
    }
}

/// Returns whether a database tool has written a missing value.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "NULL" | "\\N")
}

/// A name as it is compared.
pub(super) fn simplified(name: &str) -> String {
    name.chars().filter(|char| !matches!(char, ' ' | '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Reads a key.
///
/// # Errors
/// [`Flaw::Missing`], [`Flaw::Key`].
pub(super) fn key(text: Option<&str>) -> Result<Key, Flaw> {
    let text = text.ok_or(Flaw::Missing("key"))?;
    text.parse().map_err(|error| Flaw::Key(excerpt(text), error))
}

/// Reads a target.
///
/// # Errors
/// [`Flaw::Missing`], [`Flaw::Target`].
pub(super) fn target(text: Option<&str>) -> Result<Target, Flaw> {
    Ok(text.ok_or(Flaw::Missing("target"))?.parse()?)
}

/// The key at the end of a short URL, with or without a scheme: `docs` of `https://sho.rt/docs` and of `sho.rt/docs`.
pub(super) fn key_of_short_url(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.rsplit_once('/').map_or(url, |(_, key)| key)
}

/// The nearest title to what another service has kept as one: on one line, and cut where ours end.
pub(super) fn title(text: Option<&str>) -> Option<Title> {
    let line = text?.replace(char::is_control, " ");
    line.trim().chars().take(Title::MAX_CHARS).collect::<String>().parse().ok()
}

/// Reads tags that `separators` stand between.
///
/// # Errors
/// [`Flaw::Tags`].
pub(super) fn tags(text: Option<&str>, separators: &[char]) -> Result<Tags, Flaw> {
    let tags = text.unwrap_or_default().split(separators).filter(|tag| !tag.trim().is_empty());
    Ok(Tags::parse(tags)?)
}

/// What was counted in all, on days that nobody has noted.
pub(super) fn undated(clicks: u64) -> History {
    History { undated_clicks: clicks, ..History::default() }
}

/// A link of another service, which it dates or not.
pub(super) fn link(key: Key, target: Target, created_at: Option<Timestamp>, now: Timestamp) -> Link {
    Link::new(key, target, created_at.unwrap_or(now))
}

/// The beginning of a value, enough to recognise it by.
fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Reads the timestamp of the field `name`.
///
/// # Errors
/// [`Flaw::Value`].
pub(super) fn time_of(name: &'static str, text: &str) -> Result<Timestamp, Flaw> {
    time(text).ok_or_else(|| Flaw::Value { name, value: excerpt(text), wanted: "a date and time" })
}

/// RFC 3339 and its relatives, as databases print them too; Unix time in seconds or milliseconds. What names no
/// offset is UTC.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    /// 1973 in milliseconds, 5138 in seconds: no number of links is older, or newer.
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
    fn a_title_of_elsewhere_is_made_to_fit() {
        assert_eq!(title(Some(" two\nlines\t")).unwrap().as_str(), "two lines");
        assert_eq!(title(Some(&"ä".repeat(300))).unwrap().as_str(), "ä".repeat(255));
        assert_eq!(title(Some("\n")), None);
    }

    #[test]
    fn the_key_is_the_last_part_of_a_short_url() {
        for url in ["https://sho.rt/docs", "sho.rt/docs", "sho.rt/docs/", "/docs/", "docs"] {
            assert_eq!(key_of_short_url(url), "docs", "{url}");
        }
    }

    #[test]
    fn null_is_no_value() {
        let mut fields = Fields::default();
        for (name, value) in [("a", "NULL"), ("b", "\\N"), ("c", " "), ("d", " x ")] {
            fields.push(name, value);
        }
        assert_eq!((fields.optional(&["a"]), fields.optional(&["b"])), (None, None));
        assert_eq!((fields.text(&["a"]), fields.text(&["c", "d"])), (Some("NULL"), Some("x")));
        assert_eq!(simplified("Long_URL - Link"), "longurllink");
    }
}
