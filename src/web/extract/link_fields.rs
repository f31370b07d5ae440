//! The fields in which clients say what a link shall be like, and how they are read.

use std::{num::NonZeroU32, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    link::{
        options::{Options, RedirectStatus, Tags},
        time::{TimestampOutOfRange, whole_milliseconds},
    },
    shortener::NewLink,
    web::{
        extract::field_values::{string_or_nothing, text_or_number, words},
        respond::error::ApiError,
    },
};

/// The link to make.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkFields {
    /// Where it shall lead: an absolute http or https URL, without user name and password, of at most 2,048 bytes.
    #[serde(default, deserialize_with = "string_or_nothing")]
    #[schema(value_type = String, format = Uri, required = true, example = "https://example.com/a/long/path")]
    url: Option<String>,
    /// The key that it shall have, where the client cares.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$", example = "spring-sale")]
    key: Option<String>,
    /// When it starts to redirect. Until then it answers 404.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime, example = "2029-12-01T00:00:00Z")]
    starts_at: Option<Timestamp>,
    /// When it shall end. Not together with `expires_in`.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime, example = "2030-01-01T00:00:00Z")]
    expires_at: Option<Timestamp>,
    /// After how long it shall end: seconds, or a time such as `30d`, `12h` or `90min`.
    #[serde(default, deserialize_with = "text_or_number")]
    #[schema(value_type = Option<String>, example = "30d")]
    expires_in: Option<String>,
    /// How many visits by people it shall serve in all.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, example = 100)]
    max_visits: Option<NonZeroU32>,
    /// How it shall redirect: 301, 302, 307 or 308.
    #[serde(default)]
    #[schema(value_type = Option<u16>, default = 302, example = 302)]
    redirect: Option<u16>,
    /// Whether the query of the short URL is added to the target's.
    #[serde(default)]
    forward_query: bool,
    /// What it is called, in 1 to 255 characters.
    #[serde(default)]
    #[schema(example = "Spring sale")]
    title: Option<String>,
    /// By what it is found: at most 20 words of 1 to 64 characters; in a form separated by commas.
    #[serde(default, deserialize_with = "words")]
    #[schema(example = json!(["sale", "spring"]))]
    tags: Vec<String>,
    /// What a visitor shall have to know, in 1 to 128 bytes.
    #[serde(default)]
    #[schema(format = Password)]
    password: Option<String>,
}

impl LinkFields {
    /// Whether a password is to be hashed for them.
    pub(crate) fn have_password(&self) -> bool {
        self.password.is_some()
    }

    /// Whether the same fields would mean something else at another time.
    pub(crate) fn depend_on_the_time(&self) -> bool {
        self.expires_in.is_some()
    }

    /// Reads the fields, at `now`.
    pub(crate) fn read(self, now: Timestamp) -> Result<NewLink, ApiError> {
        let expires_at = match (self.expires_at, self.expires_in) {
            (Some(_), Some(_)) => {
                return Err(ApiError::InvalidOption("expires_at and expires_in don't go together".into()));
            }
            (time, None) => time.map(at).transpose()?,
            (None, Some(time)) => Some(after(now, &time)?),
        };
        let starts_at = self.starts_at.map(at).transpose()?;
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
                redirect: self.redirect.map(redirect).transpose()?.unwrap_or_default(),
                forward_query: self.forward_query,
                title: self.title.map(|title| title.parse()).transpose().map_err(ApiError::option)?,
                tags: tags(&self.tags)?,
                password: None,
            },
            password: self.password.map(|text| text.parse()).transpose().map_err(ApiError::option)?,
        })
    }
}

/// The expiry that a client gave as a timestamp.
pub(crate) fn at(time: Timestamp) -> Result<Timestamp, ApiError> {
    whole_milliseconds(time).map_err(ApiError::option)
}

/// The expiry that a client gave as the time from `now` on.
pub(crate) fn after(now: Timestamp, time: &str) -> Result<Timestamp, ApiError> {
    let seconds = time.parse().ok().map(Duration::from_secs);
    let duration = seconds
        .or_else(|| humantime::parse_duration(time).ok())
        .ok_or_else(|| ApiError::InvalidOption("expires_in takes seconds, or a time such as 30d".into()))?;
    now.checked_add(duration)
        .map_err(|_| TimestampOutOfRange)
        .and_then(whole_milliseconds)
        .map_err(ApiError::option)
}

pub(crate) fn redirect(code: u16) -> Result<RedirectStatus, ApiError> {
    RedirectStatus::try_from(code).map_err(ApiError::option)
}

pub(crate) fn tags(tags: &[String]) -> Result<Tags, ApiError> {
    Tags::parse(tags.iter().map(String::as_str)).map_err(ApiError::option)
}
