//! Reads files in any format, row by row.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use jiff::Timestamp;

use super::{
    Format,
    fields::{Fields, simplified},
    jsonl,
    layouts::Layout,
    objects,
    row::{MAX_ROW, Position, ReadError, Row, RowBudget, RowError},
};

/// The maximum number of bytes read to detect the format.
const HEAD: u64 = 64 << 10;

/// U+FEFF in UTF-8. Some programs write it at the start of text files.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads `input`, and passes each row to `take` until `take` fails.
///
/// An empty file, or one with only blank lines, has no rows. A link without a creation date gets `now` as its creation
/// date.
///
/// # Errors
/// See [`ReadError`]. All rows before the error have been passed to `take`.
pub fn read(
    input: impl Read,
    format: Format,
    now: Timestamp,
    mut take: impl FnMut(Row) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut input = BufReader::new(input);
    let head = read_head(&mut input)?;
    let start = String::from_utf8_lossy(&head).trim_start().to_owned();
    if start.is_empty() {
        return Ok(());
    }
    let input = Cursor::new(head).chain(input);
    let mut is_without_links = true;
    let take = |row| {
        is_without_links = false;
        take(row)
    };
    if format == Format::Jsonl || (format == Format::Auto && jsonl::fits(&start)) {
        read_lines(input, now, take)
    } else if start.starts_with(['{', '[']) {
        objects::read(input, format, now, take)
    } else {
        read_table(input, delimiter(&start), format, now, take)
    }?;
    if is_without_links { Err(ReadError::NoLinks) } else { Ok(()) }
}

/// Returns everything up to the end of the first non-blank line.
///
/// The result does not include a byte order mark.
fn read_head(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut input = input.take(HEAD);
    let mut head = Vec::new();
    while input.read_until(b'\n', &mut head)? > 0 && head.trim_ascii().is_empty() {}
    if head.starts_with(BYTE_ORDER_MARK) {
        head.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(head)
}

/// Reads lines of JSON. An invalid line does not affect the others.
fn read_lines(
    mut input: impl BufRead,
    now: Timestamp,
    mut take: impl FnMut(Row) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.by_ref().take(MAX_ROW as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.trim_ascii_end();
        let entry = if line.len() > MAX_ROW && !line.ends_with(b"\n") {
            input.skip_until(b'\n')?;
            Err(RowError::TooLong)
        } else if text.is_empty() {
            continue;
        } else {
            jsonl::parse(text, now)
        };
        take(Row { position: Position::Line(number), size: line.len(), entry })?;
    }
    Ok(())
}

/// Reads a table. The header determines the layout.
fn read_table(
    input: impl Read,
    delimiter: u8,
    format: Format,
    now: Timestamp,
    mut take: impl FnMut(Row) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let budget = RowBudget::default();
    let mut table = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        // With the default terminator, CRLF, the reported line numbers are wrong. Values are trimmed, so a trailing CR
        // is harmless.
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(budget.limit(input));
    let name = |bytes| simplified(String::from_utf8_lossy(bytes).trim());
    let names: Vec<String> = table.byte_headers().map_err(io::Error::from)?.iter().map(name).collect();
    let mut header = Fields::default();
    names.iter().for_each(|name| header.push(name.as_str(), ""));
    let layout = Layout::of(&header, format)?;

    let mut record = csv::ByteRecord::new();
    while table.read_byte_record(&mut record).map_err(io::Error::from)? {
        budget.next_row();
        if record.iter().all(|value| value.trim_ascii().is_empty()) {
            continue;
        }
        let line = record.position().map_or(0, csv::Position::line);
        let entry = fields(&names, &record).and_then(|fields| (layout.parse)(&fields, now));
        take(Row { position: Position::Line(line), size: record.as_slice().len(), entry })?;
    }
    Ok(())
}

/// Returns the character that separates the column names.
fn delimiter(head: &str) -> u8 {
    let line = head.lines().next().unwrap_or_default();
    [b'\t', b',', b';'].into_iter().find(|delimiter| line.contains(char::from(*delimiter))).unwrap_or(b',')
}

fn fields<'a>(names: &'a [String], record: &'a csv::ByteRecord) -> Result<Fields<'a>, RowError> {
    let mut fields = Fields::default();
    for (name, value) in names.iter().zip(record) {
        fields.push(name.as_str(), std::str::from_utf8(value).map_err(|_| RowError::Encoding)?);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(file: impl AsRef<[u8]>, format: Format) -> Result<Vec<String>, ReadError> {
        let mut keys = Vec::new();
        read(file.as_ref(), format, Timestamp::UNIX_EPOCH, |row| {
            keys.push(match row.entry {
                Ok(entry) => format!("{} {}", row.position, entry.link.key),
                Err(error) => format!("{} {error}", row.position),
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
    fn a_broken_row_is_reported_by_its_position() {
        let file = b"key,target\na b,https://a.example\nb\n\xff,https://c.example\nd,https://d.example\n";
        assert_eq!(
            keys(file, Format::Csv).unwrap(),
            [
                "line 2 invalid key \"a b\": a key is 1 to 64 characters of A-Z a-z 0-9 _ -",
                "line 3 missing target",
                "line 4 not valid UTF-8",
                "line 5 d"
            ]
        );
        let json = "{\"key\":\"a\",\"target\":\"https://a.example\"}\n{\"key\":\"b\"";
        let found = keys(json, Format::Auto).unwrap();
        assert!(found[1].starts_with("line 2 EOF while parsing"), "{found:?}");
    }

    #[test]
    fn a_non_empty_file_without_links_is_an_error() {
        for (file, format) in [
            ("key,target\n", Format::Auto),
            ("key,target\n\n,\n", Format::Csv),
            ("[]", Format::Auto),
            ("{\"urls\":[{\"shortlink\":\"a\",\"longlink\":\"https://a.example\"}]}", Format::Auto),
            ("{\"data\":[]}\n{\"data\":[]}\n", Format::Kutt),
        ] {
            assert!(matches!(keys(file, format), Err(ReadError::NoLinks)), "{file}");
        }
        for format in [Format::Auto, Format::Jsonl, Format::Kutt] {
            assert_eq!(keys("\n \n", format).unwrap(), Vec::<String>::new(), "{format}");
        }
    }

    #[test]
    fn a_file_with_another_layout_is_refused_with_its_columns() {
        let error = keys("name,phone\nx,1\n", Format::Auto).unwrap_err().to_string();
        assert_eq!(error, "not a known export: expected columns key, target or key, url; found name, phone");
        let error = keys("key,target\nx,1\n", Format::Shlink).unwrap_err().to_string();
        assert_eq!(error, "not a shlink export: expected columns shortcode, longurl; found key, target");
    }

    #[test]
    fn an_endless_row_is_an_error_and_uses_bounded_memory() {
        let endless = |start: &'static str| start.as_bytes().chain(io::repeat(b'x').take(3 * MAX_ROW as u64));
        let read = |start| read(endless(start), Format::Auto, Timestamp::UNIX_EPOCH, |_| Ok(()));
        assert!(matches!(read("key,target\n\"").unwrap_err(), ReadError::Io(_)));
        assert!(matches!(read("[{\"shortlink\":\"").unwrap_err(), ReadError::Io(_)));
        let line = endless("{\"key\":\"a\",\"target\":\"");
        let mut rows = Vec::new();
        super::read(line, Format::Auto, Timestamp::UNIX_EPOCH, |row| {
            rows.push(row.entry);
            Ok(())
        })
        .unwrap();
        assert_eq!(rows, [Err(RowError::TooLong)]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_rest_is_read() {
        let line = |key: &str, length: usize| {
            let line = format!("{{\"key\":\"{key}\",\"target\":\"https://a.example\"}}");
            line + &" ".repeat(length) + "\n"
        };
        let file = [line("a", 0), line("b", MAX_ROW), "x".repeat(2 * MAX_ROW) + "\n", line("c", 0)].concat();
        let too_long = |line| format!("line {line} the row is longer than 16777216 bytes");
        assert_eq!(
            keys(file, Format::Jsonl).unwrap(),
            ["line 1 a".into(), too_long(2), too_long(3), "line 4 c".into()]
        );
        let longest = "x".repeat(MAX_ROW) + "\n";
        assert!(keys(longest, Format::Jsonl).unwrap()[0].starts_with("line 1 expected value"));
    }

    #[test]
    fn the_delimiter_is_detected_in_the_header() {
        for (head, expected) in
            [("a,b", b','), ("a;b\n1,5;2", b';'), ("a\tb", b'\t'), ("\"a, b\"\tc", b'\t'), ("a", b',')]
        {
            assert_eq!(delimiter(head), expected, "{head}");
        }
    }
}
