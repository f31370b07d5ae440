//! The format of `API_TOKENS_FILE`: one `NAME SCOPE sha256:DIGEST [EXPIRY]` line per token.

use std::fmt;

use thiserror::Error;

use super::{Ambiguous, InvalidName, Scope, Token, Tokens, parse_name};

const SHA256: &str = "sha256:";

/// The error for an invalid line in a token file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct InvalidTokenFile {
    /// The line number, starting at 1.
    pub line: usize,
    pub reason: InvalidLine,
}

/// The reason a line is invalid.
///
/// Messages never contain the line, because it may contain a secret by mistake.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidLine {
    #[error("takes NAME read|write sha256:DIGEST [EXPIRY]; `urlshort token NAME` prints such a line")]
    Form,
    /// The line looks like an entry in `API_TOKENS`.
    #[error(
        "name:token belongs in API_TOKENS, and this file holds digests: use a new token from `urlshort token NAME`, or \
         write NAME read|write sha256:DIGEST with the digest from `printf %s TOKEN | sha256sum`"
    )]
    PlainSecret,
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error("the scope is read or write")]
    Scope,
    #[error("the digest is sha256: and 64 hexadecimal digits; the token itself must not be in this file")]
    Digest,
    #[error("the expiry is an RFC 3339 timestamp, such as 2027-02-28T12:00:00Z")]
    Expiry,
    #[error("{0}; names and tokens are unique in API_TOKENS and this file together")]
    Ambiguous(#[from] Ambiguous),
}

impl Tokens {
    /// Returns these tokens together with those in a file's text.
    ///
    /// Blank lines and lines that start with `#` are skipped.
    ///
    /// # Errors
    /// [`InvalidTokenFile`] for the first line that is invalid, or that repeats a name or token.
    pub(crate) fn with_file(&self, text: &str) -> Result<Self, InvalidTokenFile> {
        let mut tokens = self.clone();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                let added = parse(line).and_then(|token| Ok(tokens.add(token)?));
                added.map_err(|reason| InvalidTokenFile { line: index + 1, reason })?;
            }
        }
        Ok(tokens)
    }
}

fn parse(line: &str) -> Result<Token, InvalidLine> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let (name, scope, digest, expiry) = match fields[..] {
        [name, scope, digest] => (name, scope, digest, None),
        [name, scope, digest, expiry] => (name, scope, digest, Some(expiry)),
        [entry] if entry.contains(':') => return Err(InvalidLine::PlainSecret),
        _ => return Err(InvalidLine::Form),
    };
    Ok(Token {
        name: parse_name(name)?,
        scope: match scope {
            "read" => Scope::Read,
            "write" => Scope::Write,
            _ => return Err(InvalidLine::Scope),
        },
        expires_at: expiry.map(str::parse).transpose().map_err(|_| InvalidLine::Expiry)?,
        digest: digest.strip_prefix(SHA256).and_then(parse_hex).ok_or(InvalidLine::Digest)?,
    })
}

fn parse_hex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

impl fmt::Display for Token {
    /// Formats the token as a line in the file.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = match self.scope {
            Scope::Read => "read",
            Scope::Write => "write",
        };
        write!(formatter, "{} {scope} {SHA256}", self.name)?;
        for byte in self.digest {
            write!(formatter, "{byte:02x}")?;
        }
        match self.expires_at {
            Some(end) => write!(formatter, " {end}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        link::{Creator, InvalidCreator},
        strategies::text,
    };

    /// The digest of `0123456789abcdef`, as sha256sum prints it.
    const DIGEST: &str = "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";

    fn name(text: &str) -> Creator {
        parse_name(text).unwrap()
    }

    fn read(text: &str) -> Result<Tokens, InvalidTokenFile> {
        Tokens::default().with_file(text)
    }

    #[test]
    fn a_line_has_a_name_a_scope_a_digest_and_an_optional_expiry() {
        let other = DIGEST.replace("9f9f", "AAAA");
        let file = format!(
            "# people\n\nci write {DIGEST}\r\n  dash\tread  {other} 2027-02-28T13:00:00+01:00  \n#old read {DIGEST}"
        );
        let tokens = read(&file).unwrap();
        let end: Timestamp = "2027-02-28T12:00:00Z".parse().unwrap();
        let found = tokens.find("0123456789abcdef", Timestamp::MAX).unwrap();
        assert_eq!((found.name.as_str(), found.scope, found.expires_at), ("ci", Scope::Write, None));
        let dash = tokens.named("dash", Timestamp::MIN).unwrap();
        assert_eq!((dash.scope, dash.expires_at), (Scope::Read, Some(end)));
        assert_eq!(tokens.0.len(), 2);
    }

    #[test]
    fn an_invalid_line_is_refused_without_repeating_it() {
        use InvalidLine::{Digest, Expiry, Form, Name, PlainSecret, Scope};
        let first = DIGEST.replace("9f9f", "0000");
        let secret = "Secret-0123456789";
        for (line, reason) in [
            (secret.to_owned(), Form),
            (format!("ci:{secret}"), PlainSecret),
            (format!("ci:{secret}:read"), PlainSecret),
            (format!("ci {secret}"), Form),
            (format!("ci write {secret}"), Digest),
            (format!("ci {secret} {DIGEST}"), Scope),
            (format!("ci {DIGEST} write"), Scope),
            (format!("{DIGEST} write {secret}"), Name(InvalidName::Form(InvalidCreator))),
            (format!("import write {DIGEST}"), Name(InvalidName::Reserved)),
            (format!("ci admin {DIGEST}"), Scope),
            (format!("ci write {}", &DIGEST[..70]), Digest),
            (format!("ci write {DIGEST}0"), Digest),
            (format!("ci write {}+f", &DIGEST[..69]), Digest),
            (format!("ci write {}ä", &DIGEST[..69]), Digest),
            (format!("ci write {}", DIGEST.replace("sha256", "sha512")), Digest),
            (format!("ci write {DIGEST} 90d"), Expiry),
            (format!("ci write {DIGEST} 2027-02-28"), Expiry),
            (format!("ci write {DIGEST} 2027-02-28 {secret}"), Form),
            (format!("one write {DIGEST}"), Ambiguous::Name(name("one")).into()),
            (format!("two write {first}"), Ambiguous::Token(name("one"), name("two")).into()),
        ] {
            let error = read(&format!("# people\none write {first}\n\n{line}\n")).unwrap_err();
            let shown = error.to_string();
            assert!(shown.starts_with("line 4: ") && !shown.contains(secret), "{shown}");
            assert_eq!(error, InvalidTokenFile { line: 4, reason }, "{line}");
        }
    }

    #[test]
    fn a_name_in_the_list_is_taken_in_the_file() {
        let list: Tokens = "ci:fedcba9876543210".parse().unwrap();
        assert_eq!(list.with_file(&format!("dash read {DIGEST}")).unwrap().0.len(), 2);
        let reason = Ambiguous::Name(name("ci")).into();
        assert_eq!(list.with_file(&format!("ci read {DIGEST}")), Err(InvalidTokenFile { line: 1, reason }));
    }

    proptest! {
        #[test]
        fn a_token_round_trips_through_its_line(
            name in text("[!-+.-9;-~]{1,64}"), reads in any::<bool>(), digest in any::<[u8; 32]>(),
            end in proptest::option::of(-9_999_999_999_i64..99_999_999_999),
        ) {
            let expires_at = end.map(|milliseconds| Timestamp::from_millisecond(milliseconds).unwrap());
            let scope = if reads { Scope::Read } else { Scope::Write };
            if let Ok(name) = parse_name(&name) {
                let token = Token { name, scope, expires_at, digest };
                prop_assert_eq!(&read(&token.to_string()).unwrap().0, &[token]);
            }
        }

        #[test]
        fn no_file_makes_the_parser_panic_or_leak_a_secret(
            before in text("[a-z: ]{0,8}|\\PC{0,8}"), secret in text("[A-Z0-9]{20}"), after in text("[ -~\n]{0,10}"),
        ) {
            if let Err(error) = read(&format!("{before}{secret}{after}")) {
                prop_assert!(!error.to_string().contains(&secret), "{}", error);
            }
        }
    }
}
