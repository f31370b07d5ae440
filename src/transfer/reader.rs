//! Reading a file of links of any layout, row by row.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Cursor, Read},
};

use jiff::Timestamp;
use thiserror::Error;

use super::{
    Entry, Flaw,
    fields::{Fields, Layout},
    import::Format,
    input::{Budget, Line, read_line},
    jsonl, objects, table,
};

/// The largest link in a file, in bytes. Only counts of many days and referrers come near it.
pub const MAX_ENTRY: usize = 16 << 20;

/// As much of a file as is looked at to see what it is.
const HEAD: u64 = 64 << 10;

/// U+FEFF in UTF-8, with which some programs begin a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where something stands in a file. The first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this line.
    Line(u64),
    /// The link of this number, where lines say nothing.
    Link(u64),
}

impl Place {
    /// The word and the number.
    pub fn as_pair(self) -> (&'static str, u64) {
        match self {
            Self::Line(number) => ("line", number),
            Self::Link(number) => ("link", number),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, number) = self.as_pair();
        write!(formatter, "{word} {number}")
    }
}

/// What stands in one place.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where.
    pub place: Place,
    /// Its bytes in the file, as near as they are known.
    pub size: usize,
    /// The link, or why there is none.
    pub entry: Result<Entry, Flaw>,
}

/// A file can't be read to its end.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The system's reason, or a link that is larger than [`MAX_ENTRY`].
    #[error("the file can not be read")]
    Io(#[source] io::Error),
    /// A table's row is broken.
    #[error("line {line} is no row of a table")]
    Table {
        /// The line.
        line: u64,
    },
    /// The JSON is broken.
    #[error("the file is not the JSON that it begins as")]
    Json(#[source] serde_json::Error),
    /// Its fields are those of no layout.
    #[error("the file has not the fields of {wanted}; it has: {found}")]
    Unknown {
        /// The layout that was asked for, or all of them.
        wanted: &'static str,
        /// The fields of the file.
        found: String,
    },
    /// Whoever took the rows wants no more.
    #[error("stopped")]
    Stopped,
}

/// Reads `input` and hands each row to `take` until that fails. What the file does not date was made `now`.
///
/// # Errors
/// See [`ReadError`]. Rows up to there have been handed over.
pub fn read(
    input: impl Read,
    format: Format,
    now: Timestamp,
    mut take: impl FnMut(Row) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut input = BufReader::new(input);
    let head = read_head(&mut input).map_err(ReadError::Io)?;
    let start = String::from_utf8_lossy(&head).trim_start().to_owned();
    let input = BufReader::new(Cursor::new(head).chain(input));
    let budget = Budget::new(MAX_ENTRY);
    if format == Format::Jsonl || (format == Format::Auto && jsonl::fits(&start)) {
        read_lines(input, now, take)
    } else if start.starts_with(['{', '[']) {
        let mut layout = None;
        objects::read(input, &budget, |number, size, fields| {
            let layout = match layout {
                Some(layout) => layout,
                None => *layout.insert(layout_of(fields, format)?),
            };
            take(Row { place: Place::Link(number), size, entry: (layout.entry)(fields, now) })
        })
    } else if start.is_empty() {
        Ok(())
    } else {
        table::read(input, &start, &budget, |fields| layout_of(fields, format), now, take)
    }
}

/// The beginning of a file, up to the end of the first line that is not blank, without a byte order mark.
fn read_head(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut input = input.take(HEAD);
    let mut head = Vec::new();
    while input.read_until(b'\n', &mut head)? > 0 && head.trim_ascii().is_empty() {}
    if head.starts_with(BYTE_ORDER_MARK) {
        head.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(head)
}

/// The layout of a file with these fields.
fn layout_of(fields: &Fields<'_>, format: Format) -> Result<Layout, ReadError> {
    let fits = |(known, layout): &(Format, Layout)| {
        (format == Format::Auto || format == *known) && layout.fits(fields)
    };
    let found = Format::LAYOUTS.into_iter().find(fits);
    found
        .map(|(_, layout)| layout)
        .ok_or_else(|| ReadError::Unknown { wanted: format.name(), found: fields.names() })
}

/// Reads the service's own lines.
fn read_lines(
    mut input: impl BufRead,
    now: Timestamp,
    mut take: impl FnMut(Row) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut line = Vec::new();
    for number in 1.. {
        let entry = match read_line(&mut input, &mut line, MAX_ENTRY).map_err(ReadError::Io)? {
            Line::End => break,
            Line::Whole if line.trim_ascii().is_empty() => continue,
            Line::Whole => jsonl::read(&line, now),
            Line::TooLong => Err(Flaw::TooLong),
        };
        take(Row { place: Place::Line(number), size: line.len(), entry })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(file: impl AsRef<[u8]>, format: Format) -> Result<Vec<String>, ReadError> {
        let mut keys = Vec::new();
        read(file.as_ref(), format, Timestamp::UNIX_EPOCH, |row| {
            keys.push(match row.entry {
                Ok(entry) => format!("{} {}", row.place, entry.link.key),
                Err(flaw) => format!("{} {flaw}", row.place),
            });
            Ok(())
        })?;
        Ok(keys)
    }

    #[test]
    fn byte_order_marks_line_ends_and_blank_lines_do_not_matter() {
        for file in [
            "key,target\na,https://a.example\nb,https://b.example\n",
            "\u{feff}key,target\r\na,https://a.example\r\nb,https://b.example",
            "Target;KEY\nhttps://a.example;a\nhttps://b.example;b",
        ] {
            assert_eq!(keys(file, Format::Auto).unwrap(), ["line 2 a", "line 3 b"], "{file:?}");
        }
        let json = "\u{feff}{\"key\":\"a\",\"target\":\"https://a.example\"}\r\n\r\n{\"key\":\"b\",\"target\":\"https://b.example\"}";
        assert_eq!(keys(json, Format::Auto).unwrap(), ["line 1 a", "line 3 b"]);
        assert_eq!(keys(format!("\n\n{json}"), Format::Jsonl).unwrap()[1], "line 5 b");
        assert_eq!(keys("", Format::Auto).unwrap(), Vec::<String>::new());
        assert_eq!(keys("\u{feff}\n\n", Format::Auto).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_broken_is_told_by_its_place() {
        let file = b"key,target\na b,https://a.example\nb\n\xff,https://c.example\nd,https://d.example\n";
        assert_eq!(
            keys(file, Format::Csv).unwrap(),
            [
                "line 2 the key \"a b\": a key is 1 to 64 characters of A-Z a-z 0-9 _ -",
                "line 3 it has no target",
                "line 4 it is not UTF-8",
                "line 5 d"
            ]
        );
        let json = "{\"key\":\"a\",\"target\":\"https://a.example\"}\n{\"key\":\"b\"";
        let found = keys(json, Format::Auto).unwrap();
        assert!(found[1].starts_with("line 2 EOF while parsing"), "{found:?}");
    }

    #[test]
    fn a_file_of_another_layout_is_refused_by_its_fields() {
        let error = keys("name,phone\nx,1\n", Format::Auto).unwrap_err().to_string();
        assert_eq!(error, "the file has not the fields of any known layout; it has: name, phone");
        let error = keys("key,target\nx,1\n", Format::Shlink).unwrap_err().to_string();
        assert_eq!(error, "the file has not the fields of shlink; it has: key, target");
    }

    #[test]
    fn an_entry_without_an_end_is_an_error_and_takes_no_memory() {
        let endless =
            |start: &'static str| start.as_bytes().chain(io::repeat(b'x').take(3 * MAX_ENTRY as u64));
        let read = |start| read(endless(start), Format::Auto, Timestamp::UNIX_EPOCH, |_| Ok(()));
        assert!(matches!(read("key,target\n\"").unwrap_err(), ReadError::Io(_)));
        assert!(matches!(read("[{\"shortlink\":\"").unwrap_err(), ReadError::Json(_)));
        let line = endless("{\"key\":\"a\",\"target\":\"");
        let mut rows = Vec::new();
        super::read(line, Format::Auto, Timestamp::UNIX_EPOCH, |row| {
            rows.push(row.entry);
            Ok(())
        })
        .unwrap();
        assert_eq!(rows, [Err(Flaw::TooLong)]);
    }
}
