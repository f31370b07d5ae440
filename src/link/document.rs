//! The stored form of a link, as one JSON object.
//!
//! It contains everything except the key, the creation time and the version. Stores read only its `max_visits` field.
//! Exports contain the same object. Fields with default values are left out. The API has its own JSON format for links.

use std::{
    ops::{Deref, DerefMut},
    sync::LazyLock,
};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{Creator, Target, options::Options, time};
use crate::is_default;

/// The target, the state and the options of a link.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Document {
    /// The stored `needs` number if it's above [`Document::SUPPORTED`], otherwise 0.
    #[serde(default, rename = "needs", deserialize_with = "beyond_support")]
    unsupported: u32,
    pub target: Target,
    #[serde(default)]
    pub created_by: Creator,
    /// `None` unless the link is taken down.
    #[serde(default, with = "time::optional")]
    pub taken_down_at: Option<Timestamp>,
    #[serde(flatten)]
    pub options: BoxedOptions,
    /// Fields written by a newer version of this program, if any. They are kept when this version edits the link.
    #[serde(flatten, deserialize_with = "boxed")]
    unknown: Option<Box<Map<String, Value>>>,
}

/// The options of a link, on the heap.
///
/// Most links have no options and take no memory for them, so that more links fit into the cache.
#[derive(Clone, Debug, Default)]
pub struct BoxedOptions(Option<Box<Options>>);

impl From<Options> for BoxedOptions {
    fn from(options: Options) -> Self {
        Self((!is_default(&options)).then(|| options.into()))
    }
}

impl Deref for BoxedOptions {
    type Target = Options;

    fn deref(&self) -> &Options {
        static DEFAULT: LazyLock<Options> = LazyLock::new(Options::default);
        self.0.as_deref().unwrap_or(&DEFAULT)
    }
}

impl DerefMut for BoxedOptions {
    fn deref_mut(&mut self) -> &mut Options {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for BoxedOptions {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for BoxedOptions {}

impl<'de> Deserialize<'de> for BoxedOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Options::deserialize(deserializer).map(Self::from)
    }
}

fn boxed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Map<String, Value>>>, D::Error> {
    let fields = Map::deserialize(deserializer)?;
    Ok((!fields.is_empty()).then(|| fields.into()))
}

impl Document {
    /// The highest [`Document::needs`] that this program supports.
    pub(crate) const SUPPORTED: u32 = 1;

    /// Creates a document without options.
    pub fn new(target: Target) -> Self {
        Self {
            unsupported: 0,
            target,
            created_by: Creator::default(),
            taken_down_at: None,
            options: BoxedOptions::default(),
            unknown: None,
        }
    }

    /// Returns the feature number that a program must support to follow the link.
    ///
    /// A program must not follow a link unless it knows all of the link's restrictions.
    pub fn needs(&self) -> u32 {
        self.options.needs().max(self.unsupported)
    }

    /// Returns whether this program knows all of the link's restrictions.
    pub(crate) fn is_supported(&self) -> bool {
        self.unsupported == 0
    }

    /// Returns whether the document has only a target and a creator.
    pub fn is_plain(&self) -> bool {
        *self == Self { created_by: self.created_by.clone(), ..Self::new(self.target.clone()) }
    }

    /// Returns the name of a field that this program does not know, if any.
    pub fn unknown_field(&self) -> Option<&str> {
        self.unknown.as_ref()?.keys().next().map(String::as_str)
    }
}

fn beyond_support<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    u32::deserialize(deserializer).map(|needs| if needs > Document::SUPPORTED { needs } else { 0 })
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Stored<'a> {
            #[serde(skip_serializing_if = "is_default")]
            needs: u32,
            target: &'a Target,
            #[serde(skip_serializing_if = "is_default")]
            created_by: Option<&'a Creator>,
            #[serde(with = "time::optional", skip_serializing_if = "is_default")]
            taken_down_at: Option<Timestamp>,
            #[serde(flatten)]
            options: &'a Options,
            #[serde(flatten)]
            unknown: &'a Option<Box<Map<String, Value>>>,
        }

        let Self { target, created_by, taken_down_at, options, unknown, .. } = self;
        let (needs, taken_down_at) = (self.needs(), *taken_down_at);
        let created_by = (*created_by != Creator::default()).then_some(created_by);
        Stored { needs, target, created_by, taken_down_at, options, unknown }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::options::RedirectStatus;

    fn document(text: &str) -> Document {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn defaults_are_not_written() {
        let plain = Document::new("https://example.com".parse().unwrap());
        assert!(plain.is_plain());
        assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"target":"https://example.com/"}"#);
    }

    #[test]
    fn a_document_whose_options_are_removed_is_plain() {
        let mut edited = document(r#"{"target":"https://example.com/","redirect":301}"#);
        assert!(!edited.is_plain());
        edited.options.redirect = RedirectStatus::Found;
        assert!(edited.is_plain());
    }

    #[test]
    fn timestamps_are_written_so_that_they_sort_as_text() {
        let text = r#"{"target":"https://example.com/","expires_at":"2026-01-02T03:04:05Z"}"#;
        let written = serde_json::to_string(&document(text)).unwrap();
        assert!(written.contains(r#""expires_at":"2026-01-02T03:04:05.000Z""#), "{written}");
    }

    #[test]
    fn a_field_and_a_need_of_a_newer_version_survive_an_edit() {
        let text =
            r#"{"needs":99,"target":"https://example.com/","title":"old","colour":{"name":"red"},"size":1}"#;
        let mut edited = document(text);
        assert!(!edited.is_supported() && !edited.is_plain());
        assert_eq!(edited.unknown_field(), Some("colour"));
        edited.options.title = Some("new".parse().unwrap());
        let written: Value = serde_json::to_value(&edited).unwrap();
        let expected = text.replace("old", "new");
        assert_eq!(written, serde_json::from_str::<Value>(&expected).unwrap());
    }

    #[test]
    fn an_invalid_value_is_refused() {
        for member in [
            r#""target":"ftp://example.com""#,
            r#""target":"https://example.com","redirect":303"#,
            r#""target":"https://example.com","created_by":"a b""#,
            r#""target":"https://example.com","max_visits":0"#,
            r#""target":"https://example.com","title":" ""#,
            r#""target":"https://example.com","tags":["a,b"]"#,
            r#""target":"https://example.com","expires_at":"9999-12-31T23:59:59Z""#,
            r#""target":"https://example.com","expires_at":"tomorrow""#,
        ] {
            assert!(serde_json::from_str::<Document>(&format!("{{{member}}}")).is_err(), "{member}");
        }
    }
}
