//! [Bitly](https://bitly.com): the CSV of its link list, and what its API lists.
//!
//! Bitly does not say how it names the columns, and has changed them: guides to leaving it tell of `Link`, `Custom
//! Link`, `Destination URL` (`URLR/urlr-docs`, migration/bitly.md) and of `Bitlink`, `Title`, `Long URL`, `Tags`,
//! `Created`, `Total Clicks` (`DhananjayThomble/URL-Shortener-App`, import/sources/bitly.ts). The API is documented:
//! `GET /v4/groups/{guid}/bitlinks` lists `{"links": [{"id", "link", "custom_bitlinks", "long_url", "title", "tags",
//! "created_at", …}]}`. All of these names are taken. A link with a custom back-half gets that as its key.

use jiff::Timestamp;

use super::{
    Entry, Flaw,
    fields::{self, Fields, Layout},
};

pub(super) const LAYOUT: Layout = Layout {
    marks: &[
        &["longurl", "bitlink"],
        &["longurl", "link"],
        &["destinationurl", "bitlink"],
        &["destinationurl", "link"],
    ],
    entry,
};

/// Where the short URL may stand, the chosen one first.
const SHORT_URL: &[&str] = &["custombitlinks", "custombitlink", "customlink", "bitlink", "link"];

fn entry(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, Flaw> {
    let short_url = fields.text(SHORT_URL).and_then(|urls| urls.split(',').next());
    let mut link = fields::link(
        fields::key(short_url.map(str::trim).map(fields::key_of_short_url))?,
        fields::target(fields.text(&["longurl", "destinationurl"]))?,
        fields.time(&["created", "createdat", "datecreated"])?,
        now,
    );
    link.doc.options.title = fields::title(fields.optional(&["title"]));
    link.doc.options.tags = fields::tags(fields.optional(&["tags"]), &[',', ';', '|'])?;
    Entry::new(link, fields::undated(fields.count(&["totalclicks", "clicks", "totalengagements"])?))
}
