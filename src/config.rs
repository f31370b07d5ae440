//! The service's options, in groups that its components take as parameters.
//!
//! No other module reads the environment. To add an option, add a field here. The field's name determines the option's
//! flag and environment variable.

mod abuse_contact;
mod fallbacks;
mod postgres;
#[cfg(test)]
mod properties;
mod retention;
mod store_url;
mod values;
mod warnings;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use clap::{ArgAction, Args, Command, FromArgMatches};
use tracing_subscriber::filter::Targets;

pub(crate) use self::values::duration;
use self::values::{
    bytes, duration_or_zero, file_path, ip_address, log_level, number, readable_file, socket_address,
};
pub use self::{
    abuse_contact::{AbuseContact, InvalidAbuseContact},
    fallbacks::FallbackOptions,
    retention::RetentionOptions,
    store_url::{InvalidStoreUrl, StoreUrl},
    values::{InvalidRateLimit, LogFormat, Rate, RateLimit, StrategyName},
    warnings::{Warning, warnings},
};
use crate::{
    base_url::BaseUrl,
    observability::logging::Chain,
    tokens::{LiveTokens, Tokens},
    watched_file::FileError,
};

/// All options, as listed in `urlshort --help` and the README.
#[derive(Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub server: ServerOptions,
    #[command(flatten)]
    pub store: StoreOptions,
    #[command(flatten)]
    pub clicks: ClickOptions,
    #[command(flatten)]
    pub cache: CacheOptions,
    #[command(flatten)]
    pub keys: KeyOptions,
    #[command(flatten)]
    pub policy: PolicyOptions,
    #[command(flatten)]
    pub fallbacks: FallbackOptions,
    #[command(flatten)]
    pub retention: RetentionOptions,
    #[command(flatten)]
    pub access: AccessOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
    #[command(flatten)]
    pub logs: LogOptions,
}

/// The addresses of the service.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerOptions {
    /// IP address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0", value_parser = ip_address)]
    pub host: IpAddr,

    /// Port to listen on; 0 picks a free one
    #[arg(long, value_name = "NUMBER", default_value_t = 8080, value_parser = number(0..=u16::MAX))]
    pub port: u16,

    /// Address of a second listener; if set, /metrics and /readyz are served only there
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = socket_address)]
    pub metrics_addr: Option<SocketAddr>,

    /// Base of short URLs; defaults to the scheme and Host header of each request
    #[arg(long, value_name = "URL")]
    pub base_url: Option<BaseUrl>,

    /// Number of trusted proxies in front of the service; they must set X-Forwarded-For and X-Forwarded-Proto
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = number(0..=u8::MAX))]
    pub trusted_proxies: u8,

    /// E-mail address or URL for abuse reports, shown on preview, password and error pages
    #[arg(long, value_name = "CONTACT")]
    pub abuse_contact: Option<AbuseContact>,
}

/// The store and its connections.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Links")]
pub struct StoreOptions {
    /// memory:, sqlite:PATH, postgres://… or redis://…; the PG* variables supply what a postgres:// URL leaves out
    #[arg(long, value_name = "URL", default_value = "sqlite:urlshort.db")]
    pub store_url: StoreUrl,

    /// Timeout for a call to the store
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub store_timeout: Duration,

    /// Maximum number of connections to the store's server
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = number::<u32>(1..=1000))]
    pub store_connections: u32,

    /// File with the PostgreSQL password, as plain text or in the `password` field of a JSON object; read for each new
    /// connection
    #[arg(long, value_name = "FILE", value_parser = file_path)]
    pub pgpassword_file: Option<PathBuf>,
}

/// Click counting.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Links")]
pub struct ClickOptions {
    /// Interval between flushes of clicks to the store; a crash loses the clicks since the last flush
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub flush_interval: Duration,
}

/// The link cache.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Links")]
pub struct CacheOptions {
    /// Memory for cached links; 0 turns the cache off
    #[arg(long, value_name = "BYTES", default_value = "32MiB", value_parser = bytes)]
    pub cache_bytes: ByteSize,

    /// Time after which a cached link is read from the store again
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub cache_ttl: Duration,
}

/// The keys of new links.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Links")]
pub struct KeyOptions {
    /// How to generate keys: random, counter or hash
    #[arg(long, value_name = "NAME", value_enum, default_value_t = StrategyName::Random, hide_possible_values = true)]
    pub key_strategy: StrategyName,

    /// Length of random and hash-based keys, in characters
    #[arg(long, value_name = "NUMBER", default_value_t = 7, value_parser = number::<u8>(4..=43))]
    pub key_length: u8,
}

/// The rules for link targets.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Links")]
pub struct PolicyOptions {
    /// File of blocked hosts, in addition to the store's list; one host or .suffix per line, reloaded when it changes
    #[arg(long, value_name = "FILE", value_parser = readable_file)]
    pub blocked_hosts: Option<PathBuf>,

    /// Refuse links to addresses and names that are not on the public internet
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub block_private_targets: bool,
}

/// The clients that may create and manage links.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Access")]
pub struct AccessOptions {
    /// Tokens for managing links: name:token[:read|write], separated by commas, at least 16 characters per token
    #[arg(long, value_name = "TOKENS")]
    pub api_tokens: Option<Tokens>,

    /// File of token digests, one line per token as printed by `urlshort token`; reloaded when it changes
    #[arg(long, value_name = "FILE")]
    pub api_tokens_file: Option<PathBuf>,

    /// Allow POST /shorten without a token
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub public_shorten: bool,

    /// Serve pages for creating and managing links in a browser
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub ui: bool,
}

/// The limits on clients, connections and requests.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Limit per client on links created without a token and, separately, on QR codes; per s, min or h, 0 for no limit
    #[arg(long, value_name = "NUMBER/UNIT", default_value = "60/min")]
    pub rate_limit: RateLimit,

    /// Limit per token on new links; per s, min or h, 0 for no limit
    #[arg(long, value_name = "NUMBER/UNIT", default_value = "6000/min")]
    pub token_rate_limit: RateLimit,

    /// Maximum size of a request body
    #[arg(long, value_name = "BYTES", default_value = "16KiB", value_parser = bytes)]
    pub max_body: ByteSize,

    /// Maximum number of open connections; without proxies, one client can hold at most a quarter of them, and at
    /// the limit a new connection replaces the one that has been idle longest
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = number::<u32>(1..=1_000_000))]
    pub max_connections: u32,

    /// Maximum number of concurrent requests; further requests get 503
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = number::<u32>(1..=1_000_000))]
    pub max_in_flight: u32,

    /// Timeout for a request, and for a client that stops reading its response
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub request_timeout: Duration,

    /// Timeout for receiving the head of the first request on a new connection
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub header_timeout: Duration,

    /// How long a connection waits for its next request; must exceed the load balancer's idle timeout
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = duration)]
    pub keep_alive: Duration,

    /// How long to accept connections after SIGTERM, so that the load balancer can notice the shutdown
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration_or_zero)]
    pub drain_delay: Duration,

    /// How long requests in flight may take to finish after `DRAIN_DELAY`
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration_or_zero)]
    pub drain_timeout: Duration,
}

/// The level and format of the log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct LogOptions {
    /// error, warn, info, debug, trace or off; can be set per module, as in info,hyper=warn
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    pub log_level: Targets,

    /// Format of log lines
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

impl StoreOptions {
    /// Returns the default options, but with `store_url` as the store.
    pub fn new(store_url: StoreUrl) -> Self {
        let command = Self::augment_args(Command::default().no_binary_name(true));
        let matches = command.get_matches_from([""; 0]);
        Self { store_url, ..Self::from_arg_matches(&matches).expect("the defaults are valid") }
    }

    /// Returns the time limit for a call on a connection.
    ///
    /// It's shorter than the caller's timeout, so that a late call's connection is closed before the caller gives up.
    pub(crate) fn call_deadline(&self) -> Duration {
        self.store_timeout * 9 / 10
    }
}

impl AccessOptions {
    /// Loads the tokens from both sources.
    ///
    /// # Errors
    /// [`FileError`] if the file can't be used.
    pub(crate) fn load_tokens(&self) -> Result<LiveTokens, FileError> {
        LiveTokens::load(self.api_tokens.clone().unwrap_or_default(), self.api_tokens_file.clone())
    }

    /// Checks that the tokens can be loaded.
    ///
    /// Only the service calls this, when it starts. The health check doesn't call it, because a file that becomes
    /// invalid later must not make the health check fail.
    ///
    /// # Errors
    /// A message for the operator.
    pub(crate) fn check_tokens(&self) -> Result<(), String> {
        let file = self.api_tokens_file.as_deref().unwrap_or(Path::new(""));
        let sentence =
            |error| format!("API_TOKENS_FILE (--api-tokens-file): '{}': {}", file.display(), Chain(&error));
        self.load_tokens().map(drop).map_err(sentence)
    }
}

impl Config {
    /// Gives each option of `command` its environment variable.
    pub(crate) fn add_variables(command: Command) -> Command {
        command.mut_args(|option| {
            let variable = option.get_id().as_str().to_uppercase();
            // Compose files and task definitions use the empty string to mean "not set".
            let is_empty = std::env::var_os(&variable).is_some_and(|value| value.is_empty());
            let option = option.global(true).hide_env_values(true);
            if is_empty { option } else { option.env(variable) }
        })
    }

    /// Completes the store URL from the `PG*` variables, and checks interdependent options.
    ///
    /// # Errors
    /// A message for the operator.
    pub(crate) fn complete(&mut self) -> Result<(), String> {
        if let StoreUrl::Postgres(url) = &mut self.store.store_url {
            *url = postgres::complete(url, |name| std::env::var(name).ok())?;
        }
        match &self.server.base_url {
            Some(base_url) => self.fallbacks.check(base_url),
            None => Ok(()),
        }
    }
}

/// Options whose values must not appear in error messages.
pub(crate) const SECRETS: [&str; 2] = ["API_TOKENS", "STORE_URL"];
