//! JSON documents that list objects: an array, or an object with an array named `data` or `links`. Several may stand
//! one after the other, as pages do that were fetched in turn. They are read object by object.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{
    fields::{Fields, simplified},
    input::{Budget, Limited},
    reader::ReadError,
};

/// Names that lists have in the answers of the APIs that are known here.
const LISTS: [&str; 2] = ["data", "links"];

/// Hands each object to `take`, with its number, the first being 1, and its size.
pub(super) fn read(
    input: impl Read,
    budget: &Budget,
    mut take: impl FnMut(u64, usize, &Fields<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut input = BufReader::new(Limited::new(input, budget.clone()));
    let (mut number, mut stopped) = (0, None);
    let mut each = |object: &Value| {
        number += 1;
        let taken = take(number, budget.renew(), &fields(object));
        taken.map_err(|error| stopped = Some(error)).is_ok()
    };
    while !at_end(&mut input)? {
        let mut document = serde_json::Deserializer::from_reader(&mut input);
        if let Err(error) = Objects(&mut each).deserialize(&mut document) {
            return Err(stopped.unwrap_or(ReadError::Json(error)));
        }
    }
    Ok(())
}

/// Passes over white space, and tells whether nothing follows it.
fn at_end(input: &mut impl BufRead) -> Result<bool, ReadError> {
    loop {
        let available = input.fill_buf().map_err(ReadError::Io)?;
        if available.is_empty() {
            return Ok(true);
        }
        match available.iter().position(|byte| !byte.is_ascii_whitespace()) {
            Some(at) => {
                input.consume(at);
                return Ok(false);
            }
            None => {
                let count = available.len();
                input.consume(count);
            }
        }
    }
}

/// The members of an object that are text, numbers or truths; of a list, those that are text.
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

/// Calls a function for each object of a document while that returns true.
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

    fn keys(json: &str) -> Result<Vec<String>, ReadError> {
        let mut keys = Vec::new();
        read(json.as_bytes(), &Budget::new(1000), |number, _, fields| {
            assert_eq!(number, keys.len() as u64 + 1);
            keys.push(fields.text(&["key"]).unwrap_or("?").to_owned());
            Ok(())
        })?;
        Ok(keys)
    }

    #[test]
    fn objects_are_found_wherever_apis_list_them() {
        assert_eq!(keys(r#"[{"key":"a"},{"key":1}]"#).unwrap(), ["a", "1"]);
        assert_eq!(keys(r#"{"total":2,"x":[{"key":"n"}],"data":[{"key":"a"}]}"#).unwrap(), ["a"]);
        assert_eq!(
            keys("{\"links\":[{\"key\":\"a\"}]}\n {\"links\":[{\"key\":[\"b\",\"c\"]}]}\n").unwrap(),
            ["a", "b,c"]
        );
        assert_eq!(keys("[]").unwrap(), Vec::<String>::new());
        assert_eq!(keys("[1,{\"key\":null}]").unwrap(), ["?", "?"]);
    }

    #[test]
    fn broken_and_endless_documents_are_errors() {
        for json in ["[{\"key\":", "[} ", "7", "[{}] x"] {
            assert!(matches!(keys(json), Err(ReadError::Json(_))), "{json}");
        }
        let endless = format!("[{{\"key\":\"{}\"}}]", "x".repeat(2000));
        assert!(keys(&endless).is_err());
    }
}
