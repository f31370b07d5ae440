//! Lists of JSON objects, as returned by the APIs of other services.
//!
//! A document is an array, or an object with an array named `data` or `links`. A file can contain several documents,
//! such as the pages of an API response. The parser reads one object at a time, so memory use does not depend on the
//! file's length.

use std::{
    fmt,
    io::{BufReader, Read},
};

use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{
    Format,
    fields::{Fields, simplified},
    layouts::Layout,
    row::{Position, ReadError, Row, RowBudget},
};

/// The names that an array of links can have in a document.
const LISTS: [&str; 2] = ["data", "links"];

/// Passes each object to `take` as a row. The first object determines the layout.
pub(super) fn read(
    input: impl Read,
    format: Format,
    now: Timestamp,
    mut take: impl FnMut(Row) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let budget = RowBudget::default();
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(budget.limit(input)));
    let (mut number, mut layout) = (0, None);
    let mut take_object = |object: &Value| {
        let fields = fields(object);
        let layout = match layout {
            Some(layout) => layout,
            None => *layout.insert(Layout::of(&fields, format)?),
        };
        number += 1;
        take(Row {
            position: Position::Link(number),
            size: budget.next_row(),
            entry: (layout.parse)(&fields, now),
        })
    };
    loop {
        match json.end() {
            Ok(()) => return Ok(()),
            Err(error) if error.is_io() => return Err(error.into()),
            Err(_another_document) => {}
        }
        let mut failure = None;
        let each = &mut |object: &Value| take_object(object).map_err(|error| failure = Some(error)).is_ok();
        if let Err(error) = Objects(each).deserialize(&mut json) {
            return Err(failure.unwrap_or_else(|| error.into()));
        }
    }
}

/// Returns an object's members as text.
///
/// An array becomes its strings, separated by commas. Nulls and nested objects become empty strings.
fn fields(object: &Value) -> Fields<'_> {
    let mut fields = Fields::default();
    for (name, value) in object.as_object().into_iter().flatten() {
        let name = simplified(name);
        match value {
            Value::String(text) => fields.push(name, text.as_str()),
            Value::Bool(_) | Value::Number(_) => fields.push(name, value.to_string()),
            Value::Array(values) => {
                fields.push(name, values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))
            }
            Value::Null | Value::Object(_) => fields.push(name, ""),
        }
    }
    fields
}

/// A deserializer that passes each object to a function until the function returns false.
struct Objects<'a, F>(&'a mut F);

impl<'de, F: FnMut(&Value) -> bool> DeserializeSeed<'de> for Objects<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, document: D) -> Result<(), D::Error> {
        document.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&Value) -> bool> Visitor<'de> for Objects<'_, F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of links")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(object) = list.next_element()? {
            if !(self.0)(&object) {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut document: A) -> Result<(), A::Error> {
        while let Some(name) = document.next_key::<String>()? {
            if LISTS.contains(&name.as_str()) {
                document.next_value_seed(Objects(&mut *self.0))?;
            } else {
                document.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the key of each object, or the error.
    fn keys(json: &str) -> Result<Vec<String>, ReadError> {
        let mut keys = Vec::new();
        let json = json.replace("\"k\"", "\"target\":\"http://a\",\"key\"");
        read(json.as_bytes(), Format::Csv, Timestamp::UNIX_EPOCH, |row| {
            assert_eq!(row.position, Position::Link(keys.len() as u64 + 1));
            keys.push(row.entry.map_or_else(|error| error.to_string(), |entry| entry.link.key.to_string()));
            Ok(())
        })?;
        Ok(keys)
    }

    #[test]
    fn objects_are_read_from_the_lists_of_apis() {
        assert_eq!(keys(r#"[{"k":"a"},{"k":1}]"#).unwrap(), ["a", "1"]);
        assert_eq!(keys(r#"{"total":2,"x":[{"k":"n"}],"data":[{"k":"a"}]}"#).unwrap(), ["a"]);
        assert_eq!(
            keys("{\"links\":[{\"k\":\"a\"}]}\n {\"links\":[{\"k\":[\"b\"]},{\"k\":\"c\"}]}\n").unwrap(),
            ["a", "b", "c"]
        );
        assert_eq!(keys("[]").unwrap(), Vec::<String>::new());
        assert_eq!(
            keys("[{\"k\":\"a\"},1,{\"k\":null}][{\"k\":[\"b\",\"c\"]}]").unwrap()[1..3],
            ["missing key", "missing key"]
        );
    }

    #[test]
    fn a_broken_document_is_an_error() {
        for json in ["[{\"k\":", "[} ", "7", "[{\"k\":\"a\"}] x"] {
            assert!(matches!(keys(json), Err(ReadError::Json(_))), "{json}");
        }
    }
}
