//! The options of a link, and the types of their values.

use std::{fmt, num::NonZeroU32, str::FromStr};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use thiserror::Error;

use super::{Target, parsed, time};
use crate::is_default;

/// The options of a link.
///
/// By default, a link redirects everyone, with 302, until it is taken down.
///
/// To add an option, add a field here with a type that validates itself, and add the same field to the API form.
/// Stores, exports and imports need no change. An option that restricts when or by whom the link can be followed must
/// also raise [`Options::needs`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Inclusive: the link redirects from this time on.
    #[serde(with = "time::optional", skip_serializing_if = "is_default")]
    pub starts_at: Option<Timestamp>,
    /// Exclusive: the link stops redirecting at this time.
    #[serde(with = "time::optional", skip_serializing_if = "is_default")]
    pub expires_at: Option<Timestamp>,
    /// The maximum number of visits by people.
    #[serde(skip_serializing_if = "is_default")]
    pub max_visits: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "is_default")]
    pub redirect: RedirectStatus,
    /// Append the short URL's query to the target URL.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_default")]
    pub forward_query: bool,
    /// The link's name in listings.
    #[serde(skip_serializing_if = "is_default")]
    pub title: Option<Title>,
    /// Labels used to filter links.
    #[serde(skip_serializing_if = "is_default")]
    pub tags: Tags,
    /// The page to redirect browsers to after the link has expired or is used up.
    #[serde(skip_serializing_if = "is_default")]
    pub gone_url: Option<Target>,
    /// The password that a visitor must enter.
    #[serde(skip_serializing_if = "is_default")]
    pub password: Option<PasswordHash>,
}

impl Options {
    /// Returns the feature number that a program must support to follow the link.
    ///
    /// It is 1 for `starts_at` and 0 for the other options of 1.0. Each later option that restricts following a link has
    /// its own number.
    pub fn needs(&self) -> u32 {
        if self.starts_at.is_some() { 1 } else { 0 }
    }
}

/// Parses a boolean as spreadsheets and database tools write it.
pub(crate) fn parse_flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" => Some(true),
        "false" | "f" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// Deserializes a boolean, or a string that represents one.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Flag;

    impl Visitor<'_> for Flag {
        type Value = bool;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("true or false")
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
            parse_flag(text).ok_or_else(|| E::custom(format!("{text:?} is not true or false")))
        }
    }

    deserializer.deserialize_any(Flag)
}

/// The HTTP status of a redirect (RFC 9110, section 15.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
pub enum RedirectStatus {
    /// 301: permanent; a client may change POST to GET.
    MovedPermanently,
    /// 302: temporary; a client may change POST to GET.
    #[default]
    Found,
    /// 307: temporary; the client keeps the method.
    TemporaryRedirect,
    /// 308: permanent; the client keeps the method.
    PermanentRedirect,
}

/// The error for an invalid redirect status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a redirect is 301, 302, 307 or 308")]
pub struct InvalidRedirectStatus;

impl RedirectStatus {
    pub fn code(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::TemporaryRedirect => 307,
            Self::PermanentRedirect => 308,
        }
    }

    /// Returns whether clients may cache the redirect.
    pub(crate) fn is_permanent(self) -> bool {
        matches!(self, Self::MovedPermanently | Self::PermanentRedirect)
    }
}

impl From<RedirectStatus> for u16 {
    fn from(status: RedirectStatus) -> Self {
        status.code()
    }
}

impl TryFrom<u16> for RedirectStatus {
    type Error = InvalidRedirectStatus;

    fn try_from(code: u16) -> Result<Self, InvalidRedirectStatus> {
        match code {
            301 => Ok(Self::MovedPermanently),
            302 => Ok(Self::Found),
            307 => Ok(Self::TemporaryRedirect),
            308 => Ok(Self::PermanentRedirect),
            _ => Err(InvalidRedirectStatus),
        }
    }
}

/// The title of a link: 1 to 255 characters without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Title(Box<str>);

/// The error for an invalid title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a title is 1 to {} characters without control characters", Title::MAX_CHARS)]
pub struct InvalidTitle;

impl Title {
    /// The maximum length, in Unicode scalar values.
    pub(crate) const MAX_CHARS: usize = 255;

    /// Returns the title without surrounding white space.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Title {
    type Err = InvalidTitle;

    fn from_str(text: &str) -> Result<Self, InvalidTitle> {
        printable(text, Self::MAX_CHARS).map(Self).ok_or(InvalidTitle)
    }
}

/// A label used to filter links.
///
/// It has 1 to 64 characters, and neither commas nor control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Tag(Box<str>);

/// The error for an invalid tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a tag is 1 to {} characters without commas or control characters", Tag::MAX_CHARS)]
pub struct InvalidTag;

impl Tag {
    /// The maximum length, in Unicode scalar values.
    pub(crate) const MAX_CHARS: usize = 64;

    /// Returns the tag without surrounding white space.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        printable(text, Self::MAX_CHARS).filter(|tag| !tag.contains(',')).map(Self).ok_or(InvalidTag)
    }
}

/// Trims `text`, and returns it if it is valid.
///
/// It must have 1 to `max_chars` characters, and no control characters.
pub(crate) fn printable(text: &str, max_chars: usize) -> Option<Box<str>> {
    let text = text.trim();
    let valid = (1..=max_chars).contains(&text.chars().count()) && !text.contains(char::is_control);
    valid.then(|| text.into())
}

impl<'de> Deserialize<'de> for Title {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

/// The tags of a link, sorted and without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tags(Box<[Tag]>);

/// The error for an invalid list of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidTags {
    #[error(transparent)]
    Tag(#[from] InvalidTag),
    /// There are more than [`Tags::MAX`] tags.
    #[error("a link has at most {} tags", Tags::MAX)]
    TooMany,
}

impl Tags {
    /// The maximum number of tags on a link.
    pub const MAX: usize = 20;

    /// Parses tags, sorts them and removes duplicates.
    ///
    /// # Errors
    /// See [`InvalidTags`].
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidTags> {
        let mut tags = texts.into_iter().map(str::parse).collect::<Result<Vec<Tag>, _>>()?;
        tags.sort_unstable();
        tags.dedup();
        if tags.len() > Self::MAX { Err(InvalidTags::TooMany) } else { Ok(Self(tags.into())) }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Tag> {
        self.0.iter()
    }
}

impl<'de> Deserialize<'de> for Tags {
    /// Deserializes a list of tags, or one string with tags separated by commas.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrText;

        impl<'de> Visitor<'de> for ListOrText {
            type Value = Tags;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of strings, or a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Tags, E> {
                Tags::parse(text.split(',').filter(|tag| !tag.trim().is_empty())).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tags, A::Error> {
                let mut texts = Vec::<String>::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Tags::parse(texts.iter().map(String::as_str)).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(ListOrText)
    }
}

/// An Argon2id hash of a password, as a [PHC string]. `Debug` redacts it.
///
/// [PHC string]: https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash(Box<str>);

impl PasswordHash {
    /// Wraps a PHC string without checking it.
    pub fn from_phc(phc: impl Into<Box<str>>) -> Self {
        Self(phc.into())
    }

    pub(crate) fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_redirect_codes_are_accepted() {
        for code in [301, 302, 307, 308] {
            assert_eq!(RedirectStatus::try_from(code).unwrap().code(), code);
        }
        for code in [0, 200, 300, 303, 304, 400] {
            assert_eq!(RedirectStatus::try_from(code), Err(InvalidRedirectStatus), "{code}");
        }
    }

    #[test]
    fn titles_and_tags_are_trimmed_and_bounded() {
        assert_eq!(" Spring sale ".parse::<Title>().unwrap().as_str(), "Spring sale");
        for text in ["", "  ", "a\nb", "a\0", &"x".repeat(256)] {
            assert_eq!(text.parse::<Title>(), Err(InvalidTitle), "{text:?}");
            assert_eq!(text.parse::<Tag>(), Err(InvalidTag), "{text:?}");
        }
        assert!("ä".repeat(255).parse::<Title>().is_ok());
        assert_eq!("a,b".parse::<Tag>(), Err(InvalidTag));
    }

    #[test]
    fn tags_are_sorted_and_unique() {
        let tags = Tags::parse(["b", "a", " b"]).unwrap();
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b"]);
        let many: Vec<_> = (0..=Tags::MAX).map(|n| n.to_string()).collect();
        assert_eq!(Tags::parse(many.iter().map(String::as_str)), Err(InvalidTags::TooMany));
    }

    #[test]
    fn a_password_hash_is_redacted() {
        assert_eq!(format!("{:?}", PasswordHash::from_phc("$argon2id$secret")), "[redacted]");
    }
}
