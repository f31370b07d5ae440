//! Options for redirecting browsers to external pages.

use clap::Args;

use crate::{base_url::BaseUrl, link::Target};

/// The fallbacks that `urlshort::shortener::fallback` chooses from.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Links")]
pub struct FallbackOptions {
    /// Where to redirect browsers that request /; the form for new links then moves to /ui/new
    #[arg(long, value_name = "URL")]
    pub home_url: Option<Target>,

    /// Where to redirect browsers if a link does not exist or has not started yet
    #[arg(long, value_name = "URL")]
    pub not_found_url: Option<Target>,

    /// Where to redirect browsers if a link has expired or is used up, unless it has its own `gone_url`
    #[arg(long, value_name = "URL")]
    pub gone_url: Option<Target>,
}

impl FallbackOptions {
    /// Rejects a fallback that leads back to the service, because it would cause a redirect loop.
    pub(super) fn check(&self, base_url: &BaseUrl) -> Result<(), String> {
        let Self { home_url, not_found_url, gone_url } = self;
        for (flag, url) in
            [("--home-url", home_url), ("--not-found-url", not_found_url), ("--gone-url", gone_url)]
        {
            if let Some(url) = url.as_ref().filter(|url| base_url.covers(url)) {
                let variable = flag.trim_start_matches('-').replace('-', "_").to_uppercase();
                return Err(format!(
                    "{variable} ({flag}): '{url}': leads back to BASE_URL, which is {base_url}"
                ));
            }
        }
        Ok(())
    }
}
