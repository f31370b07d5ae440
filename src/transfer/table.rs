//! Tables: lines of values under a line of names, separated by commas, semicolons or tabs.

use std::io::Read;

use jiff::Timestamp;

use super::{
    Flaw,
    fields::{Fields, Layout, simplified},
    input::{Budget, Limited},
    reader::{Place, ReadError, Row},
};

/// Reads each row of `input`, whose first line is in `head`, by the layout that `choose` finds by the names.
pub(super) fn read(
    input: impl Read,
    head: &str,
    budget: &Budget,
    choose: impl FnOnce(&Fields<'_>) -> Result<Layout, ReadError>,
    now: Timestamp,
    mut take: impl FnMut(Row) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut rows = csv::ReaderBuilder::new()
        .delimiter(delimiter(head))
        .flexible(true)
        // The reader's own CRLF would count lines wrongly; the CR is white space like any other.
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(Limited::new(input, budget.clone()));
    let names: Vec<String> = rows.byte_headers().map_err(failure)?.iter().map(name).collect();
    let mut only_names = Fields::default();
    names.iter().for_each(|name| only_names.push(name.as_str(), ""));
    let layout = choose(&only_names)?;

    let mut record = csv::ByteRecord::new();
    while rows.read_byte_record(&mut record).map_err(failure)? {
        budget.renew();
        if record.iter().all(|value| value.trim_ascii().is_empty()) {
            continue;
        }
        let place = Place::Line(record.position().map_or(0, csv::Position::line));
        let entry = values(&names, &record).and_then(|fields| (layout.entry)(&fields, now));
        take(Row { place, size: record.as_slice().len(), entry })?;
    }
    Ok(())
}

fn name(bytes: &[u8]) -> String {
    simplified(String::from_utf8_lossy(bytes).trim())
}

fn values<'a>(names: &'a [String], record: &'a csv::ByteRecord) -> Result<Fields<'a>, Flaw> {
    let mut fields = Fields::default();
    for (name, value) in names.iter().zip(record) {
        fields.push(name.as_str(), std::str::from_utf8(value).map_err(|_| Flaw::Encoding)?);
    }
    Ok(fields)
}

/// The character that separates the names.
fn delimiter(head: &str) -> u8 {
    let line = head.lines().next().unwrap_or_default();
    [b'\t', b',', b';'].into_iter().find(|delimiter| line.contains(char::from(*delimiter))).unwrap_or(b',')
}

fn failure(error: csv::Error) -> ReadError {
    let line = error.position().map(csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(error) => ReadError::Io(error),
        _ => ReadError::Table { line: line.unwrap_or(0) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_the_one_between_the_names() {
        for (head, expected) in
            [("a,b", b','), ("a;b\n1,5;2", b';'), ("a\tb", b'\t'), ("\"a, b\"\tc", b'\t'), ("a", b',')]
        {
            assert_eq!(delimiter(head), expected, "{head}");
        }
    }
}
