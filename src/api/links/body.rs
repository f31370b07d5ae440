//! A link as those who manage it see it, and the fields in which they say what shall change.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{
    error::ApiError,
    fields::{after, at, redirect, tags},
    values::{present, text_or_number, words},
};
use crate::{base_url::BaseUrl, link::LinkState, shortener::manage::Edit, store::Record};

/// A link and what is counted about it.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct LinkBody {
    #[schema(example = "q0V8fYz")]
    key: String,
    #[schema(format = Uri, example = "https://sho.rt/q0V8fYz")]
    short_url: String,
    #[schema(format = Uri, example = "https://example.com/a/long/path")]
    url: String,
    state: State,
    #[schema(required = true)]
    title: Option<String>,
    tags: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<u32>, required = true)]
    max_visits: Option<NonZeroU32>,
    /// How many of them are used up.
    visits: u64,
    /// How often people have followed it.
    clicks: u64,
    redirect: u16,
    forward_query: bool,
    has_password: bool,
    version: u32,
}

/// Whether a link redirects, and if not, why.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum State {
    Active,
    Expired,
    UsedUp,
    TakenDown,
}

impl LinkBody {
    pub(in crate::api) fn new(record: &Record, own: &BaseUrl, now: Timestamp) -> Self {
        let link = &*record.link;
        Self {
            key: link.key.to_string(),
            short_url: own.short_url(&link.key),
            url: link.target.to_string(),
            state: match link.state(now) {
                LinkState::TakenDown => State::TakenDown,
                LinkState::Expired => State::Expired,
                LinkState::Active if record.is_used_up() => State::UsedUp,
                LinkState::Active => State::Active,
            },
            title: link.title.as_ref().map(|title| title.as_str().into()),
            tags: link.tags.iter().map(|tag| tag.as_str().into()).collect(),
            created_at: link.created_at,
            expires_at: link.expires_at,
            max_visits: link.max_visits,
            visits: record.visits,
            clicks: record.clicks,
            redirect: link.redirect.code(),
            forward_query: link.forward_query,
            has_password: link.password.is_some(),
            version: link.version,
        }
    }
}

/// What shall change. What is left out stays; `null` takes away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct EditFields {
    /// Where it shall lead.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, format = Uri)]
    url: Option<String>,
    /// When it shall end. Not together with `expires_in`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<Timestamp>>,
    /// After how long it shall end, from now: seconds, or a time such as `30d`.
    #[serde(default, deserialize_with = "text_or_number")]
    #[schema(value_type = Option<String>, example = "30d")]
    expires_in: Option<String>,
    /// How many visits by people it shall serve in all.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    max_visits: Option<Option<NonZeroU32>>,
    /// How it shall redirect: 301, 302, 307 or 308.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u16, example = 302)]
    redirect: Option<u16>,
    /// Whether the query of the short URL is added to the target's.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = bool)]
    forward_query: Option<bool>,
    /// What it is called, in 1 to 255 characters.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    title: Option<Option<String>>,
    /// By what it is found: at most 20 words of 1 to 64 characters.
    #[serde(default, deserialize_with = "some_words")]
    #[schema(value_type = Vec<String>)]
    tags: Option<Vec<String>>,
    /// What a visitor shall have to know, in 1 to 128 bytes.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Option<String>>,
}

fn some_words<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    words(deserializer).map(Some)
}

impl EditFields {
    /// Reads the fields, at `now`.
    pub(in crate::api) fn read(self, now: Timestamp) -> Result<Edit, ApiError> {
        let expires_at = match (self.expires_at, self.expires_in) {
            (Some(_), Some(_)) => {
                return Err(ApiError::InvalidOption("expires_at and expires_in don't go together".into()));
            }
            (time, None) => time.map(|time| time.map(at).transpose()).transpose()?,
            (None, Some(time)) => Some(Some(after(now, &time)?)),
        };
        Ok(Edit {
            target: self.url.map(|url| url.parse()).transpose()?,
            expires_at,
            max_visits: self.max_visits,
            redirect: self.redirect.map(redirect).transpose()?,
            forward_query: self.forward_query,
            title: self
                .title
                .map(|title| title.map(|title| title.parse()).transpose())
                .transpose()
                .map_err(ApiError::option)?,
            tags: self.tags.map(|words| tags(&words)).transpose()?,
            password: self
                .password
                .map(|text| text.map(|text| text.parse()).transpose())
                .transpose()
                .map_err(ApiError::option)?,
            taken_down: None,
        })
    }
}
