//! The fields that describe a link in a request.

use std::{num::NonZeroU32, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    link::{
        Target,
        options::{Options, RedirectStatus, Tags},
        time::{TimestampOutOfRange, whole_milliseconds},
    },
    shortener::NewLink,
    web::{
        extract::field_values::{DURATION, duration, string_or_nothing, timestamp, words},
        respond::error::ApiError,
    },
};

/// The fields of a new link.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkFields {
    /// Target: an absolute http or https URL of at most 2,048 bytes, without a user name or password.
    #[serde(default, deserialize_with = "string_or_nothing")]
    #[schema(value_type = String, format = Uri, required = true, example = "https://example.com/a/long/path")]
    url: Option<String>,
    /// Custom key. Without it, the service generates a key.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$", example = "spring-sale")]
    key: Option<String>,
    /// Start time. Until then, the link returns 404.
    #[serde(default, deserialize_with = "timestamp")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2029-12-01T00:00:00Z")]
    starts_at: Option<Timestamp>,
    /// Expiry as a timestamp. Can't be combined with `expires_in`.
    #[serde(default, deserialize_with = "timestamp")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2030-01-01T00:00:00Z")]
    expires_at: Option<Timestamp>,
    /// Time until expiry: a number of seconds, or a duration such as `30d`, `12h` or `90min`.
    #[serde(default, deserialize_with = "duration")]
    #[schema(value_type = Option<String>, example = "30d")]
    expires_in: Option<String>,
    /// Maximum number of visits by people.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, example = 100)]
    max_visits: Option<NonZeroU32>,
    /// Status of the redirect: 301, 302, 307 or 308.
    #[serde(default)]
    #[schema(value_type = Option<u16>, default = 302, example = 302)]
    redirect: Option<u16>,
    /// Append the short URL's query to the target's query.
    #[serde(default)]
    forward_query: bool,
    /// Page that browsers are redirected to once the link has expired or is used up. The same rules apply as for `url`.
    /// Only a client with a token can set it.
    #[serde(default)]
    #[schema(format = Uri, example = "https://example.com/sale-is-over")]
    gone_url: Option<String>,
    /// Title: 1 to 255 characters.
    #[serde(default)]
    #[schema(example = "Spring sale")]
    title: Option<String>,
    /// Labels for filtering links: at most 20, each of 1 to 64 characters. In a form, they are separated by commas.
    #[serde(default, deserialize_with = "words")]
    #[schema(example = json!(["sale", "spring"]))]
    tags: Vec<String>,
    /// Password that visitors must enter: 1 to 128 bytes.
    #[serde(default)]
    #[schema(format = Password)]
    password: Option<String>,
}

impl LinkFields {
    pub(crate) fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Returns whether the fields would mean something different in a later retry.
    pub(crate) fn depends_on_time(&self) -> bool {
        self.expires_in.is_some()
    }

    /// Validates the fields of a link created at `now`.
    pub(crate) fn read(self, now: Timestamp) -> Result<NewLink, ApiError> {
        let expires_at = match (self.expires_at, self.expires_in) {
            (Some(_), Some(_)) => {
                return Err(ApiError::InvalidOption("set either expires_at or expires_in, not both".into()));
            }
            (time, None) => time.map(|time| checked_timestamp("expires_at", time)).transpose()?,
            (None, Some(time)) => Some(expiry_after(now, &time)?),
        };
        let starts_at = self.starts_at.map(|time| checked_timestamp("starts_at", time)).transpose()?;
        if starts_at.zip(expires_at).is_some_and(|(start, expiry)| start >= expiry) {
            return Err(ApiError::InvalidOption("starts_at must be before the expiry".into()));
        }
        Ok(NewLink {
            target: self.url.unwrap_or_default().parse()?,
            key: self.key.map(|key| key.parse()).transpose()?,
            options: Options {
                starts_at,
                expires_at,
                max_visits: self.max_visits,
                redirect: self
                    .redirect
                    .map(RedirectStatus::try_from)
                    .transpose()
                    .map_err(ApiError::option)?
                    .unwrap_or_default(),
                forward_query: self.forward_query,
                gone_url: self
                    .gone_url
                    .map(|url| url.parse::<Target>())
                    .transpose()
                    .map_err(|error| ApiError::InvalidOption(format!("gone_url: {error}")))?,
                title: self.title.map(|title| title.parse()).transpose().map_err(ApiError::option)?,
                tags: Tags::parse(self.tags.iter().map(String::as_str)).map_err(ApiError::option)?,
                password: None,
            },
            password: self.password.map(|text| text.parse()).transpose().map_err(ApiError::option)?,
        })
    }
}

/// Validates the timestamp in a field, and truncates it to milliseconds.
pub(crate) fn checked_timestamp(field: &str, time: Timestamp) -> Result<Timestamp, ApiError> {
    whole_milliseconds(time).map_err(|error| ApiError::InvalidOption(format!("{field}: {error}")))
}

/// Parses a duration, and returns the expiry that long after `now`.
pub(crate) fn expiry_after(now: Timestamp, time: &str) -> Result<Timestamp, ApiError> {
    let invalid = |reason| ApiError::InvalidOption(format!("expires_in: {reason}"));
    let seconds = time.parse().ok().map(Duration::from_secs);
    let duration = seconds
        .or_else(|| humantime::parse_duration(time).ok())
        .ok_or_else(|| invalid(format!("takes {DURATION}")))?;
    now.checked_add(duration)
        .map_err(|_| TimestampOutOfRange)
        .and_then(whole_milliseconds)
        .map_err(|error| invalid(error.to_string()))
}
