//! The types and parsers for option values that have their own syntax.

use std::{
    fmt::Display,
    fs,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use bytesize::ByteSize;
use clap::ValueEnum;
use thiserror::Error;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The name of a key strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StrategyName {
    /// Keys that can't be guessed.
    Random,
    /// Sequential keys.
    Counter,
    /// Keys derived from the target.
    Hash,
}

impl StrategyName {
    /// Returns the name used in options, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Counter => "counter",
            Self::Hash => "hash",
        }
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Plain text, for a terminal.
    Text,
}

/// The maximum rate of a client or token; `None` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit(pub Option<Rate>);

/// A number of requests per period. The number is also the maximum burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub requests: NonZeroU32,
    pub period: Duration,
}

/// The error for an invalid rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("takes a number per s, min or h, such as 60/min, or 0 for no limit")]
pub struct InvalidRateLimit;

impl FromStr for RateLimit {
    type Err = InvalidRateLimit;

    fn from_str(text: &str) -> Result<Self, InvalidRateLimit> {
        if text == "0" {
            return Ok(Self(None));
        }
        let (requests, unit) = text.split_once('/').ok_or(InvalidRateLimit)?;
        let period = match unit {
            "s" => Duration::from_secs(1),
            "min" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return Err(InvalidRateLimit),
        };
        let requests = requests.parse().map_err(|_| InvalidRateLimit)?;
        Ok(Self(Some(Rate { requests, period })))
    }
}

/// The maximum value for a duration option. Much longer durations would overflow timers.
pub(super) const MAX_DURATION: Duration = Duration::from_hours(366 * 24);

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("takes a duration greater than 0".into()),
        duration => Ok(duration),
    }
}

pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > MAX_DURATION => Err("takes a duration of at most 366d".into()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("takes a duration such as 500ms, 10s or 2min".into()),
    }
}

/// Parses the path of a file that need not exist yet.
pub(super) fn file_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_dir() { Err("takes a file, not a directory".into()) } else { Ok(path) }
}

pub(super) fn readable_file(text: &str) -> Result<PathBuf, String> {
    fs::File::open(text).map_err(|error| format!("takes a readable file: {error}"))?;
    Ok(text.into())
}

/// Returns a parser for whole numbers in `range`.
pub(super) fn number<T: FromStr + PartialOrd + Display + Clone>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("takes a whole number from {} to {}", range.start(), range.end()))
    }
}

pub(super) fn bytes(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "takes a number of bytes, such as 65536, 512KiB or 32MiB".into())
}

pub(super) fn ip_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        "takes an IP address: 127.0.0.1 or ::1 for this machine only, 0.0.0.0 or :: for every network".into()
    })
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "takes an IP address and a port, such as 127.0.0.1:9090 or [::1]:9090".into())
}

const LOG_LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Parses a default level and per-module levels, separated by commas.
///
/// The parser of `Targets` would treat a misspelt level as a module name, and log only that module. So an item without
/// `=` must be a level here. If no default level is given, it is `info`, as when the option is not set.
pub(super) fn log_level(text: &str) -> Result<Targets, String> {
    let mut targets = Targets::new().with_default(LevelFilter::INFO);
    for directive in text.split(',').map(str::trim) {
        targets = match directive.split_once('=') {
            Some(("", _)) => return Err(format!("'{directive}' has no module; write it as hyper=warn")),
            Some((module, level)) => targets.with_target(module, parse_level(level)?),
            None => targets.with_default(parse_level(directive)?),
        };
    }
    Ok(targets)
}

fn parse_level(name: &str) -> Result<LevelFilter, String> {
    let is_known = LOG_LEVELS.iter().any(|known| known.eq_ignore_ascii_case(name));
    let level = name.parse().ok().filter(|_| is_known);
    level.ok_or_else(|| format!("unknown level '{name}' (use error, warn, info, debug, trace or off)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_is_a_number_per_unit() {
        assert_eq!("0".parse(), Ok(RateLimit(None)));
        for text in ["60/min", "1/s", "100000/h"] {
            assert!(matches!(text.parse(), Ok(RateLimit(Some(_)))), "{text}");
        }
        for text in ["", "60", "0/min", "-1/min", "60/day", "60/", "/min", "x/min"] {
            assert_eq!(text.parse::<RateLimit>(), Err(InvalidRateLimit), "{text}");
        }
    }

    #[test]
    fn a_strategy_has_the_same_name_everywhere() {
        for strategy in StrategyName::value_variants() {
            assert_eq!(strategy.to_possible_value().unwrap().get_name(), strategy.as_str());
        }
    }

    #[test]
    fn a_log_level_applies_to_all_modules_or_to_one() {
        use tracing::Level;
        for (text, module, level, is_logged) in [
            ("warn", "urlshort", Level::WARN, true),
            ("warn", "urlshort", Level::INFO, false),
            ("WARN", "urlshort", Level::WARN, true),
            ("info,hyper=warn", "urlshort::app", Level::INFO, true),
            ("info, hyper=warn", "hyper", Level::INFO, false),
            ("hyper=debug", "hyper", Level::DEBUG, true),
            ("hyper=debug", "urlshort", Level::INFO, true),
            ("hyper=debug", "urlshort", Level::DEBUG, false),
            ("off", "urlshort", Level::ERROR, false),
            ("off,hyper=error", "hyper", Level::ERROR, true),
            ("info,hyper=off", "hyper", Level::ERROR, false),
        ] {
            let targets = log_level(text).unwrap();
            assert_eq!(targets.would_enable(module, &level), is_logged, "{text}: {module} at {level}");
        }
    }

    #[test]
    fn an_unknown_log_level_is_refused_in_any_position() {
        for (text, wrong) in [
            ("warning", "warning"),
            ("hyper", "hyper"),
            ("info,hyper", "hyper"),
            ("info,hyper=loud", "loud"),
            ("loud=yes=no", "yes=no"),
            ("3", "3"),
            ("", ""),
            ("info,", ""),
        ] {
            let reason = format!("unknown level '{wrong}' (use error, warn, info, debug, trace or off)");
            assert_eq!(log_level(text), Err(reason), "{text}");
        }
        assert_eq!(log_level("=warn"), Err("'=warn' has no module; write it as hyper=warn".into()));
    }
}
