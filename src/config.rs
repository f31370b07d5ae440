//! Every option of the service: flag, environment variable, default and check. Nothing else reads the environment.

#[cfg(test)]
mod properties;

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use bytesize::ByteSize;
use clap::{
    Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use tracing_subscriber::filter::Targets;

use crate::{
    base_url::BaseUrl,
    command::{export::ExportOptions, import::ImportOptions},
    keygen::StrategyName,
    observability::logging::LogFormat,
    store::StoreUrl,
    tokens::{InvalidTokens, Tokens},
    web::middleware::rate_limit::RateLimit,
};

/// A URL shortener. Without a command it serves until it receives SIGTERM or SIGINT.
///
/// Each option can be given as a flag or as an environment variable; the flag wins.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    /// What to do instead of serving.
    pub command: Option<Command>,
    #[command(flatten)]
    /// How to do it.
    pub config: Config,
}

/// What the program can do besides serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Asks the instance that runs with the same options for its /healthz; exits with 0 or 1
    Healthcheck,
    /// Writes all links to a file or standard output
    Export(ExportOptions),
    /// Takes over the links of a file, be it of this or of another service
    ///
    /// A link whose key is in the store with the same target stays as it is there, so an import that was stopped can be
    /// run again. Exits with 0 when all links are in the store, 1 when some were skipped or it had to stop, 2 when it was
    /// called wrongly.
    Import(ImportOptions),
}

/// The options. See `urlshort --help`, or the same table in the README.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Address to listen on
    #[arg(long, env, hide_env_values = true, global = true, value_name = "ADDRESS", default_value = "0.0.0.0", help_heading = SERVER)]
    pub host: IpAddr,

    /// Port to listen on; 0 takes a free one
    #[arg(long, env, hide_env_values = true, global = true, value_name = "NUMBER", default_value_t = 8080, help_heading = SERVER)]
    pub port: u16,

    /// Second listener, which takes /metrics and /readyz off the first one
    #[arg(long, env, hide_env_values = true, global = true, value_name = "ADDRESS:PORT", help_heading = SERVER)]
    pub metrics_addr: Option<SocketAddr>,

    /// What short URLs begin with; otherwise each request's own scheme and Host
    #[arg(long, env, hide_env_values = true, global = true, value_name = "URL", help_heading = SERVER)]
    pub base_url: Option<BaseUrl>,

    /// How many proxies stand in front; their X-Forwarded-For and -Proto are believed, nobody else's
    #[arg(long, env, hide_env_values = true, global = true, value_name = "NUMBER", default_value_t = 0, help_heading = SERVER)]
    pub trusted_proxies: u8,

    /// memory:, sqlite:PATH, postgres://… or redis://…; what postgres:// leaves out the PG* variables say
    #[arg(long, env, hide_env_values = true, global = true, value_name = "URL", default_value = "sqlite:urlshort.db", help_heading = LINKS)]
    pub store_url: StoreUrl,

    /// Time that a call to the store may take
    #[arg(long, env, hide_env_values = true, global = true, value_name = "DURATION", default_value = "2s", value_parser = duration, help_heading = LINKS)]
    pub store_timeout: Duration,

    /// Connections to the store's server at most
    #[arg(long, env, hide_env_values = true, global = true, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = LINKS)]
    pub store_connections: u32,

    /// File with PostgreSQL's password, read for each new connection: the password, or JSON with a field `password`
    #[arg(long, env, hide_env_values = true, global = true, value_name = "FILE", value_parser = file_to_come, help_heading = LINKS)]
    pub pgpassword_file: Option<PathBuf>,

    /// Memory for links that were asked for lately; 0 asks the store each time
    #[arg(long, env, hide_env_values = true, global = true, value_name = "BYTES", default_value = "32MiB", help_heading = LINKS)]
    pub cache_bytes: ByteSize,

    /// Time after which a link in memory is asked for again
    #[arg(long, env, hide_env_values = true, global = true, value_name = "DURATION", default_value = "60s", value_parser = duration, help_heading = LINKS)]
    pub cache_ttl: Duration,

    /// How keys are made: random, counter or hash
    #[arg(long, env, hide_env_values = true, global = true, value_name = "NAME", default_value = "random", help_heading = LINKS)]
    pub key_strategy: StrategyName,

    /// Characters in a random or hashed key
    #[arg(long, env, hide_env_values = true, global = true, value_name = "NUMBER", default_value_t = 7, value_parser = clap::value_parser!(u8).range(4..=43), help_heading = LINKS)]
    pub key_length: u8,

    /// File of hosts that no link may lead to: one host or .suffix a line, reloaded when it changes
    #[arg(long, env, hide_env_values = true, global = true, value_name = "FILE", value_parser = readable_file, help_heading = LINKS)]
    pub blocked_hosts: Option<PathBuf>,

    /// Refuse links to addresses and names that are not on the public internet
    #[arg(long, env, hide_env_values = true, global = true, value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = LINKS)]
    pub block_private_targets: bool,

    /// Who may manage links: name:token[:read|write], separated by commas; tokens of 16 characters at least
    #[arg(long, env, hide_env_values = true, global = true, value_name = "TOKENS", help_heading = ACCESS)]
    pub api_tokens: Option<Tokens>,

    /// File of such tokens, one a line
    #[arg(long, env, hide_env_values = true, global = true, value_name = "FILE", value_parser = tokens_in, help_heading = ACCESS)]
    pub api_tokens_file: Option<Tokens>,

    /// Whether POST /shorten is for everybody; otherwise it needs a token
    #[arg(long, env, hide_env_values = true, global = true, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = ACCESS)]
    pub public_shorten: bool,

    /// POST /shorten from one client, and QR codes likewise, per s, min or h; 0 is no limit
    #[arg(long, env, hide_env_values = true, global = true, value_name = "NUMBER/UNIT", default_value = "60/min", value_parser = rate_limit, help_heading = LIMITS)]
    pub rate_limit: Limit,

    /// Largest request body
    #[arg(long, env, hide_env_values = true, global = true, value_name = "BYTES", default_value = "16KiB", help_heading = LIMITS)]
    pub max_body: ByteSize,

    /// Open connections. Without proxies, one client gets a quarter, and a new one replaces the longest idle
    #[arg(long, env, hide_env_values = true, global = true, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = LIMITS)]
    pub max_connections: u32,

    /// Requests at a time; one more is refused
    #[arg(long, env, hide_env_values = true, global = true, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = LIMITS)]
    pub max_in_flight: u32,

    /// Time that a request may take, and that a client may leave an answer unread
    #[arg(long, env, hide_env_values = true, global = true, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = LIMITS)]
    pub request_timeout: Duration,

    /// Time that a new connection may take to send the head of its first request
    #[arg(long, env, hide_env_values = true, global = true, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = LIMITS)]
    pub header_timeout: Duration,

    /// Time that a connection may take from one request to the next; longer than the load balancer's own
    #[arg(long, env, hide_env_values = true, global = true, value_name = "DURATION", default_value = "75s", value_parser = duration, help_heading = LIMITS)]
    pub keep_alive: Duration,

    /// Time between SIGTERM and the last accepted connection, for the load balancer to notice
    #[arg(long, env, hide_env_values = true, global = true, value_name = "DURATION", default_value = "1s", value_parser = duration_or_zero, help_heading = LIMITS)]
    pub drain_delay: Duration,

    /// Time that requests in flight get after that
    #[arg(long, env, hide_env_values = true, global = true, value_name = "DURATION", default_value = "20s", value_parser = duration_or_zero, help_heading = LIMITS)]
    pub drain_timeout: Duration,

    /// error, warn, info, debug or trace; also per module, such as info,hyper=warn
    #[arg(long, env, hide_env_values = true, global = true, value_name = "LEVEL", default_value = "info", value_parser = log_level, help_heading = LOGS)]
    pub log_level: Targets,

    /// How log lines look
    #[arg(long, env, hide_env_values = true, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Json, help_heading = LOGS)]
    pub log_format: LogFormat,
}

const SERVER: &str = "Server";
const LINKS: &str = "Links";
const ACCESS: &str = "Access";
const LIMITS: &str = "Limits";
const LOGS: &str = "Logs";

/// A rate limit, or none.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub Option<RateLimit>);

fn rate_limit(text: &str) -> Result<Limit, String> {
    RateLimit::parse(text).map(Limit).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("takes a time greater than 0".into()),
        duration => Ok(duration),
    }
}

/// The longest time that an option takes. Timers far beyond it would overflow once they are set.
const MAX_DURATION: Duration = Duration::from_hours(366 * 24);

fn duration_or_zero(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > MAX_DURATION => Err("takes a time of at most 366d".into()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("takes a time such as 500ms, 10s or 2min".into()),
    }
}

fn tokens_in(path: &str) -> Result<Tokens, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("takes a readable file: {error}"))?;
    text.parse().map_err(|error: InvalidTokens| error.to_string())
}

/// A file that another program may only write later.
fn file_to_come(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_dir() { Err("takes a file, not a directory".into()) } else { Ok(path) }
}

fn readable_file(text: &str) -> Result<PathBuf, String> {
    std::fs::File::open(text).map_err(|error| format!("takes a readable file: {error}"))?;
    Ok(text.into())
}

fn log_level(text: &str) -> Result<Targets, String> {
    text.parse().map_err(|_| "takes error, warn, info, debug or trace, also per module".into())
}

impl Cli {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// What `--help` and `--version` print counts as one, as with clap; see [`explain`].
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        // A variable that is set to nothing is how compose files and task definitions say "not set".
        let command = Self::command().mut_args(|argument| {
            let is_empty = |name| std::env::var_os(name).is_some_and(|value| value.is_empty());
            if argument.get_env().is_some_and(is_empty) { argument.env(None) } else { argument }
        });
        let mut cli = Self::from_arg_matches(&command.try_get_matches_from(arguments)?)?;
        let invalid = |reason: String| Self::command().error(ErrorKind::ValueValidation, reason);
        let Config { api_tokens, api_tokens_file, .. } = &mut cli.config;
        let both = api_tokens.take().unwrap_or_default().and(api_tokens_file.take().unwrap_or_default());
        let both = both.map_err(|error| invalid(format!("API_TOKENS and API_TOKENS_FILE: {error}")))?;
        *api_tokens = Some(both);
        if matches!(cli.config.store_url, StoreUrl::Postgres(_)) {
            check_postgres_variables().map_err(invalid)?;
        }
        Ok(cli)
    }
}

/// Refuses what the driver would pass over in silence: a misspelt `PGSSLMODE` must not mean less protection.
fn check_postgres_variables() -> Result<(), String> {
    const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    let check = |variable: &str, is_good: fn(&str) -> bool, takes: &str| match std::env::var(variable) {
        Ok(value) if !is_good(&value) => Err(format!("{variable}: '{value}': takes {takes}")),
        _ => Ok(()),
    };
    check("PGSSLMODE", |value| MODES.contains(&value), &MODES.join(", "))?;
    check("PGPORT", |value| value.parse::<u16>().is_ok(), "a port number")
}

/// Variables whose value is not repeated.
const SECRETS: [&str; 2] = ["API_TOKENS", "STORE_URL"];

/// What is wrong with the command line or the environment, as one line that names the variable.
pub fn explain(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    // clap names the argument as "--port <NUMBER>".
    let flag = context(ContextKind::InvalidArg).split(' ').next().unwrap_or_default();
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue if !flag.is_empty() => {
            let variable = flag.trim_start_matches('-').replace('-', "_").to_uppercase();
            let has_variable = |option: &Arg| option.get_env().is_some_and(|name| name == variable.as_str());
            let name = if Cli::command().get_arguments().any(has_variable) {
                format!("{variable} ({flag})")
            } else {
                flag.into()
            };
            let value = context(ContextKind::InvalidValue);
            let reason =
                std::error::Error::source(error).map_or_else(|| accepted(error), ToString::to_string);
            if SECRETS.contains(&&*variable) {
                return format!("{name}: {reason}");
            }
            format!("{name}: '{value}': {reason}")
        }
        _ => {
            let text = error.to_string();
            let first: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
            let first = first.join(" ");
            first.strip_prefix("error: ").unwrap_or(&first).into()
        }
    }
}

fn accepted(error: &clap::Error) -> String {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => format!("takes {}", values.join(" or ")),
        _ => "is not accepted".into(),
    }
}
