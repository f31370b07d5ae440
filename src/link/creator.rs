//! The creator of a link.

use std::{fmt, str::FromStr};

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::parsed;

/// The creator of a link: a token's name or a reserved name.
///
/// It has 1 to 64 visible ASCII characters. Colons and commas are not allowed, because `API_TOKENS` uses them as
/// separators.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Creator(CompactString);

/// The error for an invalid creator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a name is 1 to {} visible ASCII characters without ':' or ','", Creator::MAX_LEN)]
pub struct InvalidCreator;

impl Creator {
    /// A client without a token. This is the default, so it's left out of documents.
    pub const PUBLIC: Self = Self(CompactString::const_new("public"));

    /// An import from a file that does not name a link's creator.
    pub(crate) const IMPORT: Self = Self(CompactString::const_new("import"));

    /// The maximum length, in bytes.
    pub(crate) const MAX_LEN: usize = 64;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the name is reserved, so that no token can have it.
    pub(crate) fn is_reserved(&self) -> bool {
        *self == Self::PUBLIC || *self == Self::IMPORT
    }
}

impl Default for Creator {
    fn default() -> Self {
        Self::PUBLIC
    }
}

impl FromStr for Creator {
    type Err = InvalidCreator;

    fn from_str(text: &str) -> Result<Self, InvalidCreator> {
        let valid = (1..=Self::MAX_LEN).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b':' | b','));
        if valid { Ok(Self(text.into())) } else { Err(InvalidCreator) }
    }
}

impl fmt::Display for Creator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Creator {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Creator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_list_of_tokens_can_not_hold_is_refused() {
        for text in ["", "a b", "a:b", "a,b", "é", "a\n", &"x".repeat(65)] {
            assert_eq!(text.parse::<Creator>(), Err(InvalidCreator), "{text:?}");
        }
        for text in ["anna", "ci/deploy@2", &"x".repeat(64)] {
            assert!(!text.parse::<Creator>().unwrap().is_reserved(), "{text}");
        }
        assert!(["public", "import"].iter().all(|text| text.parse::<Creator>().unwrap().is_reserved()));
    }
}
