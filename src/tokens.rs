//! Bearer tokens for the management API.
//!
//! Each token has a name, a scope and an optional expiry.

mod file;
mod list;

use std::{fmt, path::PathBuf, sync::Arc};

use jiff::Timestamp;
use rand::{
    distr::{Alphanumeric, SampleString},
    rngs::StdRng,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

pub use self::{
    file::{InvalidLine, InvalidTokenFile},
    list::InvalidTokens,
};
use crate::{
    link::{Creator, InvalidCreator},
    observability::logging::Chain,
    watched_file::{FileError, WatchedFile},
};

/// The prefix of new tokens, by which secret scanners can recognise them.
const PREFIX: &str = "urlshort_";

/// The number of random characters in a new token.
///
/// Each character has 5.95 bits of entropy, so 43 characters have 256 bits.
const RANDOM_CHARACTERS: usize = 43;

/// The permissions of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// View links and statistics.
    Read,
    /// View, create and change links.
    Write,
}

/// A token, kept only as its digest. `Debug` shows only its name.
///
/// The digest is a single round of SHA-256 without a salt. A salt and more rounds would only slow down guessing, and a
/// token from [`Token::generate`] has 256 random bits, so it can't be guessed. Without a salt, a request costs only one
/// hash, regardless of the number of tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub name: Creator,
    pub scope: Scope,
    pub expires_at: Option<Timestamp>,
    pub digest: [u8; 32],
}

/// The accepted tokens. `Debug` shows only their names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

/// The reason for refusing a token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// No such token exists.
    #[error("unknown")]
    Unknown,
    /// The token with this name has expired.
    #[error("expired")]
    Expired(Creator),
}

/// The error for an invalid token name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidName {
    #[error(transparent)]
    Form(#[from] InvalidCreator),
    /// The token's line in the token file would be a comment.
    #[error("a name does not begin with '#'")]
    Comment,
    #[error(
        "the names 'public' and 'import' are reserved: they mark links that were created without a token"
    )]
    Reserved,
}

/// The error for two tokens with the same name or text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Ambiguous {
    #[error("the name '{0}' is used twice")]
    Name(Creator),
    #[error("'{0}' and '{1}' are the same token")]
    Token(Creator, Creator),
}

impl Tokens {
    /// The minimum length of a token in `API_TOKENS`, in characters.
    pub(crate) const MIN_LEN: usize = 16;

    /// Returns the token with this text, if it is accepted at `now`.
    ///
    /// It compares the digests of all tokens in constant time.
    ///
    /// # Errors
    /// [`Refused`], with the reason.
    pub fn find(&self, text: &str, now: Timestamp) -> Result<&Token, Refused> {
        let digest = Sha256::digest(text);
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.digest.ct_eq(&digest)) {
                found = Some(token);
            }
        }
        match found {
            None => Err(Refused::Unknown),
            Some(token) if token.has_expired(now) => Err(Refused::Expired(token.name.clone())),
            Some(token) => Ok(token),
        }
    }

    /// Returns the token with this name, if it is accepted at `now`.
    pub fn named(&self, name: &str, now: Timestamp) -> Option<&Token> {
        self.0.iter().find(|token| token.name.as_str() == name && !token.has_expired(now))
    }

    /// Returns whether any token may create and change links at `now`.
    pub(crate) fn allow_writing(&self, now: Timestamp) -> bool {
        self.0.iter().any(|token| token.scope == Scope::Write && !token.has_expired(now))
    }

    fn add(&mut self, token: Token) -> Result<(), Ambiguous> {
        if self.0.iter().any(|known| known.name == token.name) {
            return Err(Ambiguous::Name(token.name));
        }
        if let Some(known) = self.0.iter().find(|known| known.digest == token.digest) {
            return Err(Ambiguous::Token(known.name.clone(), token.name));
        }
        self.0.push(token);
        Ok(())
    }
}

impl Token {
    /// Generates a random token. Returns its text and its [`Token`] value.
    ///
    /// The [`Token`] contains only a digest, so the text can't be recovered later.
    pub fn generate(
        name: Creator,
        scope: Scope,
        expires_at: Option<Timestamp>,
        rng: &mut StdRng,
    ) -> (String, Self) {
        let text = format!("{PREFIX}{}", Alphanumeric.sample_string(rng, RANDOM_CHARACTERS));
        let token = Self { name, scope, expires_at, digest: Sha256::digest(&text).into() };
        (text, token)
    }

    fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }
}

/// Parses a token name.
///
/// # Errors
/// See [`InvalidName`].
pub(crate) fn parse_name(text: &str) -> Result<Creator, InvalidName> {
    let name: Creator = text.parse()?;
    if name.is_reserved() {
        Err(InvalidName::Reserved)
    } else if text.starts_with('#') {
        Err(InvalidName::Comment)
    } else {
        Ok(name)
    }
}

/// The tokens from `API_TOKENS` and from `API_TOKENS_FILE`.
///
/// The file is reloaded when it changes.
#[derive(Debug)]
pub struct LiveTokens {
    fixed: Arc<Tokens>,
    file: Option<WatchedFile<Tokens>>,
}

impl LiveTokens {
    /// Loads the token file, if one is configured.
    ///
    /// # Errors
    /// [`FileError`] if the file can't be read or parsed.
    pub fn load(fixed: Tokens, file: Option<PathBuf>) -> Result<Self, FileError> {
        let fixed = Arc::new(fixed);
        let parse = {
            let fixed = fixed.clone();
            move |text: &str| Ok(fixed.with_file(text)?)
        };
        let file = file.map(|path| WatchedFile::load(path, parse)).transpose()?;
        Ok(Self { fixed, file })
    }

    /// Returns all current tokens, including expired ones.
    pub fn current(&self) -> Arc<Tokens> {
        self.file.as_ref().map_or_else(|| self.fixed.clone(), WatchedFile::get)
    }

    /// Reloads the file whenever it changes. Never returns.
    ///
    /// If the file can't be used, the current tokens stay in effect.
    pub(crate) async fn reload_regularly(&self) {
        let Some(file) = &self.file else {
            return std::future::pending().await;
        };
        file.follow(|reloaded| match reloaded {
            Ok(Tokens(tokens)) => tracing::info!(tokens = tokens.len(), "tokens reloaded"),
            Err(error) => {
                tracing::error!(error = %Chain(error), "tokens not reloaded; keeping the current ones");
            }
        })
        .await;
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.name.as_str(), formatter)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SysRng};

    use super::*;

    /// Generates a token. Returns its text and its [`Token`] value.
    fn generate(name: &str, scope: Scope, expires_at: Option<Timestamp>) -> (String, Token) {
        let mut rng = StdRng::try_from_rng(&mut SysRng).unwrap();
        Token::generate(parse_name(name).unwrap(), scope, expires_at, &mut rng)
    }

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    #[test]
    fn a_token_is_found_by_its_text_and_by_its_name_until_it_expires() {
        let mut tokens = Tokens::default();
        let (lasting, token) = generate("lasting", Scope::Write, None);
        tokens.add(token).unwrap();
        let (ending, token) = generate("ending", Scope::Read, Some(NOW));
        tokens.add(token).unwrap();

        let before = Timestamp::from_millisecond(NOW.as_millisecond() - 1).unwrap();
        for now in [before, NOW] {
            let found = tokens.find(&lasting, now).unwrap();
            assert_eq!((found.name.as_str(), found.scope), ("lasting", Scope::Write));
            assert_eq!(tokens.named("lasting", now), Some(found));
        }
        assert_eq!(tokens.find(&ending, before).unwrap().scope, Scope::Read);
        assert!(tokens.named("ending", before).is_some());
        assert_eq!(tokens.find(&ending, NOW), Err(Refused::Expired(parse_name("ending").unwrap())));
        assert_eq!(tokens.named("ending", NOW), None);
        assert_eq!(tokens.named("other", NOW), None);
        for other in ["", &lasting[1..], &lasting[..51], &format!("{lasting}x"), "lasting"] {
            assert_eq!(tokens.find(other, NOW), Err(Refused::Unknown), "{other}");
        }
        assert_eq!(format!("{tokens:?}"), r#"["lasting", "ending"]"#);
    }

    #[test]
    fn new_tokens_are_long_distinct_and_prefixed() {
        let mut tokens = Tokens::default();
        for number in 0..100 {
            let (text, token) = generate(&number.to_string(), Scope::Read, None);
            let random = text.strip_prefix("urlshort_").unwrap();
            assert!(random.len() == 43 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
            tokens.add(token).unwrap();
        }
    }

    #[test]
    fn names_and_tokens_are_unique() {
        let (_, token) = generate("a", Scope::Read, None);
        let mut tokens = Tokens::default();
        tokens.add(token.clone()).unwrap();
        let (_, namesake) = generate("a", Scope::Read, None);
        assert_eq!(tokens.add(namesake), Err(Ambiguous::Name(token.name.clone())));
        let twin = Token { name: parse_name("b").unwrap(), ..token.clone() };
        assert_eq!(tokens.add(twin.clone()), Err(Ambiguous::Token(token.name, twin.name)));
    }

    #[test]
    fn a_name_is_short_and_has_no_other_meaning() {
        for name in ["a", "ci-2", "Anna@example.org", "a#b", "Public", &"x".repeat(64)] {
            assert_eq!(parse_name(name).unwrap().as_str(), name);
        }
        for (name, error) in [
            ("", InvalidName::Form(InvalidCreator)),
            ("a b", InvalidName::Form(InvalidCreator)),
            ("a:b", InvalidName::Form(InvalidCreator)),
            ("ä", InvalidName::Form(InvalidCreator)),
            (&"x".repeat(65), InvalidName::Form(InvalidCreator)),
            ("#a", InvalidName::Comment),
            ("public", InvalidName::Reserved),
            ("import", InvalidName::Reserved),
        ] {
            assert_eq!(parse_name(name), Err(error), "{name:?}");
        }
    }
}
