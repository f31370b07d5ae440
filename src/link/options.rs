//! The options of a link, and their values.

use std::{fmt, num::NonZeroU32, str::FromStr};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use thiserror::Error;

use super::{parsed, time};
use crate::is_default;

/// The options of a link. Unless one is set, a link redirects for everyone, with 302, until it is taken down.
///
/// A new option is a field here with the validation of its type, and a field of the API's form that sets it. Stores,
/// exports and imports keep it without a change. One that restricts who may follow the link also raises
/// [`Options::needs`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// The first moment at which the link redirects.
    #[serde(with = "time::optional", skip_serializing_if = "is_default")]
    pub starts_at: Option<Timestamp>,
    /// The first moment at which the link no longer redirects.
    #[serde(with = "time::optional", skip_serializing_if = "is_default")]
    pub expires_at: Option<Timestamp>,
    /// Visits by people that the link serves in all.
    #[serde(skip_serializing_if = "is_default")]
    pub max_visits: Option<NonZeroU32>,
    /// The status that redirects.
    #[serde(skip_serializing_if = "is_default")]
    pub redirect: RedirectStatus,
    /// Add the query of the short URL to the target's.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_default")]
    pub forward_query: bool,
    /// Name of the link in listings.
    #[serde(skip_serializing_if = "is_default")]
    pub title: Option<Title>,
    /// Labels used to filter links.
    #[serde(skip_serializing_if = "is_default")]
    pub tags: Tags,
    /// Password that a visitor must enter.
    #[serde(skip_serializing_if = "is_default")]
    pub password: Option<PasswordHash>,
}

impl Options {
    /// Returns the number that a program must support to follow a link with these options.
    ///
    /// It is 0 for the options of the first release. Each option that came later and restricts following has its own.
    pub fn needs(&self) -> u32 {
        if self.starts_at.is_some() { 1 } else { 0 }
    }
}

/// Reads a boolean from the text that a spreadsheet or a database tool has written.
pub(crate) fn parse_flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" => Some(true),
        "false" | "f" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// Reads a boolean, or the text of one.
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

/// The status with which a link redirects (RFC 9110, section 15.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
pub enum RedirectStatus {
    /// 301: for ever; a client may turn POST into GET.
    MovedPermanently,
    /// 302: for now; a client may turn POST into GET.
    #[default]
    Found,
    /// 307: for now, with the same method.
    TemporaryRedirect,
    /// 308: for ever, with the same method.
    PermanentRedirect,
}

/// A number is not the status of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a redirect is 301, 302, 307 or 308")]
pub struct InvalidRedirectStatus;

impl RedirectStatus {
    /// The status as it stands in the answer.
    pub fn code(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::TemporaryRedirect => 307,
            Self::PermanentRedirect => 308,
        }
    }

    /// Whether clients may remember the target instead of asking again.
    pub fn is_permanent(self) -> bool {
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

/// What a link is called by those who manage it: 1 to 255 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Title(Box<str>);

/// A string is not a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a title is 1 to {} characters without control characters", Title::MAX_CHARS)]
pub struct InvalidTitle;

impl Title {
    /// The longest title, in Unicode scalar values.
    pub const MAX_CHARS: usize = 255;

    /// The title as it was given, without white space around it.
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

/// A word by which links are found: 1 to 64 characters, none of them a control character or a comma.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Tag(Box<str>);

/// A string is not a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a tag is 1 to {} characters without commas and control characters", Tag::MAX_CHARS)]
pub struct InvalidTag;

impl Tag {
    /// The longest tag, in Unicode scalar values.
    pub const MAX_CHARS: usize = 64;

    /// The tag as it was given, without white space around it.
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

fn printable(text: &str, max_chars: usize) -> Option<Box<str>> {
    let text = text.trim();
    let valid = (1..=max_chars).contains(&text.chars().count()) && !text.contains(char::is_control);
    valid.then(|| text.into())
}

impl<'de> Deserialize<'de> for Title {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

/// The tags of one link: sorted, each once, [`Tags::MAX`] at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tags(Box<[Tag]>);

/// These are not the tags of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidTags {
    /// One of them is no tag.
    #[error(transparent)]
    Tag(#[from] InvalidTag),
    /// There are too many.
    #[error("a link has at most {} tags", Tags::MAX)]
    TooMany,
}

impl Tags {
    /// The most tags that a link can have.
    pub const MAX: usize = 20;

    /// Reads and orders tags.
    ///
    /// # Errors
    /// See [`InvalidTags`].
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidTags> {
        let mut tags = texts.into_iter().map(str::parse).collect::<Result<Vec<Tag>, _>>()?;
        tags.sort_unstable();
        tags.dedup();
        if tags.len() > Self::MAX { Err(InvalidTags::TooMany) } else { Ok(Self(tags.into())) }
    }

    /// Each tag, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Tag> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Tags {
    /// Reads a list of tags, or one string in which commas separate them.
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

/// A password as a store keeps it: an Argon2id hash as a [PHC string]. `Debug` hides it.
///
/// [PHC string]: https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash(Box<str>);

impl PasswordHash {
    /// Takes a PHC string for what it is.
    pub fn from_phc(phc: impl Into<Box<str>>) -> Self {
        Self(phc.into())
    }

    /// The PHC string.
    pub fn as_phc(&self) -> &str {
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
    fn only_redirects_are_redirect_statuses() {
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
    fn tags_are_sorted_and_each_stands_once() {
        let tags = Tags::parse(["b", "a", " b"]).unwrap();
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b"]);
        let many: Vec<_> = (0..=Tags::MAX).map(|n| n.to_string()).collect();
        assert_eq!(Tags::parse(many.iter().map(String::as_str)), Err(InvalidTags::TooMany));
    }

    #[test]
    fn a_password_hash_does_not_show_itself() {
        assert_eq!(format!("{:?}", PasswordHash::from_phc("$argon2id$secret")), "[redacted]");
    }
}
