//! [Chhoto URL](https://github.com/SinTan1729/chhoto-url), which has no export of its own: what its API lists, and its
//! table.
//!
//! `GET /api/all` lists `[{"shortlink", "longlink", "hits", "expiry_time", "notes"}]` (`backend/src/database/queries.rs`
//! and `frontend/static/script.js`); the table `urls`, as `sqlite3 -header -csv` writes it, has `short_url` and
//! `long_url` for the first two. `expiry_time` is Unix time, and 0 or nothing for a link that stays. It keeps no dates
//! of creation.

use jiff::Timestamp;

use super::{
    Entry, Flaw,
    fields::{self, Fields, Layout},
};

pub(super) const LAYOUT: Layout =
    Layout { marks: &[&["shortlink", "longlink"], &["shorturl", "longurl", "hits"]], entry };

fn entry(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, Flaw> {
    let key = fields::key(fields.text(&["shortlink", "shorturl"]))?;
    let target = fields::target(fields.text(&["longlink", "longurl"]))?;
    let mut link = fields::link(key, target, None, now);
    link.doc.options.title = fields::title(fields.optional(&["notes"]));
    link.doc.options.expires_at =
        fields.time(&["expirytime"])?.filter(|expiry| *expiry != Timestamp::UNIX_EPOCH);
    Entry::new(link, fields::undated(fields.count(&["hits"])?))
}
