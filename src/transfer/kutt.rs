//! [Kutt](https://kutt.it), which has no export of its own (issue 106 there): what its API lists, and its table.
//!
//! The pages of `GET /api/v2/links`, one after the other: `{"data": [{"address", "target", "description",
//! "visit_count", "created_at", "updated_at", "expire_in", "banned", "password", …}]}` (`sanitize.link` in
//! `server/utils/utils.js`). And the table `links` as CSV with the same names (`server/models/link.model.js`), in which
//! `password` is a bcrypt hash. A banned link is one that was taken down.

use jiff::Timestamp;

use super::{
    Entry, Flaw,
    fields::{self, Fields, Layout},
};

pub(super) const LAYOUT: Layout = Layout { marks: &[&["address", "target"]], entry };

fn entry(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, Flaw> {
    let mut link = fields::link(
        fields::key(fields.text(&["address"]))?,
        fields::target(fields.text(&["target"]))?,
        fields.time(&["createdat"])?,
        now,
    );
    if fields.optional(&["password"]).is_some_and(|password| password != "false") {
        return Err(Flaw::Password);
    }
    link.doc.options.title = fields::title(fields.optional(&["description"]));
    link.doc.options.expires_at = fields.time(&["expirein"])?;
    if fields.flag("banned")? {
        link.doc.taken_down_at = Some(fields.time(&["updatedat"])?.unwrap_or(now));
    }
    Entry::new(link, fields::undated(fields.count(&["visitcount"])?))
}
