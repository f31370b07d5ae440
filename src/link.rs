//! A short link: its [`Key`], its [`Target`] and its [`Document`].
//!
//! Keys, targets and options are newtypes that can't hold an invalid value, so code that has one never checks it again.

mod creator;
pub mod document;
pub mod options;
pub mod time;

use std::{fmt, marker::PhantomData, str::FromStr};

use compact_str::CompactString;
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};
use thiserror::Error;
use url::Url;
use utoipa::ToSchema;

pub use self::{
    creator::{Creator, InvalidCreator},
    document::Document,
};

/// A short link as every store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Unique within a store.
    pub key: Key,
    /// In whole milliseconds, the precision of every store.
    pub created_at: Timestamp,
    /// 1 for a new link, and one more with each edit.
    pub version: u32,
    /// The target, the state and the options.
    pub doc: Document,
}

/// The identity of one state of a link, for conditional changes.
///
/// A key can be deleted and used again. Versions start at 1, so the creation time tells the two links apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    pub created_at: Timestamp,
    pub version: u32,
}

/// The state of a link at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    Active,
    /// The start is in the future.
    Scheduled,
    Expired,
    /// The visit limit is reached. Only the store counts visits, so [`Link::state`] never returns this.
    UsedUp,
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
            Self::TakenDown => "taken_down",
        }
    }
}

impl Link {
    /// Creates a link without options.
    pub fn new(key: Key, target: Target, created_at: Timestamp) -> Self {
        Self { key, created_at, version: 1, doc: Document::new(target) }
    }

    /// Returns the revision that a conditional change must name.
    pub fn revision(&self) -> Revision {
        Revision { created_at: self.created_at, version: self.version }
    }

    /// Returns the state of the link at `now`, visit limits aside.
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
/// It has 1 to 64 characters of `A-Z a-z 0-9 _ -`, and is case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(CompactString);

/// The error for a string that is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a key is 1 to {} characters of A-Z a-z 0-9 _ -", Key::MAX_LEN)]
pub struct InvalidKey;

impl Key {
    /// The maximum length, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the heap allocation in bytes, without the key itself.
    pub fn heap_size(&self) -> usize {
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

/// The absolute `http` or `https` URL that a link redirects to.
///
/// It is normalised by the WHATWG URL standard. That form is plain ASCII without spaces or control characters, so it
/// always makes a valid `Location` header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Target(Box<str>);

/// The error for a string that is not a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidTarget {
    /// Not a URL, not absolute, or of another scheme.
    #[error("a valid http(s) url is required")]
    NotHttp,
    /// The URL has a user name or password. Such links leak secrets or deceive.
    #[error("a url with a user name or password is not accepted")]
    Credentials,
    /// Longer than [`Target::MAX_LEN`] once normalised.
    #[error("a url of at most {} bytes is required", Target::MAX_LEN)]
    TooLong,
}

impl Target {
    /// The maximum length after normalisation, in bytes.
    pub const MAX_LEN: usize = 2048;

    /// The maximum length of input to parse, in bytes.
    ///
    /// Normalisation seldom makes a URL shorter.
    const MAX_TEXT: usize = 8 * Self::MAX_LEN;

    /// Returns the normalised URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the URL with `query` appended to its own query.
    pub fn with_query(&self, query: &str) -> String {
        let mut url = self.to_url();
        match url.query().filter(|old| !old.is_empty()).map(|old| format!("{old}&{query}")) {
            Some(both) => url.set_query(Some(&both)),
            None => url.set_query(Some(query)),
        }
        url.into()
    }

    /// Returns the parsed URL.
    pub fn to_url(&self) -> Url {
        Url::parse(&self.0).expect("a target is a URL by construction")
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    /// Parses and normalises a URL by the [WHATWG URL standard](https://url.spec.whatwg.org/).
    ///
    /// The host becomes lower case and punycode. The default port, dot segments and surrounding white space are
    /// dropped.
    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if text.len() > Self::MAX_TEXT {
            return Err(InvalidTarget::TooLong);
        }
        if text.len() <= Self::MAX_LEN && is_normalised(text) {
            return Ok(Self(text.into()));
        }
        let url = Url::parse(text).map_err(|_| InvalidTarget::NotHttp)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidTarget::NotHttp);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidTarget::Credentials);
        }
        if url.as_str().len() > Self::MAX_LEN {
            return Err(InvalidTarget::TooLong);
        }
        Ok(Self(String::from(url).into_boxed_str()))
    }
}

/// Returns whether a URL is certainly in normal form already.
///
/// This fast path skips the URL parser, which took an eighth of the time of a listing. It returns false when in doubt.
fn is_normalised(text: &str) -> bool {
    let after_scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some((host, path)) = after_scheme.and_then(|rest| rest.split_once('/')) else { return false };
    let is_host = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let is_path = |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b'?' | b'=' | b'&');
    // A host whose last label begins with a letter is not an IPv4 address.
    host.bytes().all(is_host)
        && host
            .rsplit('.')
            .next()
            .is_some_and(|label| label.starts_with(|first: char| first.is_ascii_lowercase()))
        && !(host.starts_with('.') || host.contains("..") || host.contains("xn--"))
        && path.bytes().all(is_path)
        && !(path.starts_with('.') || path.contains("/."))
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

/// Deserializes a value from a string with its `FromStr`.
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
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_of_another_alphabet_or_length_is_refused() {
        for text in ["", "a b", "é", "a/b", "a.b", "a+", "a\0", "ключ", &"x".repeat(65)] {
            assert_eq!(text.parse::<Key>(), Err(InvalidKey), "{text:?}");
        }
        assert!("x".repeat(64).parse::<Key>().is_ok());
    }

    #[test]
    fn a_target_is_normalised() {
        for (given, stored) in [
            ("https://example.com", "https://example.com/"),
            ("HTTP://EXAMPLE.com:80/a/../b", "http://example.com/b"),
            ("  https://example.com/x y\n", "https://example.com/x%20y"),
            ("https://bücher.example/ü?q=ü#ü", "https://xn--bcher-kva.example/%C3%BC?q=%C3%BC#%C3%BC"),
            ("https://0x7f.1/", "https://127.0.0.1/"),
            ("https:example.com", "https://example.com/"),
            ("https://example.com/\r\nSet-Cookie:a=b", "https://example.com/Set-Cookie:a=b"),
        ] {
            assert_eq!(given.parse::<Target>().unwrap().as_str(), stored, "{given:?}");
        }
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        for text in [
            "",
            "example.com",
            "/path",
            "//example.com",
            "https://",
            "ftp://example.com",
            "javascript:alert(1)",
        ] {
            assert_eq!(text.parse::<Target>(), Err(InvalidTarget::NotHttp), "{text:?}");
        }
        for text in ["https://user@example.com", "https://user:pw@example.com", "https://:pw@example.com"] {
            assert_eq!(text.parse::<Target>(), Err(InvalidTarget::Credentials), "{text:?}");
        }
    }

    #[test]
    fn the_length_counts_after_normalisation() {
        let prefix = "https://example.com/";
        let fits = format!("{prefix}{}", "a".repeat(Target::MAX_LEN - prefix.len()));
        assert!(fits.parse::<Target>().is_ok());
        assert_eq!(format!("{fits}a").parse::<Target>(), Err(InvalidTarget::TooLong));
        let grows = format!("{prefix}{}", "é".repeat(400));
        assert!(grows.len() < Target::MAX_LEN);
        assert_eq!(grows.parse::<Target>(), Err(InvalidTarget::TooLong));
    }

    #[test]
    fn a_query_is_added_before_the_fragment() {
        for (target, expected) in [
            ("https://a.example/p", "https://a.example/p?x=1&y=%20"),
            ("https://a.example/p?", "https://a.example/p?x=1&y=%20"),
            ("https://a.example/p?a=b#f", "https://a.example/p?a=b&x=1&y=%20#f"),
        ] {
            assert_eq!(target.parse::<Target>().unwrap().with_query("x=1&y= "), expected);
        }
    }

    #[test]
    fn a_link_starts_and_expires_at_its_very_moment() {
        let made = Timestamp::UNIX_EPOCH;
        let expiry = Timestamp::from_millisecond(1000).unwrap();
        let mut link = Link::new("k".parse().unwrap(), "https://example.com".parse().unwrap(), made);
        link.doc.options.expires_at = Some(expiry);
        assert_eq!(link.state(Timestamp::from_millisecond(999).unwrap()), LinkState::Active);
        assert_eq!(link.state(expiry), LinkState::Expired);
        link.doc.options.starts_at = Some(Timestamp::from_millisecond(500).unwrap());
        assert_eq!(link.state(Timestamp::from_millisecond(499).unwrap()), LinkState::Scheduled);
        assert_eq!(link.state(Timestamp::from_millisecond(500).unwrap()), LinkState::Active);
        assert_eq!(link.state(expiry), LinkState::Expired);
        link.doc.taken_down_at = Some(made);
        assert_eq!(link.state(made), LinkState::TakenDown);
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

        #[test]
        fn no_string_makes_a_target_panic(text in any::<String>(), prefix in "(https?:/{0,3})?") {
            let _ = format!("{prefix}{text}").parse::<Target>();
        }

        #[test]
        fn an_address_that_looks_normalised_is(
            host in "[a-z0-9.-]{1,12}(\\.(com|xn--a|0x1|1|a1|-a))?", rest in "[/a-zA-Z0-9._~?=&-]{0,15}",
        ) {
            let text = format!("https://{host}/{rest}");
            if is_normalised(&text) {
                let url = Url::parse(&text).unwrap();
                prop_assert_eq!(url.as_str(), &text);
            }
        }

        #[test]
        fn an_accepted_target_is_a_header_and_normalises_to_itself(
            host in "[a-zA-Zä0-9.-]{1,20}", rest in "(:[0-9]{1,5})?(/\\PC{0,30})?([?#][\\s\\S]{0,20})?",
        ) {
            if let Ok(target) = format!("https://{host}{rest}").parse::<Target>() {
                prop_assert!(HeaderValue::from_str(target.as_str()).is_ok());
                prop_assert_eq!(target.as_str().parse::<Target>().unwrap(), target);
            }
        }
    }
}
