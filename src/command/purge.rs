//! `urlshort purge`: removes expired links and old statistics.

use std::{
    error::Error,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use bytesize::ByteSize;
use clap::Args;

use super::transfer::{self, MissingFile};
use crate::{
    clock::Clock,
    config::{CacheOptions, Config},
    links::Links,
    observability::metrics::Metrics,
    retention::{Pace, Purged, Sweep},
};

/// The options for `urlshort purge`.
#[derive(Args, Clone, Copy, Debug)]
pub struct PurgeOptions {
    /// Only print what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

/// Purges according to the retention options, and prints the counts.
///
/// # Errors
/// An error from the store. The counts up to that point are still printed.
pub fn run(config: &Config, options: PurgeOptions) -> Result<(), Box<dyn Error>> {
    transfer::runtime()?.block_on(async {
        let store = transfer::open_store(&config.store, MissingFile::Fail).await?;
        let cache = CacheOptions { cache_bytes: ByteSize(0), cache_ttl: Duration::ZERO };
        let metrics = Arc::new(Metrics::new());
        let links = Links::new(store, transfer::deadline(&config.store), cache, metrics.clone());
        let sweep = Sweep {
            links: &links,
            options: config.retention,
            now: Clock::system().now(),
            pace: Pace::FULL_SPEED,
            metrics: &metrics,
            dry_run: options.dry_run,
        };
        let (mut purged, mut output) = (Purged::default(), io::stdout());
        // Keep purging even if standard output is closed.
        let swept = sweep.run(&mut purged, |link| {
            if let Some(expiry) = link.doc.options.expires_at.filter(|_| options.dry_run) {
                let _ = writeln!(output, "{} expired {expiry}", link.key);
            }
        });
        let swept = swept.await;
        let verb = if options.dry_run { "to remove" } else { "removed" };
        let Purged { links: number, day_counts } = purged;
        let _ =
            writeln!(io::stdout(), "{} and {day_counts} days of statistics {verb}", transfer::links(number));
        links.close().await;
        Ok(swept?)
    })
}
