//! Deserializers for fields that accept several types.
//!
//! They store only the resulting value. An untagged enum would first buffer the client's input, which takes many times
//! as much memory as the input itself.

use std::{fmt, marker::PhantomData, str::FromStr};

use jiff::{Timestamp, civil::Date};
use serde::{
    Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::link::options::InvalidTags;

/// The maximum number of words in a list, including duplicates.
const MAX_WORDS: usize = 100;

/// Deserializes a string.
///
/// A value of any other type counts as missing.
pub(crate) fn string_or_nothing<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    struct StringOrNothing;

    impl<'de> Visitor<'de> for StringOrNothing {
        type Value = Option<String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a string")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.into()))
        }

        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    }

    deserializer.deserialize_any(StringOrNothing)
}

/// The description of a valid duration, for error messages.
pub(crate) const DURATION: &str = "a number of seconds, or a duration such as 30d, 12h or 90min";

/// Deserializes a duration as text.
///
/// Both strings and whole numbers are accepted, because they look alike in a form.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct TextOrNumber;

    impl<'de> Visitor<'de> for TextOrNumber {
        type Value = Option<String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(DURATION)
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
            value.deserialize_any(self)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.into()))
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }
    }

    deserializer.deserialize_option(TextOrNumber)
}

/// Deserializes a timestamp.
pub(crate) fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    deserializer.deserialize_option(Parsed::new("an RFC 3339 timestamp such as 2030-01-31T12:00:00Z"))
}

/// Deserializes a date.
pub(crate) fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
    deserializer.deserialize_option(Parsed::new("a date such as 2030-01-31"))
}

/// A serde visitor that parses a string into `T`.
struct Parsed<T> {
    /// The description of a valid value, for error messages.
    expected: &'static str,
    value: PhantomData<T>,
}

impl<T> Parsed<T> {
    fn new(expected: &'static str) -> Self {
        Self { expected, value: PhantomData }
    }
}

impl<'de, T: FromStr> Visitor<'de> for Parsed<T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_str(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map(Some).map_err(|_| E::custom(format_args!("takes {}", self.expected)))
    }
}

/// Deserializes a list of words, or one string of comma-separated words.
pub(crate) fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Words;

    fn bounded<E: Error>(words: Vec<String>) -> Result<Vec<String>, E> {
        if words.len() > MAX_WORDS { Err(E::custom(InvalidTags::TooMany)) } else { Ok(words) }
    }

    impl<'de> Visitor<'de> for Words {
        type Value = Vec<String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list of strings, or a string")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let words = text.split(',').filter(|word| !word.trim().is_empty());
            bounded(words.take(MAX_WORDS + 1).map(Into::into).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut words = Vec::new();
            while let Some(word) = list.next_element()? {
                words.push(word);
                words = bounded(words)?;
            }
            Ok(words)
        }
    }

    deserializer.deserialize_any(Words)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_value_of_another_type_is_ignored_or_refused() {
        for (value, expected) in [
            (json!("x"), Some("x")),
            (json!(null), None),
            (json!(true), None),
            (json!(-1), None),
            (json!(1.5), None),
            (json!([["x"]]), None),
            (json!({ "a": { "b": "x" } }), None),
        ] {
            assert_eq!(string_or_nothing(&value).unwrap().as_deref(), expected, "{value}");
        }
        assert_eq!(duration(&json!(60)).unwrap().as_deref(), Some("60"));
        assert_eq!(duration(&json!("30d")).unwrap().as_deref(), Some("30d"));
        assert_eq!(duration(&Value::Null).unwrap(), None);
        for value in [json!(-1), json!(1.5), json!([]), json!({}), json!(true)] {
            assert!(duration(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn the_number_of_words_is_bounded() {
        assert_eq!(words(&json!(["a", "b"])).unwrap(), ["a", "b"]);
        assert_eq!(words(&json!("a,,b,")).unwrap(), ["a", "b"]);
        for count in [MAX_WORDS, MAX_WORDS + 1] {
            let list = vec!["a"; count];
            assert_eq!(words(&json!(list)).is_ok(), count == MAX_WORDS);
            assert_eq!(words(&json!(list.join(","))).is_ok(), count == MAX_WORDS);
        }
        assert!(words(&json!([1])).is_err() && words(&json!(1)).is_err());
    }
}
