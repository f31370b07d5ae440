//! The layouts of tables and JSON objects.
//!
//! The field names in a file show which program wrote it.

use jiff::Timestamp;

use super::{
    Entry, Format, RowError,
    fields::{self, Fields},
    row::ReadError,
    spreadsheet,
};
use crate::link::Link;

/// The field names and value formats that a program uses for links.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    format: Format,
    /// Groups of field names. A file has this layout if it contains all the names in at least one group.
    marks: &'static [&'static [&'static str]],
    /// Parses a row. The timestamp replaces a missing creation date.
    pub(super) parse: fn(&Fields<'_>, Timestamp) -> Result<Entry, RowError>,
}

/// All layouts. A file matches at most one.
const LAYOUTS: [Layout; 6] = [
    Layout { format: Format::Csv, marks: &[&["key", "target"], &["key", "url"]], parse: spreadsheet::parse },
    Layout {
        format: Format::Yourls,
        marks: &[&["keyword", "url"], &["source", "target", "hits"]],
        parse: yourls,
    },
    Layout { format: Format::Shlink, marks: &[&["shortcode", "longurl"]], parse: shlink },
    Layout { format: Format::Kutt, marks: &[&["address", "target"]], parse: kutt },
    Layout {
        format: Format::Bitly,
        marks: &[
            &["longurl", "bitlink"],
            &["longurl", "link"],
            &["destinationurl", "bitlink"],
            &["destinationurl", "link"],
        ],
        parse: bitly,
    },
    Layout {
        format: Format::Chhoto,
        marks: &[&["shortlink", "longlink"], &["shorturl", "longurl", "hits"]],
        parse: chhoto,
    },
];

impl Layout {
    /// Returns the layout of a file with these fields.
    ///
    /// # Errors
    /// [`ReadError::Layout`] if the fields do not match `format`. For [`Format::Auto`], any known layout matches.
    pub(super) fn of(fields: &Fields<'_>, format: Format) -> Result<Self, ReadError> {
        let mut candidates =
            LAYOUTS.into_iter().filter(|layout| format == Format::Auto || layout.format == format);
        candidates.find(|layout| layout.fits(fields)).ok_or_else(|| {
            // If no format was requested, suggest the simplest one.
            let (name, wanted) = match format {
                Format::Auto => ("known".to_owned(), Format::Csv),
                _ => (format.to_string(), format),
            };
            let expected: Vec<_> = LAYOUTS
                .iter()
                .filter(|layout| layout.format == wanted)
                .flat_map(|layout| layout.marks)
                .map(|group| group.join(", "))
                .collect();
            ReadError::Layout { name, expected: expected.join(" or "), found: fields.names() }
        })
    }

    fn fits(&self, fields: &Fields<'_>) -> bool {
        self.marks.iter().any(|group| group.iter().all(|name| fields.has(name)))
    }
}

/// Parses a row from [YOURLS](https://yourls.org).
///
/// There are two layouts. The `yourls_url` table, as CSV or as tab-separated lines from `mysql --batch`, has the
/// columns `keyword`, `url`, `title`, `timestamp`, `ip` and `clicks` (`yourls_create_sql_tables` in
/// `includes/functions-install.php`). The `GautamGupta/YOURLS-Import-Export` plugin writes the columns `source` (the
/// keyword between slashes), `target` and `hits` (`fileio/csv.php`). IP addresses are not imported.
fn yourls(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, RowError> {
    let key = fields.text(&["keyword"]).or_else(|| fields.text(&["source"]).map(key_of_short_url));
    let mut link = Link::new(
        fields::key(key)?,
        fields::target(fields.text(&["url", "target"]))?,
        fields.time(&["timestamp"])?.unwrap_or(now),
    );
    link.doc.options.title = fields.title("title");
    fields.with_clicks(link, &["clicks", "hits"])
}

/// Parses a row from a CSV file exported by [Shlink](https://shlink.io)'s web client.
///
/// The file has the columns `createdAt`, `domain`, `shortCode`, `shortUrl`, `longUrl`, `title`, `tags` (separated by
/// `|`) and `visits` (`ExportShortUrlsBtn.tsx` in `shlinkio/shlink-web-component`), but no expiry dates or visit
/// limits. The short codes of all domains are in one file. If a code occurs twice, the second link is skipped because
/// its key is taken.
fn shlink(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, RowError> {
    let mut link = Link::new(
        fields::key(fields.text(&["shortcode"]))?,
        fields::target(fields.text(&["longurl"]))?,
        fields.time(&["createdat"])?.unwrap_or(now),
    );
    link.doc.options.title = fields.title("title");
    link.doc.options.tags = fields.tags(&['|'])?;
    fields.with_clicks(link, &["visits"])
}

/// Parses a link from the API or the `links` table of [Kutt](https://kutt.it).
///
/// Kutt has no export function (see its issue 106). `GET /api/v2/links` returns pages of `{"data": [{"address",
/// "target", "description", "visit_count", "created_at", "updated_at", "expire_in", "banned", "password", …}]}`
/// (`sanitize.link` in `server/utils/utils.js`). The `links` table uses the same names (`server/models/link.model.js`),
/// and stores passwords as bcrypt hashes. A banned link is imported as taken down.
fn kutt(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, RowError> {
    let mut link = Link::new(
        fields::key(fields.text(&["address"]))?,
        fields::target(fields.text(&["target"]))?,
        fields.time(&["createdat"])?.unwrap_or(now),
    );
    if fields.optional(&["password"]).is_some_and(|password| password != "false") {
        return Err(RowError::Password);
    }
    link.doc.options.title = fields.title("description");
    link.doc.options.expires_at = fields.time(&["expirein"])?;
    if fields.flag("banned")? {
        link.doc.taken_down_at = Some(fields.time(&["updatedat"])?.unwrap_or(now));
    }
    fields.with_clicks(link, &["visitcount"])
}

/// Parses a link from the CSV export or the API of [Bitly](https://bitly.com).
///
/// Bitly does not document the columns of its CSV export, and has changed them. Migration guides show `Link`,
/// `Custom Link`, `Destination URL` (`URLR/urlr-docs`, migration/bitly.md) and `Bitlink`, `Title`, `Long URL`, `Tags`,
/// `Created`, `Total Clicks` (`DhananjayThomble/URL-Shortener-App`, import/sources/bitly.ts). The API is documented:
/// `GET /v4/groups/{guid}/bitlinks` returns `{"links": [{"id", "link", "custom_bitlinks", "long_url", "title", "tags",
/// "created_at", …}]}`. All of these names are supported. A custom back-half becomes the key.
fn bitly(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, RowError> {
    const SHORT_URLS: &[&str] = &["custombitlinks", "custombitlink", "customlink", "bitlink", "link"];
    let short_url = fields.text(SHORT_URLS).and_then(|urls| urls.split(',').next());
    let mut link = Link::new(
        fields::key(short_url.map(str::trim).map(key_of_short_url))?,
        fields::target(fields.text(&["longurl", "destinationurl"]))?,
        fields.time(&["created", "createdat", "datecreated"])?.unwrap_or(now),
    );
    link.doc.options.title = fields.title("title");
    link.doc.options.tags = fields.tags(&[',', ';', '|'])?;
    fields.with_clicks(link, &["totalclicks", "clicks", "totalengagements"])
}

/// Parses a link from the API or the `urls` table of [Chhoto URL](https://github.com/SinTan1729/chhoto-url).
///
/// Chhoto URL has no export function. `GET /api/all` returns `[{"shortlink", "longlink", "hits", "expiry_time",
/// "notes"}]` (`backend/src/database/queries.rs` and `frontend/static/script.js`). In the `urls` table, as written by
/// `sqlite3 -header -csv`, the first two fields are called `short_url` and `long_url`. `expiry_time` is Unix time; 0 or
/// an empty value means no expiry. There are no creation dates.
fn chhoto(fields: &Fields<'_>, now: Timestamp) -> Result<Entry, RowError> {
    let mut link = Link::new(
        fields::key(fields.text(&["shortlink", "shorturl"]))?,
        fields::target(fields.text(&["longlink", "longurl"]))?,
        now,
    );
    link.doc.options.title = fields.title("notes");
    link.doc.options.expires_at =
        fields.time(&["expirytime"])?.filter(|expiry| *expiry != Timestamp::UNIX_EPOCH);
    fields.with_clicks(link, &["hits"])
}

/// Returns the key in a short URL, such as `docs` in `https://sho.rt/docs`.
fn key_of_short_url(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.rsplit_once('/').map_or(url, |(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_last_part_of_a_short_url() {
        for url in ["https://sho.rt/docs", "sho.rt/docs", "sho.rt/docs/", "/docs/", "docs"] {
            assert_eq!(key_of_short_url(url), "docs", "{url}");
        }
    }
}
