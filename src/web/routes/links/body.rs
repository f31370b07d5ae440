//! The API's representation of a link, and the patch that edits it.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema, Type, schema::SchemaType},
};

use crate::{
    base_url::BaseUrl,
    blocked_hosts::HostPattern,
    field_names::field_names,
    link::{Document, LinkState, Target, options::Options},
    password::Password,
    store::{Moment, Record},
    web::{
        extract::{body::from_fields, link_fields::LinkFields},
        respond::error::ApiError,
    },
};

/// A link and its counts.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkBody {
    #[schema(example = "q0V8fYz")]
    key: String,
    #[schema(format = Uri, example = "https://sho.rt/q0V8fYz")]
    short_url: String,
    #[schema(format = Uri, example = "https://example.com/a/long/path")]
    url: String,
    state: LinkState,
    /// Blocked host that matches the target.
    #[schema(value_type = Option<String>, required = true, example = ".evil.example")]
    blocked_host: Option<HostPattern>,
    #[schema(required = true)]
    title: Option<String>,
    tags: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Creator: a token's name, `public` or `import`.
    #[schema(example = "anna")]
    created_by: String,
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    starts_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<u32>, required = true)]
    max_visits: Option<NonZeroU32>,
    /// Visits counted towards `max_visits`.
    visits: u64,
    /// Visits by people.
    clicks: u64,
    redirect: u16,
    forward_query: bool,
    #[schema(format = Uri, required = true)]
    gone_url: Option<String>,
    has_password: bool,
    version: u32,
}

impl LinkBody {
    pub(crate) fn new(record: &Record, base_url: &BaseUrl, moment: &Moment) -> Self {
        let link = &*record.link;
        let options = &link.doc.options;
        Self {
            key: link.key.as_str().into(),
            short_url: base_url.short_url(&link.key),
            url: link.doc.target.as_str().into(),
            state: record.state(moment),
            blocked_host: moment.blocked.find(&link.doc.target),
            title: options.title.as_ref().map(|title| title.as_str().into()),
            tags: options.tags.iter().map(|tag| tag.as_str().into()).collect(),
            created_at: link.created_at,
            created_by: link.doc.created_by.as_str().into(),
            starts_at: options.starts_at,
            expires_at: options.expires_at,
            max_visits: options.max_visits,
            visits: record.visits,
            clicks: record.clicks,
            redirect: options.redirect.code(),
            forward_query: options.forward_query,
            gone_url: options.gone_url.as_ref().map(|url| url.as_str().into()),
            has_password: options.password.is_some(),
            version: link.version,
        }
    }
}

/// A JSON merge patch (RFC 7396) for a link.
///
/// It can't change the key.
#[derive(Deserialize)]
pub(crate) struct LinkPatch(Map<String, Value>);

impl LinkPatch {
    pub(crate) fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// Returns the new password, if the patch changes it.
    ///
    /// `None` keeps the current password, and `Some(None)` removes it.
    pub(crate) fn password(&self) -> Result<Option<Option<Password>>, ApiError> {
        match self.0.get("password") {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) => {
                text.parse().map(|password| Some(Some(password))).map_err(ApiError::option)
            }
            Some(_) => Err(ApiError::UnexpectedBody("password: takes a string".into())),
        }
    }

    /// Applies all changes to a link, except a change to its password.
    ///
    /// The result is validated in the same way as the fields of a new link.
    pub(crate) fn apply(&self, doc: &Document, now: Timestamp) -> Result<(Target, Options), ApiError> {
        let known = field_names::<LinkFields>();
        // The validation below would miss an unknown field with the value null.
        if let Some(name) = self.0.keys().find(|name| *name == "key" || !known.contains(&name.as_str())) {
            return Err(ApiError::UnexpectedBody(format!("unknown field `{name}`")));
        }
        let current = Options { password: None, ..Options::clone(&doc.options) };
        let mut fields =
            match serde_json::to_value(current).map_err(|error| ApiError::Internal(error.into()))? {
                Value::Object(fields) => fields,
                _ => Map::new(),
            };
        fields.insert("url".into(), doc.target.as_str().into());
        if self.0.get("expires_in").is_some_and(|time| !time.is_null()) {
            fields.remove("expires_at");
        }
        for (name, value) in self.0.iter().filter(|(name, _)| *name != "password") {
            match value {
                Value::Null => fields.remove(name),
                value => fields.insert(name.clone(), value.clone()),
            };
        }
        let new = from_fields::<LinkFields>(fields)?.read(now)?;
        Ok((new.target, new.options))
    }
}

impl ToSchema for LinkPatch {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        LinkFields::schemas(schemas);
    }
}

impl PartialSchema for LinkPatch {
    fn schema() -> RefOr<Schema> {
        let mut schema = LinkFields::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.description =
                Some("The fields to change. An omitted field keeps its value; `null` clears it.".into());
            object.properties.remove("key");
            object.required.clear();
            object
                .properties
                .iter_mut()
                .filter(|(name, _)| *name != "url")
                .for_each(|(_, field)| allow_null(field));
        }
        schema
    }
}

fn allow_null(field: &mut RefOr<Schema>) {
    let schema_type = match field {
        RefOr::T(Schema::Object(object)) => &mut object.schema_type,
        RefOr::T(Schema::Array(array)) => &mut array.schema_type,
        _ => return,
    };
    if let SchemaType::Type(only) = schema_type {
        *schema_type = SchemaType::from_iter([only.clone(), Type::Null]);
    }
}
