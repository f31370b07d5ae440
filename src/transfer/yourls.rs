//! [YOURLS](https://yourls.org), in two layouts.
//!
//! The table `yourls_url` as CSV or as the tab-separated lines of `mysql --batch`: `keyword`, `url`, `title`,
//! `timestamp`, `ip`, `clicks` (`yourls_create_sql_tables` in `includes/functions-install.php`). And what the plugin
//! `GautamGupta/YOURLS-Import-Export` writes: `source`, which is the keyword between slashes, `target`, `hits`
//! (`fileio/csv.php`), which has neither titles nor dates. Addresses of visitors and authors are not read.

use jiff::Timestamp;

use super::{
    Entry, Flaw,
    fields::{self, Fields, Layout},
};

pub(super) const LAYOUT: Layout =
    Layout { marks: &[&["keyword", "url"], &["source", "target", "hits"]], entry };

fn entry(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, Flaw> {
    let key = fields.text(&["keyword"]).or_else(|| fields.text(&["source"]).map(fields::key_of_short_url));
    let mut link = fields::link(
        fields::key(key)?,
        fields::target(fields.text(&["url", "target"]))?,
        fields.time(&["timestamp"])?,
        now,
    );
    link.doc.options.title = fields::title(fields.optional(&["title"]));
    Entry::new(link, fields::undated(fields.count(&["clicks", "hits"])?))
}
