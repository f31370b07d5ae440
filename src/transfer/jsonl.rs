//! The service's own layout: a link with everything on each line, as JSON.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    num::NonZeroU32,
};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{Entry, Flaw, fields};
use crate::{
    clicks::{DayCount, Facet},
    link::{
        Link,
        options::{RedirectStatus, Tags},
        time::whole_milliseconds,
    },
    password,
    store::History,
};

/// A line. A name that is not among these stops the line from being taken, since something would be lost with it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    target: String,
    created_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_visits: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken_down_at: Option<Timestamp>,
    #[serde(default = "found")]
    redirect: u16,
    #[serde(default, skip_serializing_if = "is_default")]
    forward_query: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default = "first")]
    version: NonZeroU32,
    #[serde(default, skip_serializing_if = "is_default")]
    visits: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    undated_clicks: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    days: BTreeMap<Date, Day>,
}

/// What was counted on one day (UTC).
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Day {
    #[serde(skip_serializing_if = "is_default")]
    people: u64,
    #[serde(skip_serializing_if = "is_default")]
    bots: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    devices: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    referrers: BTreeMap<String, u64>,
}

fn found() -> u16 {
    RedirectStatus::Found.code()
}

fn first() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Writes a link as a line.
pub(super) fn write(entry: &Entry, output: &mut dyn Write) -> io::Result<()> {
    let Entry { link, history } = entry;
    let line = Line {
        key: link.key.to_string(),
        target: link.target.to_string(),
        created_at: Some(link.created_at),
        expires_at: link.expires_at,
        max_visits: link.max_visits,
        taken_down_at: link.taken_down_at,
        redirect: link.redirect.code(),
        forward_query: link.forward_query,
        title: link.title.as_ref().map(|title| title.as_str().to_owned()),
        tags: link.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
        password: link.password.as_ref().map(|hash| hash.as_phc().to_owned()),
        version: NonZeroU32::new(link.version).unwrap_or(NonZeroU32::MIN),
        visits: history.visits,
        undated_clicks: history.undated_clicks,
        days: by_day(&history.days),
    };
    serde_json::to_writer(&mut *output, &line)?;
    output.write_all(b"\n")
}

fn by_day(counts: &[DayCount]) -> BTreeMap<Date, Day> {
    let mut days = BTreeMap::<Date, Day>::new();
    for DayCount { day, facet, count } in counts {
        let day = days.entry(*day).or_default();
        let counted = match facet {
            Facet::People => &mut day.people,
            Facet::Bots => &mut day.bots,
            Facet::Device(device) => day.devices.entry(device.as_str().to_owned()).or_default(),
            Facet::Referrer(referrer) => day.referrers.entry(referrer.as_str().to_owned()).or_default(),
        };
        *counted += count;
    }
    days
}

/// Reads a line.
///
/// # Errors
/// See [`Flaw`].
pub(super) fn read(line: &[u8], now: Timestamp) -> Result<Entry, Flaw> {
    let line: Line = serde_json::from_slice(line).map_err(|error| Flaw::Json(error.to_string()))?;
    let link = Link {
        expires_at: line.expires_at.map(whole_milliseconds).transpose()?,
        max_visits: line.max_visits,
        taken_down_at: line.taken_down_at.map(whole_milliseconds).transpose()?,
        redirect: line.redirect.try_into()?,
        forward_query: line.forward_query,
        title: line.title.as_deref().map(str::parse).transpose()?,
        tags: Tags::parse(line.tags.iter().map(String::as_str))?,
        password: line.password.map(|phc| password::imported(phc).ok_or(Flaw::Password)).transpose()?,
        version: line.version.get(),
        ..Link::new(
            fields::key(Some(&line.key))?,
            fields::target(Some(&line.target))?,
            whole_milliseconds(line.created_at.unwrap_or(now))?,
        )
    };
    let days = day_counts(line.days)?;
    Entry::new(link, History { visits: line.visits, undated_clicks: line.undated_clicks, days })
}

fn day_counts(days: BTreeMap<Date, Day>) -> Result<Vec<DayCount>, Flaw> {
    // Hosts that differ in case are one host.
    let mut counts = BTreeMap::<(Date, Facet), u64>::new();
    for (date, day) in days {
        if date.year() < 0 {
            return Err(flaw("days", &date.to_string(), "a day of our era"));
        }
        let devices = day.devices.iter().map(|(name, count)| ("device", name, count));
        let referrers = day.referrers.iter().map(|(host, count)| ("referrer", host, count));
        for (kind, value, count) in devices.chain(referrers) {
            let facet = Facet::from_pair(kind, value);
            let facet = facet.map_err(|_| flaw("days", value, "a device or a referrer's host"))?;
            let counted = counts.entry((date, facet)).or_default();
            *counted = counted.saturating_add(*count);
        }
        counts.insert((date, Facet::People), day.people);
        counts.insert((date, Facet::Bots), day.bots);
    }
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    Ok(counts.map(|((day, facet), count)| DayCount { day, facet, count }).collect())
}

fn flaw(name: &'static str, value: &str, wanted: &'static str) -> Flaw {
    Flaw::Value { name, value: value.to_owned(), wanted }
}

/// Whether the beginning of a file looks like this layout.
pub(super) fn fits(head: &str) -> bool {
    head.starts_with('{') && head.contains("\"key\"") && head.contains("\"target\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(line: &str) -> String {
        let entry = read(line.as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
        let mut written = Vec::new();
        write(&entry, &mut written).unwrap();
        String::from_utf8(written).unwrap().trim_end().to_owned()
    }

    #[test]
    fn a_full_line_comes_back_byte_for_byte() {
        let line = concat!(
            r#"{"key":"k","target":"https://example.com/","created_at":"2026-01-02T03:04:05.678Z","#,
            r#""expires_at":"2999-12-31T23:59:59.999Z","max_visits":5,"taken_down_at":"1969-12-31T23:59:59.999Z","#,
            r#""redirect":308,"forward_query":true,"title":"Ünïcode \"title\" 😀","tags":["a","b c"],"#,
            r#""password":"$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","version":7,"visits":3,"undated_clicks":10,"#,
            r#""days":{"2026-06-01":{"people":3,"bots":5,"devices":{"mobile":2,"other":1},"#,
            r#""referrers":{"news.example":1}},"2026-06-02":{"people":1}}}"#,
        );
        assert_eq!(round_trip(line), line);
    }

    #[test]
    fn a_key_and_a_target_are_enough() {
        assert_eq!(
            round_trip(r#"{"key":"k","target":"https://example.com"}"#),
            r#"{"key":"k","target":"https://example.com/","created_at":"1970-01-01T00:00:00Z","redirect":302,"version":1}"#
        );
    }

    #[test]
    fn what_no_link_can_have_is_refused() {
        for (member, reason) in [
            (r#""colour":"red""#, "unknown field `colour`"),
            (r#""redirect":303"#, "a redirect is 301, 302, 307 or 308"),
            (r#""max_visits":0"#, "invalid value: integer `0`"),
            (r#""title":" ""#, "a title is 1 to 255 characters"),
            (r#""tags":["a,b"]"#, "a tag is 1 to 64 characters"),
            (r#""password":"secret""#, "it has a password that can not be taken over"),
            (
                r#""password":"$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0""#,
                "it has a password that can not be",
            ),
            (r#""created_at":"yesterday""#, "failed to parse"),
            (r#""days":{"2026-06-01":{"devices":{"toaster":1}}}"#, "\"toaster\" is not a device"),
            (r#""days":{"-000001-06-01":{"people":1}}"#, "is not a day of our era"),
            (r#""undated_clicks":18446744073709551615"#, "its counts are too large"),
            (r#""visits":9223372036854775808"#, "its counts are too large"),
        ] {
            let line = format!(r#"{{"key":"k","target":"https://example.com",{member}}}"#);
            let flaw = read(line.as_bytes(), Timestamp::UNIX_EPOCH).unwrap_err().to_string();
            assert!(flaw.contains(reason), "{member}: {flaw}");
        }
    }

    #[test]
    fn hosts_that_differ_in_case_are_counted_together() {
        let line = r#"{"key":"k","target":"https://example.com","days":{"2026-06-01":{"referrers":{"A.example":1,"a.example":2}}}}"#;
        let entry = read(line.as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(entry.history.days.iter().map(|counted| counted.count).collect::<Vec<_>>(), [3]);
    }
}
