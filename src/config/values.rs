//! Values of options that have a syntax of their own.

use std::{fs, num::NonZeroU32, path::PathBuf, str::FromStr, time::Duration};

use clap::ValueEnum;
use thiserror::Error;
use tracing_subscriber::filter::Targets;

/// The name of a strategy for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StrategyName {
    /// Keys that can't be guessed.
    Random,
    /// Keys that count up.
    Counter,
    /// Keys that follow from the target.
    Hash,
}

impl StrategyName {
    /// Returns the name as options, logs and metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Counter => "counter",
            Self::Hash => "hash",
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Plain text, for a terminal.
    Text,
}

/// The rate that a client must not exceed; `None` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit(pub Option<Rate>);

/// A number of requests per period, all of which may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per period.
    pub requests: NonZeroU32,
    /// The period.
    pub period: Duration,
}

/// A string is not a rate limit.
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

/// The longest duration of an option. Timers far beyond it would overflow once they are set.
pub(super) const MAX_DURATION: Duration = Duration::from_hours(366 * 24);

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("takes a time greater than 0".into()),
        duration => Ok(duration),
    }
}

pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > MAX_DURATION => Err("takes a time of at most 366d".into()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("takes a time such as 500ms, 10s or 2min".into()),
    }
}

/// Takes the path of a file that another program may only write later.
pub(super) fn file_to_come(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_dir() { Err("takes a file, not a directory".into()) } else { Ok(path) }
}

pub(super) fn readable_file(text: &str) -> Result<PathBuf, String> {
    fs::File::open(text).map_err(|error| format!("takes a readable file: {error}"))?;
    Ok(text.into())
}

pub(super) fn log_level(text: &str) -> Result<Targets, String> {
    text.parse().map_err(|_| "takes error, warn, info, debug or trace, also per module".into())
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
    fn a_strategy_has_one_name() {
        for strategy in StrategyName::value_variants() {
            assert_eq!(strategy.to_possible_value().unwrap().get_name(), strategy.as_str());
        }
    }
}
