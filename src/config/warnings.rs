//! Warnings about valid options that are probably mistakes.

use std::{net::IpAddr, time::Duration};

use super::Config;

/// A warning for the operator, logged at startup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Other machines can create links without a token.
    PublicCreation { host: IpAddr, has_base_url: bool, has_token: bool },
    /// Creating links requires a token, but no token may create links.
    NoCreation,
    /// Requests time out before the store calls they're waiting for.
    ShortRequests { request_timeout: Duration, store_timeout: Duration },
    /// The cache can outgrow the available memory.
    LargeCache { cache_bytes: u64, memory_bytes: u64 },
}

/// Returns the warnings about `config`.
///
/// `has_token` is true if any token may create links. `memory_bytes` is the memory available to the process, if known.
pub fn warnings(config: &Config, has_token: bool, memory_bytes: Option<u64>) -> Vec<Warning> {
    let Config { server, store, cache, access, limits, .. } = config;
    let mut warnings = Vec::new();
    let has_base_url = server.base_url.is_some();
    let is_reachable = !server.host.to_canonical().is_loopback();
    if access.public_shorten && is_reachable && !(has_base_url && has_token) {
        warnings.push(Warning::PublicCreation { host: server.host, has_base_url, has_token });
    }
    if !access.public_shorten && !has_token {
        warnings.push(Warning::NoCreation);
    }
    let (request_timeout, store_timeout) = (limits.request_timeout, store.store_timeout);
    if request_timeout < store_timeout {
        warnings.push(Warning::ShortRequests { request_timeout, store_timeout });
    }
    let cache_bytes = cache.cache_bytes.as_u64();
    if let Some(memory_bytes) = memory_bytes.filter(|memory_bytes| cache_bytes > *memory_bytes) {
        warnings.push(Warning::LargeCache { cache_bytes, memory_bytes });
    }
    warnings
}

impl Warning {
    pub fn log(&self) {
        match self {
            Self::PublicCreation { host, has_base_url: false, has_token: false } => tracing::warn!(
                %host,
                "anyone can create links and nobody can take them down: set API_TOKENS and BASE_URL"
            ),
            Self::PublicCreation { host, has_token: false, .. } => {
                tracing::warn!(%host, "anyone can create links and nobody can take them down: set API_TOKENS");
            }
            Self::PublicCreation { host, .. } => {
                tracing::warn!(%host, "short URLs begin with the Host that a client sends: set BASE_URL");
            }
            Self::NoCreation => {
                tracing::warn!("nobody can create links: set API_TOKENS or PUBLIC_SHORTEN=true");
            }
            Self::ShortRequests { request_timeout, store_timeout } => {
                tracing::warn!(
                    ?request_timeout,
                    ?store_timeout,
                    "REQUEST_TIMEOUT is shorter than STORE_TIMEOUT"
                );
            }
            Self::LargeCache { cache_bytes, memory_bytes } => tracing::warn!(
                cache_bytes,
                memory_bytes,
                "CACHE_BYTES is more than the memory of this machine or container"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Cli;

    fn warnings_of(flags: &[&str], has_token: bool, memory_bytes: Option<u64>) -> Vec<Warning> {
        let arguments = [&["urlshort"], flags].concat();
        let config = Cli::read(arguments.into_iter().map(Into::into)).unwrap().config;
        warnings(&config, has_token, memory_bytes)
    }

    #[test]
    fn the_defaults_give_one_warning() {
        let host = IpAddr::from([0, 0, 0, 0]);
        let expected = Warning::PublicCreation { host, has_base_url: false, has_token: false };
        assert_eq!(warnings_of(&[], false, Some(1 << 30)), [expected]);
    }

    #[test]
    fn public_creation_gives_a_warning_unless_the_service_is_local_or_fully_configured() {
        let base_url = ["--base-url", "https://sho.rt"];
        for (flags, has_token, is_warned) in [
            (&["--host", "::"][..], true, true),
            (&["--host", "192.0.2.1"], true, true),
            (&["--host", "127.0.0.1"], false, false),
            (&["--host", "::1"], false, false),
            (&["--host", "::ffff:127.0.0.1"], false, false),
            (&["--public-shorten=false"], true, false),
            (&base_url, false, true),
            (&base_url, true, false),
        ] {
            let warnings = warnings_of(flags, has_token, None);
            let is_about_it = |warning: &Warning| matches!(warning, Warning::PublicCreation { .. });
            assert_eq!(warnings.iter().any(is_about_it), is_warned, "{flags:?}: {warnings:?}");
        }
    }

    #[test]
    fn a_service_where_nobody_can_create_links_gives_a_warning() {
        let closed = ["--public-shorten=false"];
        assert_eq!(warnings_of(&closed, false, None), [Warning::NoCreation]);
        assert_eq!(warnings_of(&closed, true, None), []);
    }

    #[test]
    fn contradictory_limits_give_a_warning() {
        for (flags, memory_bytes, expected) in [
            (&["--request-timeout", "2s"][..], Some(32 << 20), None),
            (
                &["--request-timeout", "1999ms"],
                None,
                Some(Warning::ShortRequests {
                    request_timeout: Duration::from_millis(1999),
                    store_timeout: Duration::from_secs(2),
                }),
            ),
            (
                &[],
                Some((32 << 20) - 1),
                Some(Warning::LargeCache { cache_bytes: 32 << 20, memory_bytes: (32 << 20) - 1 }),
            ),
        ] {
            let flags = [flags, &["--host", "127.0.0.1"]].concat();
            assert_eq!(warnings_of(&flags, false, memory_bytes), Vec::from_iter(expected), "{flags:?}");
        }
    }
}
