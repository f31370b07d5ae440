//! A link as flat values, for stores that keep rows or fields.

use std::num::NonZeroU32;

use jiff::Timestamp;

use super::StoreError;
use crate::link::{
    Link,
    options::{PasswordHash, RedirectStatus, Tag, Tags},
};

/// The values of a link. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    pub(super) key: String,
    pub(super) target: String,
    pub(super) created_at: i64,
    pub(super) expires_at: Option<i64>,
    pub(super) max_visits: Option<i64>,
    pub(super) taken_down_at: Option<i64>,
    pub(super) redirect: i64,
    pub(super) forward_query: bool,
    pub(super) title: Option<String>,
    /// Separated by commas, which no tag holds; empty for none.
    pub(super) tags: String,
    pub(super) password: Option<String>,
    pub(super) version: i64,
}

impl From<&Link> for Columns {
    fn from(link: &Link) -> Self {
        Self {
            key: link.key.to_string(),
            target: link.target.to_string(),
            created_at: link.created_at.as_millisecond(),
            expires_at: link.expires_at.map(Timestamp::as_millisecond),
            max_visits: link.max_visits.map(|visits| visits.get().into()),
            taken_down_at: link.taken_down_at.map(Timestamp::as_millisecond),
            redirect: link.redirect.code().into(),
            forward_query: link.forward_query,
            title: link.title.as_ref().map(|title| title.as_str().to_owned()),
            tags: link.tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(","),
            password: link.password.as_ref().map(|hash| hash.as_phc().to_owned()),
            version: link.version.into(),
        }
    }
}

impl TryFrom<Columns> for Link {
    type Error = StoreError;

    /// [`StoreError::Corrupt`] where a value is none that a link can have.
    fn try_from(columns: Columns) -> Result<Self, StoreError> {
        let time = |value| Timestamp::from_millisecond(value).map_err(StoreError::corrupt);
        let tags = columns.tags.split(',').filter(|tag| !tag.is_empty());
        Ok(Self {
            key: columns.key.parse().map_err(StoreError::corrupt)?,
            target: columns.target.parse().map_err(StoreError::corrupt)?,
            created_at: time(columns.created_at)?,
            expires_at: columns.expires_at.map(time).transpose()?,
            max_visits: columns.max_visits.map(visit_limit).transpose()?,
            taken_down_at: columns.taken_down_at.map(time).transpose()?,
            redirect: redirect(columns.redirect)?,
            forward_query: columns.forward_query,
            title: columns.title.map(|title| title.parse()).transpose().map_err(StoreError::corrupt)?,
            tags: Tags::parse(tags).map_err(StoreError::corrupt)?,
            password: columns.password.map(PasswordHash::from_phc),
            version: u32::try_from(columns.version).map_err(StoreError::corrupt)?,
        })
    }
}

fn visit_limit(value: i64) -> Result<NonZeroU32, StoreError> {
    u32::try_from(value).and_then(NonZeroU32::try_from).map_err(StoreError::corrupt)
}

fn redirect(code: i64) -> Result<RedirectStatus, StoreError> {
    let code = u16::try_from(code).map_err(StoreError::corrupt)?;
    code.try_into().map_err(StoreError::corrupt)
}
