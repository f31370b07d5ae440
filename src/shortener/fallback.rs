//! Fallbacks: external pages that browsers are redirected to instead of the home page or an error page.

use super::{FollowError, Shortener};
use crate::{
    base_url::BaseUrl,
    link::{Link, Target},
};

/// The page to redirect a browser to, and the setting it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    pub url: Target,
    pub source: FallbackSource,
}

/// The setting that a fallback comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackSource {
    /// `HOME_URL`
    Home,
    /// `NOT_FOUND_URL`
    NotFound,
    /// `GONE_URL`
    Gone,
    /// The link's `gone_url` field.
    Link,
}

impl FallbackSource {
    /// Returns the name used in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::Link => "link",
        }
    }
}

impl FollowError {
    /// Returns the error for a link that has expired or is used up.
    pub(super) fn ended(link: &Link) -> Self {
        Self::Ended { gone_url: link.doc.options.gone_url.clone() }
    }
}

impl Shortener {
    /// Counts a failed attempt to follow a link, and returns its fallback.
    ///
    /// `base_url` is the address of this service, or `None` if the client is not a browser.
    ///
    /// # Errors
    /// `error`, if there is no fallback.
    pub fn refuse(&self, error: FollowError, base_url: Option<&BaseUrl>) -> Result<Fallback, FollowError> {
        let fallback = base_url.and_then(|base_url| self.fallback(&error, base_url));
        let outcome = if fallback.is_some() { "fallback" } else { error.outcome() };
        self.metrics.redirects.with_label_values(&[outcome]).inc();
        fallback.ok_or(error)
    }

    /// Returns the page to redirect a browser to instead of showing `error`.
    ///
    /// A link that was taken down or blocked has no fallback: its visitors must see that it's gone. `base_url` is the
    /// address of this service, and no fallback leads back to it.
    pub fn fallback(&self, error: &FollowError, base_url: &BaseUrl) -> Option<Fallback> {
        let options = &self.fallbacks;
        match error {
            FollowError::NotFound => {
                outside(options.not_found_url.as_ref(), FallbackSource::NotFound, base_url)
            }
            FollowError::Ended { gone_url } => {
                // The page's host may have been blocked since the link was created.
                let is_allowed = |url: &&Target| self.policy.check(url, base_url).is_ok();
                outside(gone_url.as_ref().filter(is_allowed), FallbackSource::Link, base_url)
                    .or_else(|| outside(options.gone_url.as_ref(), FallbackSource::Gone, base_url))
            }
            _ => None,
        }
    }

    /// Returns the page to redirect browsers to when they request `/`.
    pub(crate) fn home_fallback(&self, base_url: &BaseUrl) -> Option<Fallback> {
        outside(self.fallbacks.home_url.as_ref(), FallbackSource::Home, base_url)
    }
}

/// Returns a fallback, unless it would lead back to this service.
fn outside(url: Option<&Target>, source: FallbackSource, base_url: &BaseUrl) -> Option<Fallback> {
    let url = url.filter(|url| !base_url.covers(url))?;
    Some(Fallback { url: url.clone(), source })
}
