//! `urlshort token`: generates a token for the API.

use std::{
    error::Error,
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use rand::{
    SeedableRng,
    rngs::{StdRng, SysRng},
};

use crate::{
    clock::Clock,
    config::duration,
    link::Creator,
    tokens::{Scope, Token, parse_name},
};

/// The options for `urlshort token`.
#[derive(Args, Clone, Debug)]
pub struct TokenOptions {
    /// Name of the token, shown in the log and on links created with it; up to 64 visible ASCII characters
    #[arg(value_name = "NAME", value_parser = parse_name)]
    pub name: Creator,

    /// Allow only viewing links and statistics; by default, the token may also create and change links
    #[arg(long)]
    pub read: bool,

    /// Time until the token expires, such as 90d; by default, it never expires
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub expires: Option<Duration>,
}

/// Prints a new token and its line for `API_TOKENS_FILE`.
///
/// Only these two lines go to standard output, so that scripts can read them. Their labels go to standard error.
///
/// # Errors
/// An error if the system provides no randomness, or standard output is closed.
pub fn run(options: &TokenOptions) -> Result<(), Box<dyn Error>> {
    let mut rng = StdRng::try_from_rng(&mut SysRng)?;
    let expires_at = options.expires.map(|time| expiry(Clock::system().now(), time)).transpose()?;
    let scope = if options.read { Scope::Read } else { Scope::Write };
    let (text, token) = Token::generate(options.name.clone(), scope, expires_at, &mut rng);
    let mut output = io::stdout().lock();
    eprintln!("The token, which is shown only once:");
    writeln!(output, "{text}")?;
    eprintln!("The line for API_TOKENS_FILE:");
    writeln!(output, "{token}")?;
    Ok(output.flush()?)
}

/// Returns `now` plus `time`, rounded up to a whole second for readability.
fn expiry(now: Timestamp, time: Duration) -> Result<Timestamp, jiff::Error> {
    let end = now.checked_add(SignedDuration::try_from(time)?)?;
    let is_whole = end.subsec_nanosecond() == 0;
    Timestamp::from_second(end.as_second() + i64::from(!is_whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_whole_second_and_never_early() {
        for (now, milliseconds, end) in [
            ("2026-12-01T00:00:00Z", 86_400_000, "2026-12-02T00:00:00Z"),
            ("2026-12-01T00:00:00.001Z", 86_400_000, "2026-12-02T00:00:01Z"),
            ("2026-12-01T00:00:00Z", 1, "2026-12-01T00:00:01Z"),
        ] {
            let found = expiry(now.parse().unwrap(), Duration::from_millis(milliseconds)).unwrap();
            assert_eq!(found.to_string(), end);
        }
    }
}
