//! A short link: its [`Key`], its [`Target`] and its [`Document`].
//!
//! Keys, targets and options are newtypes that can't hold an invalid value, so code that receives such a value never
//! needs to check it again.

mod creator;
pub mod document;
pub mod options;
mod target;
pub mod time;

use std::{fmt, marker::PhantomData, str::FromStr};

use compact_str::CompactString;
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};
use thiserror::Error;
use utoipa::ToSchema;

pub use self::{
    creator::{Creator, InvalidCreator},
    document::Document,
    target::{InvalidTarget, Target},
};

/// A stored short link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The key, which is unique within a store.
    pub key: Key,
    /// The creation time, with millisecond precision as in every store.
    pub created_at: Timestamp,
    /// The version, which starts at 1 and increases by 1 with each edit.
    pub version: u32,
    /// The target, the state and the options.
    pub doc: Document,
}

/// The identity of one version of a link, for conditional changes.
///
/// A key can be reused after its link is deleted. The new link's versions start at 1 again, so only the creation time
/// distinguishes it from the old link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    pub created_at: Timestamp,
    pub version: u32,
}

/// The state of a link at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    Active,
    /// The start time is in the future.
    Scheduled,
    Expired,
    /// The visit limit is reached. [`Link::state`] never returns this, because only the store counts visits.
    UsedUp,
    /// The target's host is blocked. [`Link::state`] never returns this, because the block list is not part of the
    /// link.
    Blocked,
    TakenDown,
}

impl LinkState {
    /// Returns the name used in exports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Scheduled => "scheduled",
            Self::Expired => "expired",
            Self::UsedUp => "used_up",
            Self::Blocked => "blocked",
            Self::TakenDown => "taken_down",
        }
    }
}

impl Link {
    /// Creates a link without options.
    pub fn new(key: Key, target: Target, created_at: Timestamp) -> Self {
        Self { key, created_at, version: 1, doc: Document::new(target) }
    }

    /// Returns the revision for a conditional change.
    pub fn revision(&self) -> Revision {
        Revision { created_at: self.created_at, version: self.version }
    }

    /// Returns the link's state at `now`, ignoring visit limits and blocked hosts.
    pub fn state(&self, now: Timestamp) -> LinkState {
        if self.doc.taken_down_at.is_some() {
            LinkState::TakenDown
        } else if self.doc.options.expires_at.is_some_and(|expiry| expiry <= now) {
            LinkState::Expired
        } else if self.doc.options.starts_at.is_some_and(|start| start > now) {
            LinkState::Scheduled
        } else {
            LinkState::Active
        }
    }
}

/// The last segment of a short URL.
///
/// It has 1 to 64 characters from `A-Z a-z 0-9 _ -`, and is case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(CompactString);

/// The error for an invalid key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a key is 1 to {} characters of A-Z a-z 0-9 _ -", Key::MAX_LEN)]
pub struct InvalidKey;

impl Key {
    /// The maximum length, in bytes.
    pub(crate) const MAX_LEN: usize = 64;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the size in bytes of the key's heap allocation, if any.
    pub(crate) fn heap_size(&self) -> usize {
        if self.0.is_heap_allocated() { self.0.capacity() } else { 0 }
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let valid = (1..=Self::MAX_LEN).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if valid { Ok(Self(text.into())) } else { Err(InvalidKey) }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Deserializes a value from a string, using its `FromStr` implementation.
pub(crate) fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    struct Text<T>(PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a string")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(PhantomData))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_with_invalid_characters_or_length_is_refused() {
        for text in ["", "a b", "é", "a/b", "a.b", "a+", "a\0", "ключ", &"x".repeat(65)] {
            assert_eq!(text.parse::<Key>(), Err(InvalidKey), "{text:?}");
        }
        assert!("x".repeat(64).parse::<Key>().is_ok());
    }

    #[test]
    fn a_link_takes_little_memory() {
        assert!(size_of::<Link>() <= 136, "{}", size_of::<Link>());
    }

    #[test]
    fn a_link_starts_and_expires_exactly_on_time() {
        let created = Timestamp::UNIX_EPOCH;
        let expiry = Timestamp::from_millisecond(1000).unwrap();
        let mut link = Link::new("k".parse().unwrap(), "https://example.com".parse().unwrap(), created);
        link.doc.options.expires_at = Some(expiry);
        assert_eq!(link.state(Timestamp::from_millisecond(999).unwrap()), LinkState::Active);
        assert_eq!(link.state(expiry), LinkState::Expired);
        link.doc.options.starts_at = Some(Timestamp::from_millisecond(500).unwrap());
        assert_eq!(link.state(Timestamp::from_millisecond(499).unwrap()), LinkState::Scheduled);
        assert_eq!(link.state(Timestamp::from_millisecond(500).unwrap()), LinkState::Active);
        assert_eq!(link.state(expiry), LinkState::Expired);
        link.doc.taken_down_at = Some(created);
        assert_eq!(link.state(created), LinkState::TakenDown);
    }

    proptest! {
        #[test]
        fn any_key_round_trips(text in "[A-Za-z0-9_-]{1,64}") {
            let key: Key = text.parse().unwrap();
            prop_assert_eq!(key.as_str(), &text);
            prop_assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
        }

        #[test]
        fn no_string_makes_a_key_panic(text in any::<String>()) {
            let _ = text.parse::<Key>();
        }
    }
}
