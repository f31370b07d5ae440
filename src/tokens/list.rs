//! The format of `API_TOKENS`: `name:token[:read|write]`, separated by commas.

use std::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{Ambiguous, InvalidName, Scope, Token, Tokens, parse_name};
use crate::link::Creator;

/// The error for an invalid list of tokens.
///
/// Messages never contain a token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidTokens {
    /// An entry has the wrong form. Entries are numbered from 1.
    #[error("takes name:token[:read|write], separated by commas or lines; entry {0} is not of that form")]
    Form(usize),
    #[error("entry {0}: {1}")]
    Name(usize, InvalidName),
    #[error("the token of '{0}' must have at least {min} characters", min = Tokens::MIN_LEN)]
    Short(Creator),
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
}

impl FromStr for Tokens {
    type Err = InvalidTokens;

    /// Parses entries of the form `name:token[:read|write]`, separated by commas or newlines.
    ///
    /// Blank entries and entries that start with `#` are skipped. A token has at least [`Tokens::MIN_LEN`] characters.
    /// The default scope is `write`.
    fn from_str(text: &str) -> Result<Self, InvalidTokens> {
        let mut tokens = Self::default();
        let entries = text.split([',', '\n']).map(str::trim);
        for (index, entry) in entries.enumerate() {
            if !entry.is_empty() && !entry.starts_with('#') {
                tokens.add(parse(entry, index + 1)?)?;
            }
        }
        Ok(tokens)
    }
}

fn parse(entry: &str, number: usize) -> Result<Token, InvalidTokens> {
    let parts: Vec<_> = entry.split(':').collect();
    let (name, token, scope) = match parts[..] {
        [name, token] | [name, token, "write"] => (name, token, Scope::Write),
        [name, token, "read"] => (name, token, Scope::Read),
        _ => return Err(InvalidTokens::Form(number)),
    };
    let name = parse_name(name).map_err(|error| InvalidTokens::Name(number, error))?;
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(InvalidTokens::Form(number));
    }
    if token.len() < Tokens::MIN_LEN {
        return Err(InvalidTokens::Short(name));
    }
    Ok(Token { name, scope, expires_at: None, digest: Sha256::digest(token).into() })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{link::InvalidCreator, tokens::Refused};

    const LIST: &str =
        "ci:0123456789abcdef,\n# a comment\n\n dash:fedcba9876543210:read\nops:ffffffffffffffff:write";

    #[test]
    fn tokens_are_found_by_their_text_with_name_and_scope() {
        let tokens: Tokens = LIST.parse().unwrap();
        for (text, name, scope) in [
            ("0123456789abcdef", "ci", Scope::Write),
            ("fedcba9876543210", "dash", Scope::Read),
            ("ffffffffffffffff", "ops", Scope::Write),
        ] {
            let found = tokens.find(text, Timestamp::MAX).unwrap();
            assert_eq!((found.name.as_str(), found.scope), (name, scope));
        }
        for other in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
            assert_eq!(tokens.find(other, Timestamp::MIN), Err(Refused::Unknown), "{other}");
        }
        assert!("".parse::<Tokens>().unwrap().find("", Timestamp::MIN).is_err());
    }

    #[test]
    fn an_invalid_list_is_refused_without_repeating_it() {
        let [a, b] = ["a", "b"].map(|name| parse_name(name).unwrap());
        for (text, error) in [
            ("0123456789abcdef", InvalidTokens::Form(1)),
            ("a:0123456789abcdef:admin", InvalidTokens::Form(1)),
            (
                "a:0123456789abcdef,:0123456789abcdef",
                InvalidTokens::Name(2, InvalidName::Form(InvalidCreator)),
            ),
            ("public:0123456789abcdef", InvalidTokens::Name(1, InvalidName::Reserved)),
            ("a:0123456789 abcdef", InvalidTokens::Form(1)),
            ("a:0123456789abcde", InvalidTokens::Short(a.clone())),
            ("a:0123456789abcdef,a:fedcba9876543210", Ambiguous::Name(a.clone()).into()),
            ("a:0123456789abcdef,b:0123456789abcdef", Ambiguous::Token(a.clone(), b).into()),
        ] {
            let found = text.parse::<Tokens>().unwrap_err();
            assert!(!found.to_string().contains("0123456789"), "{found}");
            assert_eq!(found, error, "{text}");
        }
    }

    #[test]
    fn debug_shows_only_names() {
        assert_eq!(format!("{:?}", LIST.parse::<Tokens>().unwrap()), r#"["ci", "dash", "ops"]"#);
    }
}
