//! The options for removing expired links and old statistics.

use std::time::Duration;

use clap::Args;

use super::values::{duration, number};

/// The retention of expired links and daily statistics.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Links")]
pub struct RetentionOptions {
    /// Remove links this long after their expiry; by default, they are kept
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub purge_expired_after: Option<Duration>,

    /// Number of days of daily statistics to keep, including today; by default, they are kept as long as the link
    #[arg(long, value_name = "DAYS", value_parser = number::<u32>(1..=36_500))]
    pub stats_retention: Option<u32>,
}

impl RetentionOptions {
    /// Returns whether everything is kept.
    pub(crate) fn is_off(&self) -> bool {
        self.purge_expired_after.is_none() && self.stats_retention.is_none()
    }
}
