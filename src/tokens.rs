//! Bearer tokens of the management API, each with a name and a scope.

use std::{collections::HashSet, fmt, str::FromStr};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::link::Creator;

/// The permissions of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// View links and statistics.
    Read,
    /// View, create and change links.
    Write,
}

/// A token, kept only as its SHA-256 digest.
#[derive(Clone)]
struct Token {
    name: Creator,
    digest: [u8; 32],
    scope: Scope,
}

/// The accepted tokens. `Debug` shows only their names.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Token>);

/// The error for a string that is not a list of tokens.
///
/// Messages never contain a token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidTokens {
    /// An entry has the wrong form. Entries are numbered from 1.
    #[error("takes name:token[:read|write], separated by commas or lines; entry {0} is not of that form")]
    Form(usize),
    /// The token of this name is too short.
    #[error("the token of '{0}' has less than {min} characters", min = Tokens::MIN_LEN)]
    Short(String),
    /// No token can have this name, because links by others have it.
    #[error("the name '{0}' is reserved")]
    Reserved(String),
    /// Two tokens have this name, and the log could not tell them apart.
    #[error("the name '{0}' stands twice")]
    Twice(String),
}

impl Tokens {
    /// The minimum length of a token, in characters.
    pub const MIN_LEN: usize = 16;

    /// Returns the name and scope of `token`, if it is accepted.
    ///
    /// It compares the digests of all tokens in constant time.
    pub fn find(&self, token: &str) -> Option<(&Creator, Scope)> {
        let digest = Sha256::digest(token);
        let mut found = None;
        for known in &self.0 {
            if bool::from(known.digest.ct_eq(&digest)) {
                found = Some((&known.name, known.scope));
            }
        }
        found
    }

    /// Merges two lists of tokens.
    ///
    /// # Errors
    /// [`InvalidTokens::Twice`] if both have a token of the same name.
    pub fn and(mut self, others: Self) -> Result<Self, InvalidTokens> {
        self.0.extend(others.0);
        let mut names = HashSet::new();
        match self.0.iter().find(|token| !names.insert(&token.name)) {
            Some(token) => Err(InvalidTokens::Twice(token.name.to_string())),
            None => Ok(self),
        }
    }
}

impl FromStr for Tokens {
    type Err = InvalidTokens;

    /// Parses entries of the form `name:token[:read|write]`, separated by commas or newlines.
    ///
    /// Blank entries and those that begin with `#` are skipped. A token has at least [`Tokens::MIN_LEN`] characters.
    /// The default scope is `write`.
    fn from_str(text: &str) -> Result<Self, InvalidTokens> {
        let entries = text.split([',', '\n']).map(str::trim);
        let entries = entries.enumerate().filter(|(_, entry)| !entry.is_empty() && !entry.starts_with('#'));
        let tokens = entries.map(|(index, entry)| Token::parse(entry, index + 1));
        Self(tokens.collect::<Result<_, _>>()?).and(Self::default())
    }
}

impl Token {
    fn parse(entry: &str, number: usize) -> Result<Self, InvalidTokens> {
        let parts: Vec<_> = entry.split(':').collect();
        let (name, token, scope) = match parts[..] {
            [name, token] | [name, token, "write"] => (name, token, Scope::Write),
            [name, token, "read"] => (name, token, Scope::Read),
            _ => return Err(InvalidTokens::Form(number)),
        };
        let name: Creator = name.parse().map_err(|_| InvalidTokens::Form(number))?;
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidTokens::Form(number));
        }
        if name.is_reserved() {
            return Err(InvalidTokens::Reserved(name.to_string()));
        }
        if token.len() < Tokens::MIN_LEN {
            return Err(InvalidTokens::Short(name.to_string()));
        }
        Ok(Self { name, digest: Sha256::digest(token).into(), scope })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|token| token.name.as_str())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "ci:0123456789abcdef,\n# a comment\n\n dash:fedcba9876543210:read\nops:ffffffffffffffff:write";

    #[test]
    fn tokens_are_found_by_their_text_with_name_and_scope() {
        let tokens: Tokens = LIST.parse().unwrap();
        let find = |token| tokens.find(token).map(|(name, scope)| (name.as_str(), scope));
        assert_eq!(find("0123456789abcdef"), Some(("ci", Scope::Write)));
        assert_eq!(find("fedcba9876543210"), Some(("dash", Scope::Read)));
        assert_eq!(find("ffffffffffffffff"), Some(("ops", Scope::Write)));
        for other in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
            assert_eq!(tokens.find(other), None, "{other}");
        }
        assert!("".parse::<Tokens>().unwrap().find("").is_none());
    }

    #[test]
    fn what_is_no_list_of_tokens_is_refused_without_being_repeated() {
        for (text, error) in [
            ("0123456789abcdef", InvalidTokens::Form(1)),
            ("a:0123456789abcdef:admin", InvalidTokens::Form(1)),
            ("a:0123456789abcdef,:0123456789abcdef", InvalidTokens::Form(2)),
            ("a:0123456789 abcdef", InvalidTokens::Form(1)),
            ("a:0123456789abcde", InvalidTokens::Short("a".into())),
            ("a:0123456789abcdef,a:fedcba9876543210", InvalidTokens::Twice("a".into())),
            ("import:0123456789abcdef", InvalidTokens::Reserved("import".into())),
        ] {
            let found = text.parse::<Tokens>().unwrap_err();
            assert!(!found.to_string().contains("0123456789"), "{found}");
            assert_eq!(found, error, "{text}");
        }
    }

    #[test]
    fn tokens_show_their_names_alone() {
        assert_eq!(format!("{:?}", LIST.parse::<Tokens>().unwrap()), r#"["ci", "dash", "ops"]"#);
    }
}
