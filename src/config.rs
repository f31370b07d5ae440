//! Every option of the service, in groups that are the parameters of its parts. Nothing else reads the environment.
//!
//! A new option is one field here. Its flag and its environment variable have the name of the field.

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
    bytes, duration_or_zero, file_to_come, ip_address, log_level, number, readable_file, socket_address,
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

/// The options. See `urlshort --help`, or the same table in the README.
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

/// The addresses at which the service is reached.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerOptions {
    /// IP address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0", value_parser = ip_address)]
    pub host: IpAddr,

    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "NUMBER", default_value_t = 8080, value_parser = number(0..=u16::MAX))]
    pub port: u16,

    /// Second listener, which takes /metrics and /readyz off the first one
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = socket_address)]
    pub metrics_addr: Option<SocketAddr>,

    /// Start of short URLs; otherwise the scheme and Host of each request
    #[arg(long, value_name = "URL")]
    pub base_url: Option<BaseUrl>,

    /// Number of proxies in front, whose X-Forwarded-For and X-Forwarded-Proto are believed
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = number(0..=u8::MAX))]
    pub trusted_proxies: u8,

    /// Where visitors report abuse: an e-mail address or a URL, shown on previews, password and error pages
    #[arg(long, value_name = "CONTACT")]
    pub abuse_contact: Option<AbuseContact>,
}

/// The store and its connections.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Links")]
pub struct StoreOptions {
    /// memory:, sqlite:PATH, postgres://… or redis://…; what postgres:// leaves out the PG* variables say
    #[arg(long, value_name = "URL", default_value = "sqlite:urlshort.db")]
    pub store_url: StoreUrl,

    /// Longest time for a call to the store
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub store_timeout: Duration,

    /// Most connections to the store's server
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = number::<u32>(1..=1000))]
    pub store_connections: u32,

    /// File with PostgreSQL's password, read for each new connection: the password, or JSON with a field `password`
    #[arg(long, value_name = "FILE", value_parser = file_to_come)]
    pub pgpassword_file: Option<PathBuf>,
}

/// The counting of clicks.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Links")]
pub struct ClickOptions {
    /// Time between two flushes of clicks to the store; a crash loses the clicks since the last one
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub flush_interval: Duration,
}

/// The cache of links.
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
    /// How keys are made: random, counter or hash
    #[arg(long, value_name = "NAME", value_enum, default_value_t = StrategyName::Random, hide_possible_values = true)]
    pub key_strategy: StrategyName,

    /// Characters in a random or hashed key
    #[arg(long, value_name = "NUMBER", default_value_t = 7, value_parser = number::<u8>(4..=43))]
    pub key_length: u8,
}

/// The targets that links may have.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Links")]
pub struct PolicyOptions {
    /// File of hosts that no link may lead to, besides those of the store: one host or .suffix a line, reloaded when it changes
    #[arg(long, value_name = "FILE", value_parser = readable_file)]
    pub blocked_hosts: Option<PathBuf>,

    /// Refuse links to addresses and names that are not on the public internet
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub block_private_targets: bool,
}

/// The clients that may make and manage links.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Access")]
pub struct AccessOptions {
    /// Tokens of those who manage links: name:token[:read|write], separated by commas; at least 16 characters each
    #[arg(long, value_name = "TOKENS")]
    pub api_tokens: Option<Tokens>,

    /// File of tokens by their digests, a line of `urlshort token` each, reloaded when it changes
    #[arg(long, value_name = "FILE")]
    pub api_tokens_file: Option<PathBuf>,

    /// Allow POST /shorten without a token
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub public_shorten: bool,

    /// Show pages to make and manage links in a browser
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub ui: bool,
}

/// The limits of clients, connections and requests.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Links made by one client without a token, and QR codes likewise, per s, min or h; 0 is no limit
    #[arg(long, value_name = "NUMBER/UNIT", default_value = "60/min")]
    pub rate_limit: RateLimit,

    /// Links made with one token, per s, min or h; 0 is no limit
    #[arg(long, value_name = "NUMBER/UNIT", default_value = "6000/min")]
    pub token_rate_limit: RateLimit,

    /// Largest request body
    #[arg(long, value_name = "BYTES", default_value = "16KiB", value_parser = bytes)]
    pub max_body: ByteSize,

    /// Open connections. Without proxies, one client gets a quarter, and a new one replaces the longest idle
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = number::<u32>(1..=1_000_000))]
    pub max_connections: u32,

    /// Most requests at a time; further ones get 503
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = number::<u32>(1..=1_000_000))]
    pub max_in_flight: u32,

    /// Longest time for a request, and for a client to leave its response unread
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub request_timeout: Duration,

    /// Time that a new connection may take to send the head of its first request
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub header_timeout: Duration,

    /// Time that a connection may take from one request to the next; longer than the load balancer's own
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = duration)]
    pub keep_alive: Duration,

    /// Time between SIGTERM and the last accepted connection, for the load balancer to notice
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration_or_zero)]
    pub drain_delay: Duration,

    /// Time that requests in flight get after that
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration_or_zero)]
    pub drain_timeout: Duration,
}

/// The log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct LogOptions {
    /// error, warn, info, debug, trace or off; also for one module, as in info,hyper=warn
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    pub log_level: Targets,

    /// How log lines look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

impl StoreOptions {
    /// Returns the default options with this store.
    pub fn new(store_url: StoreUrl) -> Self {
        let command = Self::augment_args(Command::default().no_binary_name(true));
        let matches = command.get_matches_from([""; 0]);
        Self { store_url, ..Self::from_arg_matches(&matches).expect("the defaults are valid") }
    }

    /// Returns the time that a call may take on a connection. It ends before the caller gives up, so that the connection
    /// is given up as well.
    pub(crate) fn call_deadline(&self) -> Duration {
        self.store_timeout * 9 / 10
    }
}

impl AccessOptions {
    /// Loads the tokens of both sources.
    ///
    /// # Errors
    /// The reason why the file can't be used.
    pub fn load_tokens(&self) -> Result<LiveTokens, FileError> {
        LiveTokens::load(self.api_tokens.clone().unwrap_or_default(), self.api_tokens_file.clone())
    }

    /// Checks that the tokens can be loaded. Only a start of the service does: a file that breaks later must not make the
    /// health check fail.
    ///
    /// # Errors
    /// A sentence for the operator.
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
            // A variable that is set to nothing is how compose files and task definitions say "not set".
            let is_empty = std::env::var_os(&variable).is_some_and(|value| value.is_empty());
            let option = option.global(true).hide_env_values(true);
            if is_empty { option } else { option.env(variable) }
        })
    }

    /// Completes the options from each other and from the variables of PostgreSQL.
    ///
    /// # Errors
    /// A sentence for the operator.
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

/// Options whose value is not repeated.
pub(crate) const SECRETS: [&str; 2] = ["API_TOKENS", "STORE_URL"];
