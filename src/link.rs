//! A short link and the two values it is made of: its [`Key`] and its [`Target`].
//!
//! Both are newtypes that can't hold an invalid value, so whoever has one need not check it again.

pub mod options;
pub mod time;

use std::{fmt, num::NonZeroU32, str::FromStr};

use compact_str::CompactString;
use jiff::Timestamp;
use thiserror::Error;
use url::Url;

use self::options::{Options, PasswordHash, RedirectStatus, Tags, Title};

/// A short link as every store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What stands behind the slash of the short URL; unique within a store.
    pub key: Key,
    /// Where the redirect leads.
    pub target: Target,
    /// When it was made, to the millisecond.
    pub created_at: Timestamp,
    /// The first moment at which it no longer redirects; `None` for a link that stays.
    pub expires_at: Option<Timestamp>,
    /// How many visits it serves in all; `None` for as many as come.
    pub max_visits: Option<NonZeroU32>,
    /// Since when it has been taken down; `None` for a link that stands.
    pub taken_down_at: Option<Timestamp>,
    /// How it redirects.
    pub redirect: RedirectStatus,
    /// Whether the query of the short URL is added to the target's.
    pub forward_query: bool,
    /// What those who manage it call it.
    pub title: Option<Title>,
    /// By what those who manage it find it.
    pub tags: Tags,
    /// What a visitor has to know.
    pub password: Option<PasswordHash>,
    /// 1 at first, and one more with each edit.
    pub version: u32,
}

/// Whether a link redirects at some moment, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It redirects.
    Active,
    /// Its expiry has come.
    Expired,
    /// It was taken down by hand.
    TakenDown,
}

impl Link {
    /// A link that redirects from `created_at` on, without limits.
    pub fn new(key: Key, target: Target, created_at: Timestamp) -> Self {
        Self {
            key,
            target,
            created_at,
            expires_at: None,
            max_visits: None,
            taken_down_at: None,
            redirect: RedirectStatus::default(),
            forward_query: false,
            title: None,
            tags: Tags::default(),
            password: None,
            version: 1,
        }
    }

    /// The same link with these options.
    #[must_use]
    pub fn with(self, options: Options) -> Self {
        let Options { expires_at, max_visits, redirect, forward_query, title, tags, password } = options;
        Self { expires_at, max_visits, redirect, forward_query, title, tags, password, ..self }
    }

    /// Where the link stands at `now`. Visit limits are not judged here: only the store can count exactly.
    pub fn state(&self, now: Timestamp) -> LinkState {
        if self.taken_down_at.is_some() {
            LinkState::TakenDown
        } else if self.expires_at.is_some_and(|expiry| expiry <= now) {
            LinkState::Expired
        } else {
            LinkState::Active
        }
    }

    /// Whether nothing but a target was asked for when it was made.
    pub fn is_plain(&self) -> bool {
        *self == Self::new(self.key.clone(), self.target.clone(), self.created_at)
    }
}

impl Link {
    /// The bytes that it points to, besides its own size.
    pub fn heap_size(&self) -> usize {
        let title = self.title.as_ref().map_or(0, |title| title.as_str().len());
        let password = self.password.as_ref().map_or(0, |hash| hash.as_phc().len());
        let tags = self.tags.iter().map(|tag| size_of_val(tag) + tag.as_str().len()).sum::<usize>();
        self.key.heap_size() + self.target.as_str().len() + title + password + tags
    }
}

/// The key of a short link: 1 to 64 characters of `A-Z a-z 0-9 _ -`, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(CompactString);

/// A string is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a key is 1 to {} characters of A-Z a-z 0-9 _ -", Key::MAX_LEN)]
pub struct InvalidKey;

impl Key {
    /// The longest key, in bytes.
    pub const MAX_LEN: usize = 64;

    /// The key as it stands in a short URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes that it points to, besides its own size.
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

/// Where a redirect leads: an absolute `http` or `https` URL as the WHATWG URL standard serialises it.
///
/// That form is plain ASCII without spaces or control characters, so it always makes a valid `Location` header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target(Box<str>);

/// A string is not a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidTarget {
    /// No URL, not absolute, or of another scheme.
    #[error("a valid http(s) url is required")]
    NotHttp,
    /// A user name or a password stands in it: such links are made to deceive or leak.
    #[error("a url with a user name or password is not accepted")]
    Credentials,
    /// Longer than [`Target::MAX_LEN`] once normalised.
    #[error("a url of at most {} bytes is required", Target::MAX_LEN)]
    TooLong,
}

impl Target {
    /// The longest target, in bytes after normalisation.
    pub const MAX_LEN: usize = 2048;

    /// The longest text that is parsed at all, in bytes. Normalising seldom makes a URL shorter.
    const MAX_TEXT: usize = 8 * Self::MAX_LEN;

    /// The URL in its normalised form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL with `query` added behind its own: the bytes that a request bears behind its `?`.
    pub fn with_query(&self, query: &str) -> String {
        let mut url = self.to_url();
        match url.query().filter(|own| !own.is_empty()).map(|own| format!("{own}&{query}")) {
            Some(both) => url.set_query(Some(&both)),
            None => url.set_query(Some(query)),
        }
        url.into()
    }

    /// The URL in its parts.
    pub fn to_url(&self) -> Url {
        Url::parse(&self.0).expect("a target is a URL by construction")
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    /// Parses and normalises by the [WHATWG URL standard](https://url.spec.whatwg.org/): host in lower case and
    /// punycode, default port and dot segments removed, white space around it dropped.
    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if text.len() > Self::MAX_TEXT {
            return Err(InvalidTarget::TooLong);
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

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
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
    fn a_link_expires_at_its_very_moment() {
        let made = Timestamp::UNIX_EPOCH;
        let expiry = Timestamp::from_millisecond(1000).unwrap();
        let mut link = Link::new("k".parse().unwrap(), "https://example.com".parse().unwrap(), made);
        link.expires_at = Some(expiry);
        assert_eq!(link.state(Timestamp::from_millisecond(999).unwrap()), LinkState::Active);
        assert_eq!(link.state(expiry), LinkState::Expired);
        link.taken_down_at = Some(made);
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
