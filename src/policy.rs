//! The rules for targets: redirect loops, blocked hosts and private hosts.

mod private;
#[cfg(test)]
mod properties;

use std::sync::Arc;

use thiserror::Error;

use self::private::is_private;
use crate::{
    base_url::BaseUrl,
    blocked_hosts::{BlockedHosts, HostSet},
    config::PolicyOptions,
    link::Target,
    observability::logging::Chain,
    watched_file::{InvalidFile, WatchedFile},
};

/// The reason for refusing a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The target is a URL of this service.
    #[error("the url leads back to this service")]
    Loop,
    /// The host is on the block list.
    #[error("links to this host are not allowed")]
    BlockedHost,
    /// The host is not on the public internet.
    #[error("links to private addresses are not allowed")]
    PrivateHost,
}

/// The configured rules for targets.
#[derive(Debug)]
pub struct TargetPolicy {
    blocked: Arc<BlockedHosts>,
    /// The file named by `BLOCKED_HOSTS`, if any.
    file: Option<WatchedFile<HostSet>>,
    block_private: bool,
}

impl TargetPolicy {
    /// Creates the policy, and loads the file of blocked hosts into `blocked`.
    ///
    /// # Errors
    /// [`InvalidFile`] if the file can't be used.
    pub fn new(options: &PolicyOptions, blocked: Arc<BlockedHosts>) -> Result<Self, InvalidFile> {
        let load = |path| WatchedFile::load(path, |text| Ok(HostSet::parse(text)?));
        let file = options.blocked_hosts.clone().map(load).transpose();
        let file = file.map_err(|source| InvalidFile { variable: "BLOCKED_HOSTS", source })?;
        if let Some(file) = &file {
            blocked.set_file((*file.get()).clone());
        }
        Ok(Self { blocked, file, block_private: options.block_private_targets })
    }

    /// Checks a target. `base_url` is the address of this service.
    ///
    /// # Errors
    /// The first rule that the target breaks.
    pub fn check(&self, target: &Target, base_url: &BaseUrl) -> Result<(), Refusal> {
        if base_url.covers(target) { Err(Refusal::Loop) } else { self.check_host(target) }
    }

    /// Checks a target's host, but does not detect redirect loops.
    ///
    /// # Errors
    /// The first rule that the host breaks.
    pub(crate) fn check_host(&self, target: &Target) -> Result<(), Refusal> {
        if self.blocked.blocks(target) {
            Err(Refusal::BlockedHost)
        } else if self.block_private && is_private(&target.to_url()) {
            Err(Refusal::PrivateHost)
        } else {
            Ok(())
        }
    }

    /// Reloads the file of blocked hosts whenever it changes. Never returns.
    ///
    /// If the file can't be used, the current list stays in effect.
    pub(crate) async fn reload_regularly(&self) {
        let Some(file) = &self.file else {
            return std::future::pending().await;
        };
        file.follow(|reloaded| match reloaded {
            Ok(hosts) => {
                self.blocked.set_file(hosts.clone());
                tracing::info!(hosts = hosts.len(), "blocked hosts reloaded");
            }
            Err(error) => {
                tracing::error!(error = %Chain(error), "blocked hosts not reloaded; keeping the current list");
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(options: PolicyOptions) -> TargetPolicy {
        TargetPolicy::new(&options, Arc::default()).unwrap()
    }

    fn check(policy: &TargetPolicy, target: &str) -> Result<(), Refusal> {
        policy.check(&target.parse().unwrap(), &"https://sho.rt".parse().unwrap())
    }

    #[test]
    fn a_loop_is_refused() {
        assert_eq!(check(&policy(PolicyOptions::default()), "https://sho.rt/x"), Err(Refusal::Loop));
    }

    #[test]
    fn hosts_from_both_sources_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("blocked");
        std::fs::write(&file, "evil.example\n").unwrap();
        let policy = policy(PolicyOptions { blocked_hosts: Some(file), ..PolicyOptions::default() });
        policy.blocked.add_stored(&".wicked.example".parse().unwrap());
        for target in ["https://evil.example/", "https://a.wicked.example/"] {
            assert_eq!(check(&policy, target), Err(Refusal::BlockedHost), "{target}");
        }
        assert_eq!(check(&policy, "https://good.example/"), Ok(()));
    }

    #[test]
    fn private_hosts_are_refused_only_if_configured() {
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
