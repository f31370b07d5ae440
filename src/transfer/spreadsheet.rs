//! The service's own CSV, for spreadsheets: all that is said of a link on one row, and its clicks as one number.
//!
//! RFC 4180 in UTF-8, with a header. A cell that a spreadsheet would take for a formula begins with an apostrophe, as
//! OWASP has it under "CSV injection"; it goes away when the file comes back. Passwords are only said to be there, so a
//! link that has one does not come back: it would be open to everyone.

use std::{borrow::Cow, io::Write};

use jiff::Timestamp;

use super::{
    Entry, Flaw,
    fields::{self, Fields, Layout},
};
use crate::{
    link::{
        Link, LinkState,
        options::{RedirectStatus, Tag},
    },
    store::History,
};

pub(super) const LAYOUT: Layout = Layout { marks: &[&["key", "target"], &["key", "url"]], entry };

/// The names of the columns.
pub(super) const HEADER: [&str; 15] = [
    "key",
    "target",
    "title",
    "tags",
    "state",
    "clicks",
    "created_at",
    "expires_at",
    "taken_down_at",
    "max_visits",
    "visits",
    "redirect",
    "forward_query",
    "password",
    "version",
];

/// Writes a link as a row.
pub(super) fn write<W: Write>(entry: &Entry, now: Timestamp, output: &mut csv::Writer<W>) -> csv::Result<()> {
    let Entry { link, history } = entry;
    let tags: Vec<_> = link.tags.iter().map(Tag::as_str).collect();
    let optional = |time: Option<Timestamp>| time.map_or_else(String::new, |time| time.to_string());
    let row: [Cow<'_, str>; HEADER.len()] = [
        guarded(link.key.as_str()),
        guarded(link.target.as_str()),
        guarded(link.title.as_ref().map_or("", |title| title.as_str())),
        guarded(&tags.join(",")).into_owned().into(),
        state(link, now).into(),
        history.clicks().to_string().into(),
        link.created_at.to_string().into(),
        optional(link.expires_at).into(),
        optional(link.taken_down_at).into(),
        link.max_visits.map_or_else(String::new, |visits| visits.to_string()).into(),
        history.visits.to_string().into(),
        link.redirect.code().to_string().into(),
        link.forward_query.to_string().into(),
        link.password.is_some().to_string().into(),
        link.version.to_string().into(),
    ];
    output.write_record(row.iter().map(|cell| cell.as_bytes()))
}

fn state(link: &Link, now: Timestamp) -> &'static str {
    match link.state(now) {
        LinkState::Active => "active",
        LinkState::Expired => "expired",
        LinkState::TakenDown => "taken_down",
    }
}

fn entry(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, Flaw> {
    let text = |names: &[&str]| fields.text(names).map(unguarded);
    if fields.flag("password")? {
        return Err(Flaw::Password);
    }
    let created_at = fields.time(&["createdat"])?;
    let key = fields::key(text(&["key"]))?;
    let mut link = fields::link(key, fields::target(text(&["target", "url"]))?, created_at, now);
    link.title = text(&["title"]).map(str::parse).transpose()?;
    link.tags = fields::tags(text(&["tags"]), &[','])?;
    link.expires_at = fields.time(&["expiresat"])?;
    link.taken_down_at = fields.time(&["takendownat"])?;
    link.max_visits = fields.parse("maxvisits", "a number of 1 or more")?;
    let redirect: Option<u16> = fields.parse("redirect", "a status")?;
    link.redirect = redirect.map(RedirectStatus::try_from).transpose()?.unwrap_or_default();
    link.forward_query = fields.flag("forwardquery")?;
    let version: Option<std::num::NonZeroU32> = fields.parse("version", "a number of 1 or more")?;
    link.version = version.map_or(link.version, Into::into);
    let visits = fields.count(&["visits"])?;
    Entry::new(link, History { visits, ..fields::undated(fields.count(&["clicks"])?) })
}

/// Whether a spreadsheet would reckon with this text. Apostrophes before it count as part of the guard, so that a text
/// which has one of its own comes back with it.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r'])
}

fn guarded(text: &str) -> Cow<'_, str> {
    if is_formula(text) { format!("'{text}").into() } else { text.into() }
}

fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| is_formula(text)).unwrap_or(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_guarded_and_comes_back() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            ("-x", "'-x"),
            ("@x", "'@x"),
            ("'=1", "''=1"),
            ("plain", "plain"),
            ("'quoted'", "'quoted'"),
            ("", ""),
        ] {
            assert_eq!(guarded(text), cell);
            assert_eq!(unguarded(cell), text);
        }
    }
}
