//! [Shlink](https://shlink.io): the CSV that its web client exports.
//!
//! `createdAt`, `domain`, `shortCode`, `shortUrl`, `longUrl`, `title`, `tags` with `|` between them, `visits`
//! (`ExportShortUrlsBtn.tsx` in `shlinkio/shlink-web-component`). It leaves out limits of time and visits. Short codes
//! of several domains come together in it; of two that are the same, the second is reported as taken.

use jiff::Timestamp;

use super::{
    Entry, Flaw,
    fields::{self, Fields, Layout},
};

pub(super) const LAYOUT: Layout = Layout { marks: &[&["shortcode", "longurl"]], entry };

fn entry(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, Flaw> {
    let mut link = fields::link(
        fields::key(fields.text(&["shortcode"]))?,
        fields::target(fields.text(&["longurl"]))?,
        fields.time(&["createdat"])?,
        now,
    );
    link.doc.options.title = fields::title(fields.optional(&["title"]));
    link.doc.options.tags = fields::tags(fields.optional(&["tags"]), &['|'])?;
    Entry::new(link, fields::undated(fields.count(&["visits"])?))
}
