//! The contact for abuse reports.

use std::{fmt, str::FromStr};

use thiserror::Error;
use url::Url;

use crate::blocked_hosts::HostPattern;

/// An e-mail address, or an `http`, `https` or `mailto` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbuseContact {
    /// The text as the operator wrote it.
    text: Box<str>,
    href: Url,
}

/// The error for an invalid contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("takes an e-mail address, or a URL that begins with https:, http: or mailto:")]
pub struct InvalidAbuseContact;

impl AbuseContact {
    /// Returns the `href` of a link to the contact.
    pub fn href(&self) -> &str {
        self.href.as_str()
    }
}

fn is_email(text: &str) -> bool {
    let is_local = |char: char| char.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(char);
    text.len() <= 254
        && text.rsplit_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && local.chars().all(is_local)
                && !domain.starts_with('.')
                && domain.parse::<HostPattern>().is_ok()
        })
}

impl FromStr for AbuseContact {
    type Err = InvalidAbuseContact;

    fn from_str(text: &str) -> Result<Self, InvalidAbuseContact> {
        let href = if is_email(text) {
            let mut href = Url::parse("mailto:").map_err(|_| InvalidAbuseContact)?;
            // Unescaped, these characters would start an escape sequence, the header fields or a fragment.
            let escaped = text.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
            href.set_path(&escaped);
            href
        } else {
            Url::parse(text).map_err(|_| InvalidAbuseContact)?
        };
        let has_credentials = !href.username().is_empty() || href.password().is_some();
        let is_valid = match href.scheme() {
            "http" | "https" => !has_credentials,
            "mailto" => is_email(text) || is_email(href.path()),
            _ => false,
        };
        if is_valid { Ok(Self { text: text.into(), href }) } else { Err(InvalidAbuseContact) }
    }
}

impl fmt::Display for AbuseContact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text.strip_prefix("mailto:").unwrap_or(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_an_address_or_a_url() {
        for (text, href, shown) in [
            ("abuse@sho.rt", "mailto:abuse@sho.rt", "abuse@sho.rt"),
            ("a+b?c%d@sho.rt", "mailto:a+b%3Fc%25d@sho.rt", "a+b?c%d@sho.rt"),
            (
                "mailto:abuse@sho.rt?subject=Abuse",
                "mailto:abuse@sho.rt?subject=Abuse",
                "abuse@sho.rt?subject=Abuse",
            ),
            ("https://sho.rt/abuse", "https://sho.rt/abuse", "https://sho.rt/abuse"),
            ("http://example.com", "http://example.com/", "http://example.com"),
        ] {
            let contact: AbuseContact = text.parse().unwrap();
            assert_eq!((contact.href(), &*contact.to_string()), (href, shown), "{text}");
        }
    }

    #[test]
    fn text_that_is_unsafe_or_useless_as_a_link_is_refused() {
        for text in [
            "",
            "abuse",
            "abuse@",
            "@sho.rt",
            "a b@sho.rt",
            "a\n@sho.rt",
            "\"<script>\"@sho.rt",
            "abuse@*.sho.rt",
            "mailto:",
            "mailto:abuse",
            "javascript:alert(1)",
            "javascript:alert@sho.rt",
            "ftp://sho.rt/",
            "data:text/html,x",
            "https://user:secret@sho.rt/",
            "https://",
            "sho.rt/abuse",
        ] {
            assert_eq!(text.parse::<AbuseContact>(), Err(InvalidAbuseContact), "{text:?}");
        }
    }
}
