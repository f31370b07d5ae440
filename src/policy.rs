//! The rules for targets: redirect loops, blocked hosts and private hosts.

mod private;
#[cfg(test)]
mod properties;

use std::collections::HashSet;

use thiserror::Error;
use url::{Host, Url};

use self::private::is_private;
use crate::{
    base_url::BaseUrl,
    config::PolicyOptions,
    link::Target,
    observability::logging::Chain,
    watched_file::{FileError, WatchedFile},
};

/// The reason why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The target is a URL of this service.
    #[error("the url leads back to this service")]
    Loop,
    /// The host is on the block list.
    #[error("this service does not lead to that host")]
    BlockedHost,
    /// The host is not on the public internet.
    #[error("this service does not lead to private addresses")]
    PrivateHost,
}

/// The configured rules for targets.
#[derive(Debug)]
pub struct TargetPolicy {
    blocked: Option<WatchedFile<BlockedHosts>>,
    block_private: bool,
}

impl TargetPolicy {
    /// Creates the policy from its options, and loads the block list.
    ///
    /// # Errors
    /// The reason why the block list's file can't be read.
    pub fn new(options: &PolicyOptions) -> Result<Self, FileError> {
        let load = |path| WatchedFile::load(path, |text| Ok(BlockedHosts::parse(text)));
        let blocked = options.blocked_hosts.clone().map(load).transpose()?;
        Ok(Self { blocked, block_private: options.block_private_targets })
    }

    /// Checks a target. `base_url` is the address of this service.
    ///
    /// # Errors
    /// The first rule that forbids the target.
    pub fn check(&self, target: &Target, base_url: &BaseUrl) -> Result<(), Refusal> {
        if base_url.covers(target) { Err(Refusal::Loop) } else { self.check_host(target) }
    }

    /// Checks the host of a target, but not for a loop.
    ///
    /// # Errors
    /// The first rule that forbids the host.
    pub fn check_host(&self, target: &Target) -> Result<(), Refusal> {
        let url = target.to_url();
        if self.blocked.as_ref().is_some_and(|list| list.get().contains(&url)) {
            Err(Refusal::BlockedHost)
        } else if self.block_private && is_private(&url) {
            Err(Refusal::PrivateHost)
        } else {
            Ok(())
        }
    }

    /// Reloads the block list whenever its file changes. Never returns.
    ///
    /// If the file can't be read, the current list stays.
    pub async fn reload_regularly(&self) {
        let Some(list) = &self.blocked else {
            return std::future::pending().await;
        };
        list.follow(|reloaded| match reloaded {
            Ok(BlockedHosts(hosts)) => tracing::info!(hosts = hosts.len(), "blocked hosts reloaded"),
            Err(error) => {
                tracing::error!(error = %Chain(error), "blocked hosts not reloaded; the current list stays");
            }
        })
        .await;
    }
}

/// A block list of hosts, and of suffixes with a leading dot.
///
/// The file has one entry per line; `#` begins a comment.
#[derive(Debug)]
struct BlockedHosts(HashSet<String>);

impl BlockedHosts {
    fn parse(text: &str) -> Self {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        Self(lines.filter(|line| !line.is_empty()).map(normalised).collect())
    }

    fn contains(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        let suffixes = host.match_indices('.').map(|(dot, _)| &host[dot..]);
        self.0.contains(host)
            || self.0.contains(format!(".{host}").as_str())
            || suffixes.into_iter().any(|suffix| self.0.contains(suffix))
    }
}

/// Normalises a line as targets are: lower case and punycode.
///
/// A line that is not a host is harmless, because it can't match.
fn normalised(line: &str) -> String {
    let (dot, host) = line.strip_prefix('.').map_or(("", line), |host| (".", host));
    let host = host.trim_end_matches('.');
    match Host::parse(host) {
        Ok(host) => format!("{dot}{host}"),
        Err(_) => line.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(options: PolicyOptions) -> TargetPolicy {
        TargetPolicy::new(&options).unwrap()
    }

    fn check(policy: &TargetPolicy, target: &str) -> Result<(), Refusal> {
        policy.check(&target.parse().unwrap(), &"https://sho.rt".parse().unwrap())
    }

    #[test]
    fn a_loop_is_refused() {
        assert_eq!(check(&policy(PolicyOptions::default()), "https://sho.rt/x"), Err(Refusal::Loop));
    }

    #[test]
    fn blocked_hosts_and_suffixes_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("blocked");
        std::fs::write(&file, "# bad ones\nEvil.example\n.wicked.example # and all below\nbücher.example\n")
            .unwrap();
        let policy = policy(PolicyOptions { blocked_hosts: Some(file), ..PolicyOptions::default() });
        for (target, blocked) in [
            ("https://evil.example/", true),
            ("https://evil.example./", true),
            ("https://sub.evil.example/", false),
            ("https://wicked.example/", true),
            ("https://a.b.wicked.example/", true),
            ("https://notwicked.example/", false),
            ("https://xn--bcher-kva.example/", true),
        ] {
            assert_eq!(check(&policy, target).is_err(), blocked, "{target}");
        }
    }

    #[test]
    fn private_hosts_are_refused_where_that_is_asked() {
        let [strict, lax] = [true, false].map(|block_private_targets| {
            policy(PolicyOptions { block_private_targets, ..PolicyOptions::default() })
        });
        for host in ["127.0.0.1", "[fd00::1]", "printer.local"] {
            let target = format!("http://{host}/");
            assert_eq!(check(&strict, &target), Err(Refusal::PrivateHost), "{target}");
            assert_eq!(check(&lax, &target), Ok(()), "{target}");
        }
        for host in ["example.com", "8.8.8.8", "[2606:4700::1111]"] {
            assert_eq!(check(&strict, &format!("http://{host}/")), Ok(()), "{host}");
        }
    }
}
