//! A set of host patterns, and its file format.

use std::collections::HashSet;

use compact_str::CompactString;
use thiserror::Error;

use super::host::{HostPattern, InvalidHostPattern, canonical};

/// A set of [`HostPattern`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSet {
    hosts: HashSet<CompactString>,
    /// The suffixes, stored without the leading dot.
    suffixes: HashSet<CompactString>,
}

/// The error for an invalid line in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct InvalidHostFile {
    /// The line number, starting at 1.
    pub line: usize,
    pub reason: InvalidHostPattern,
}

impl HostSet {
    /// Parses a file with one host per line. `#` starts a comment.
    ///
    /// # Errors
    /// [`InvalidHostFile`] for the first line that can't match any host.
    pub fn parse(text: &str) -> Result<Self, InvalidHostFile> {
        let mut set = Self::default();
        for (index, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if !entry.is_empty() {
                let host = entry.parse().map_err(|reason| InvalidHostFile { line: index + 1, reason })?;
                set.insert(&host);
            }
        }
        Ok(set)
    }

    pub fn insert(&mut self, pattern: &HostPattern) {
        let (host, has_dot) = pattern.parts();
        let set = if has_dot { &mut self.suffixes } else { &mut self.hosts };
        set.insert(host.into());
    }

    pub fn remove(&mut self, pattern: &HostPattern) {
        let (host, has_dot) = pattern.parts();
        let set = if has_dot { &mut self.suffixes } else { &mut self.hosts };
        set.remove(host);
    }

    pub fn len(&self) -> usize {
        self.hosts.len() + self.suffixes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether any pattern matches a target's host.
    pub fn contains(&self, host: &str) -> bool {
        let host = canonical(host);
        self.hosts.contains(&*host) || self.suffix_of(&host).is_some()
    }

    /// Returns the pattern that matches a target's host, if any.
    pub fn find(&self, host: &str) -> Option<HostPattern> {
        let host = canonical(host);
        if self.hosts.contains(&*host) {
            return host.parse().ok();
        }
        self.suffix_of(&host).and_then(|suffix| format!(".{suffix}").parse().ok())
    }

    /// Returns the longest matching suffix in the set.
    fn suffix_of<'a>(&self, host: &'a str) -> Option<&'a str> {
        if self.suffixes.is_empty() {
            return None;
        }
        let starts = std::iter::once(0).chain(host.match_indices('.').map(|(dot, _)| dot + 1));
        starts.map(|start| &host[start..]).find(|suffix| self.suffixes.contains(*suffix))
    }
}

impl FromIterator<HostPattern> for HostSet {
    fn from_iter<I: IntoIterator<Item = HostPattern>>(patterns: I) -> Self {
        let mut set = Self::default();
        patterns.into_iter().for_each(|pattern| set.insert(&pattern));
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{link::Target, strategies::text};

    fn target(host: &str) -> Target {
        format!("http://{host}/").parse().unwrap()
    }

    #[test]
    fn a_set_matches_hosts_and_suffixes() {
        let set = HostSet::parse(
            "# bad ones\r\nEvil.example\n\n  .wicked.example # and all below\nbücher.example\n192.0.2.1\n::1\n",
        )
        .unwrap();
        for (host, entry) in [
            ("evil.example", Some("evil.example")),
            ("EVIL.example.", Some("evil.example")),
            ("evil.example:8443", Some("evil.example")),
            ("sub.evil.example", None),
            ("wicked.example", Some(".wicked.example")),
            ("a.b.wicked.example", Some(".wicked.example")),
            ("notwicked.example", None),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("0xc0000201", Some("192.0.2.1")),
            ("[::ffff:192.0.2.1]", Some("192.0.2.1")),
            ("[::1]:8080", Some("[::1]")),
            ("[::2]", None),
        ] {
            let target = target(host);
            assert_eq!(set.find(target.host()).as_ref().map(HostPattern::as_str), entry, "{host}");
            assert_eq!(set.contains(target.host()), entry.is_some(), "{host}");
        }
        assert_eq!(set.len(), 5);
        assert!(!HostSet::default().contains("evil.example"));
    }

    #[test]
    fn an_invalid_line_is_reported_with_its_number() {
        for (entry, reason) in [
            ("https://evil.example", InvalidHostPattern::NotAHost),
            ("*.evil.example", InvalidHostPattern::NotAHost),
            ("evil.example/path", InvalidHostPattern::NotAHost),
            ("evil.example:443", InvalidHostPattern::NotAHost),
            (".", InvalidHostPattern::NotAHost),
            (&*"a".repeat(300), InvalidHostPattern::TooLong),
        ] {
            let parsed = HostSet::parse(&format!("good.example\n# comment\n{entry} # why\n*\n"));
            assert_eq!(parsed, Err(InvalidHostFile { line: 3, reason }), "{entry}");
        }
    }

    fn domain() -> impl Strategy<Value = String> {
        text("[a-zä0-9]{1,8}(\\.[a-zü]{1,8}){1,3}")
    }

    proptest! {
        #[test]
        fn a_blocked_host_is_matched_in_every_spelling(domain in domain(), below in text("[a-z]{1,5}")) {
            let Ok(blocked) = format!("http://{domain}/").parse::<Target>() else { return Ok(()) };
            let host = blocked.host();
            let (with_dot, neighbour) = (target(&format!("{}.", host.to_uppercase())), target(&format!("{below}{host}")));
            let subdomain = target(&format!("{below}.{host}"));
            for line in [&*domain, &domain.to_uppercase(), host, &format!("{domain}.")] {
                let (set, pattern) = (HostSet::parse(line).unwrap(), line.parse::<HostPattern>().unwrap());
                for (target, is_matched) in [(&blocked, true), (&with_dot, true), (&neighbour, false), (&subdomain, false)] {
                    prop_assert_eq!(set.contains(target.host()), is_matched, "{} and {}", line, target);
                    prop_assert_eq!(pattern.matches(target.host()), is_matched, "{} and {}", line, target);
                    prop_assert!(!is_matched || target.as_str().contains(pattern.literal()));
                }
            }
            let line = format!(".{domain}");
            let (set, pattern) = (HostSet::parse(&line).unwrap(), line.parse::<HostPattern>().unwrap());
            for (target, is_matched) in [(&blocked, true), (&with_dot, true), (&neighbour, false), (&subdomain, true)] {
                prop_assert_eq!(set.contains(target.host()), is_matched, "{} and {}", line, target);
                prop_assert_eq!(pattern.matches(target.host()), is_matched, "{} and {}", line, target);
                prop_assert!(!is_matched || target.as_str().contains(pattern.literal()));
            }
        }

        #[test]
        fn no_file_makes_the_parser_panic(lines in vec(text("[ -~ü]{0,20}|\\PC{0,20}"), 0..4), domain in domain()) {
            if let Ok(set) = HostSet::parse(&lines.join("\n"))
                && let Ok(target) = format!("http://{domain}/").parse::<Target>()
            {
                prop_assert_eq!(set.contains(target.host()), set.find(target.host()).is_some());
            }
        }

        #[test]
        fn a_parsed_entry_parses_to_itself(line in text("\\.?[ -~ü]{0,20}|\\.?[0-9a-fx.:]{1,20}")) {
            if let Ok(pattern) = line.parse::<HostPattern>() {
                prop_assert_eq!(pattern.as_str().parse::<HostPattern>().unwrap(), pattern);
            }
        }
    }
}
