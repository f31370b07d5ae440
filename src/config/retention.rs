//! The options that make the service remove links and counts by itself.

use std::time::Duration;

use clap::Args;

use super::values::{duration, number};

/// The time for which expired links and counts by day are kept.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Links")]
pub struct RetentionOptions {
    /// Time after its expiry at which a link is removed; otherwise it is kept
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub purge_expired_after: Option<Duration>,

    /// Days for which statistics by day are kept, today included; otherwise as long as their link
    #[arg(long, value_name = "DAYS", value_parser = number::<u32>(1..=36_500))]
    pub stats_retention: Option<u32>,
}

impl RetentionOptions {
    /// Returns whether nothing is ever removed.
    pub fn is_off(&self) -> bool {
        self.purge_expired_after.is_none() && self.stats_retention.is_none()
    }
}
