//! The link form, and its conversion to and from the API fields.

use std::{collections::BTreeMap, fmt::Display};

use askama::Template;
use jiff::{Timestamp, civil::DateTime, tz::Offset};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::fields::{FIELDS, Field, Input, URL};
use crate::{
    link::Document,
    shortener::NewLink,
    web::{
        extract::{body::from_fields, link_fields::LinkFields},
        respond::error::ApiError,
        routes::links::body::LinkPatch,
    },
};

/// A valid target, used to check other fields separately.
const PLACEHOLDER_URL: &str = "https://example.com/";

/// The text of each field, as the user entered it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct LinkForm(BTreeMap<String, String>);

/// The messages about all invalid fields, and the first error.
pub(crate) struct FormErrors {
    pub(crate) messages: Vec<Message>,
    pub(crate) cause: ApiError,
}

/// An error message about a field, or about the whole form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The name of the field, or an empty string for the whole form.
    pub(crate) field: &'static str,
    pub(crate) label: &'static str,
    pub(crate) text: String,
}

impl LinkForm {
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |text| text.trim())
    }

    pub(crate) fn set(&mut self, name: &str, text: impl Into<String>) {
        self.0.insert(name.into(), text.into());
    }

    /// Returns whether any field except the target is filled in.
    pub(crate) fn has_options(&self) -> bool {
        FIELDS.iter().any(|field| self.value(field).is_some())
    }

    /// Returns the form filled in with the values of a link.
    pub(crate) fn of(doc: &Document) -> Self {
        let options = &doc.options;
        let mut form = Self::default();
        form.set("url", doc.target.as_str());
        form.set("title", options.title.as_ref().map_or("", |title| title.as_str()));
        form.set("tags", options.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>().join(", "));
        form.set("starts_at", options.starts_at.map(local).unwrap_or_default());
        form.set("expires_at", options.expires_at.map(local).unwrap_or_default());
        form.set("max_visits", options.max_visits.map(|max| max.to_string()).unwrap_or_default());
        form.set("redirect", options.redirect.code().to_string());
        form.set("gone_url", options.gone_url.as_ref().map_or("", |url| url.as_str()));
        form.set("forward_query", if options.forward_query { "true" } else { "" });
        form
    }

    /// Validates the form for a new link.
    pub(crate) fn read(&self, now: Timestamp) -> Result<NewLink, FormErrors> {
        self.check(now, [&URL].into_iter().chain(FIELDS))?;
        from_fields(self.values()).and_then(|fields: LinkFields| fields.read(now)).map_err(FormErrors::of)
    }

    /// Returns the changes from `shown` to this form, after validating them.
    ///
    /// Unchanged fields keep their values, including details that the form can't show, such as fractions of a second.
    pub(crate) fn patch(&self, shown: &Self, now: Timestamp) -> Result<LinkPatch, FormErrors> {
        let is_changed = |field: &&Field| field.is_editable && self.get(field.name) != shown.get(field.name);
        let changed: Vec<_> = [&URL].into_iter().chain(FIELDS).filter(is_changed).collect();
        self.check(now, changed.iter().copied())?;
        let mut patch = Map::new();
        for field in changed {
            patch.insert(field.name.into(), self.value(field).unwrap_or(Value::Null));
        }
        if self.get("remove_password") == "true" {
            patch.insert("password".into(), Value::Null);
        }
        Ok(LinkPatch::new(patch))
    }

    /// Checks each field separately, so that all errors are reported together.
    fn check<'a>(&self, now: Timestamp, fields: impl Iterator<Item = &'a Field>) -> Result<(), FormErrors> {
        let mut errors: Option<FormErrors> = None;
        for field in fields {
            let mut values = Map::from_iter([("url".into(), PLACEHOLDER_URL.into())]);
            match self.value(field) {
                Some(value) => values.insert(field.name.into(), value),
                None if field.name == "url" => values.remove("url"),
                None => continue,
            };
            if let Err(cause) = from_fields(values).and_then(|fields: LinkFields| fields.read(now)) {
                let message = Message { field: field.name, label: field.label, text: field.message(&cause) };
                errors.get_or_insert(FormErrors { messages: Vec::new(), cause }).messages.push(message);
            }
        }
        errors.map_or(Ok(()), Err)
    }

    fn values(&self) -> Map<String, Value> {
        let value = |field: &Field| Some((field.name.to_owned(), self.value(field)?));
        [&URL].into_iter().chain(FIELDS).filter_map(value).collect()
    }

    /// Returns the API value of a field, unless the field is empty.
    fn value(&self, field: &Field) -> Option<Value> {
        // A password may start or end with a space, so it isn't trimmed.
        let text = match field.input {
            Input::Password => self.0.get(field.name).map_or("", |text| text),
            _ => self.get(field.name),
        };
        if text.is_empty() {
            return None;
        }
        Some(match field.input {
            Input::Number | Input::Status(_) => {
                text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from)
            }
            Input::Time => match text.parse::<DateTime>() {
                Ok(time) => {
                    Offset::UTC.to_timestamp(time).map_or_else(|_| text.into(), |t| t.to_string().into())
                }
                Err(_) => text.into(),
            },
            Input::Flag => Value::Bool(true),
            Input::Url => with_scheme(text).into(),
            Input::Text | Input::Password | Input::Choice(_) => text.into(),
        })
    }

    /// Returns the inputs for a new link, except the target.
    pub(crate) fn inputs_for_new<'a>(
        &'a self,
        messages: &'a [Message],
        has_token: bool,
    ) -> Vec<FieldInput<'a>> {
        let fields = FIELDS.iter().filter(|field| field.is_for_new && (has_token || !field.needs_token));
        fields.map(|field| self.input(field, messages)).collect()
    }

    /// Returns the inputs for an existing link, with the target first.
    pub(crate) fn inputs_for_edit<'a>(&'a self, messages: &'a [Message]) -> Vec<FieldInput<'a>> {
        let fields = [&URL].into_iter().chain(FIELDS);
        fields.filter(|field| field.is_editable).map(|field| self.input(field, messages)).collect()
    }

    fn input<'a>(&'a self, field: &'a Field, messages: &'a [Message]) -> FieldInput<'a> {
        let error = messages.iter().find(|message| message.field == field.name);
        // Never send a password back to the browser.
        let value = if matches!(field.input, Input::Password) { "" } else { self.get(field.name) };
        FieldInput { field, value, error: error.map(|message| message.text.as_str()) }
    }
}

impl FormErrors {
    /// Assigns an API error to a field, or to the whole form.
    pub(crate) fn of(cause: ApiError) -> Self {
        let name = match &cause {
            ApiError::InvalidUrl(_) | ApiError::RefusedUrl(_) => "url",
            ApiError::RefusedGoneUrl(_) => "gone_url",
            ApiError::InvalidKey(_) | ApiError::KeyTaken | ApiError::ReservedKey => "key",
            _ => "",
        };
        let field = [&URL].into_iter().chain(FIELDS).find(|field| field.name == name);
        let message = match field {
            Some(field) => Message { field: field.name, label: field.label, text: field.message(&cause) },
            None => Message { field: "", label: "", text: sentence(&cause) },
        };
        Self { messages: vec![message], cause }
    }
}

/// A field as shown on a page, with its text and error.
#[derive(Template)]
#[template(path = "field.html", config = "src/web/ui/askama.toml")]
pub(crate) struct FieldInput<'a> {
    field: &'a Field,
    value: &'a str,
    error: Option<&'a str>,
}

impl FieldInput<'_> {
    /// Returns the ids of the hint and the error, for `aria-describedby`.
    fn described_by(&self) -> String {
        let hint = (!self.field.hint.is_empty()).then(|| format!("{}-hint", self.field.name));
        let error = self.error.map(|_| format!("{}-error", self.field.name));
        error.into_iter().chain(hint).collect::<Vec<_>>().join(" ")
    }

    /// Returns whether the timestamp has seconds. If so, the input needs `step="1"`.
    fn has_seconds(&self) -> bool {
        self.value.len() > "2026-01-02T03:04".len()
    }
}

/// Adds `https://` to an address without a scheme, such as `example.com/page`.
///
/// Any other text is returned unchanged, so that the validation can refuse it.
fn with_scheme(text: &str) -> String {
    let host = text.split(['/', '?', '#']).next().unwrap_or_default();
    let is_address = host.contains('.') && !host.contains([':', '@', ' ']);
    if is_address { format!("https://{text}") } else { text.into() }
}

/// Formats a timestamp for a `datetime-local` input.
fn local(time: Timestamp) -> String {
    let time = Offset::UTC.to_datetime(time);
    let format = if time.second() == 0 { "%Y-%m-%dT%H:%M" } else { "%Y-%m-%dT%H:%M:%S" };
    time.strftime(format).to_string()
}

/// Formats an error as a sentence.
pub(crate) fn sentence(error: impl Display) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> LinkForm {
        LinkForm(fields.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect())
    }

    fn now() -> Timestamp {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_filled_form_becomes_a_link() {
        let form = form(&[
            ("url", " example.com/a?b=c "),
            ("key", "spring"),
            ("expires_in", ""),
            ("expires_at", "2026-07-01T10:30"),
            ("starts_at", "2026-06-02T00:00:05"),
            ("max_visits", "5"),
            ("password", " secret"),
            ("title", "Spring"),
            ("tags", "a, b"),
            ("redirect", "308"),
            ("forward_query", "true"),
        ]);
        let Ok(new) = form.read(now()) else { panic!() };
        assert_eq!(new.target.as_str(), "https://example.com/a?b=c");
        assert_eq!(new.key.unwrap().as_str(), "spring");
        assert_eq!(new.options.expires_at.unwrap().to_string(), "2026-07-01T10:30:00Z");
        assert_eq!(new.options.starts_at.unwrap().to_string(), "2026-06-02T00:00:05Z");
        assert_eq!(new.options.max_visits.unwrap().get(), 5);
        assert_eq!(new.options.redirect.code(), 308);
        assert!(new.options.forward_query && new.password.is_some());
        assert_eq!(new.options.tags.iter().count(), 2);
    }

    #[test]
    fn all_wrong_fields_are_reported_together_in_plain_words() {
        let form = form(&[("url", ""), ("key", "a b"), ("max_visits", "0"), ("starts_at", "soon")]);
        let Err(errors) = form.read(now()) else { panic!() };
        let mut named: Vec<_> = errors.messages.iter().map(|message| message.field).collect();
        named.sort_unstable();
        assert_eq!(named, ["key", "max_visits", "starts_at", "url"]);
        for message in errors.messages {
            assert!(message.text.ends_with('.') && !message.text.contains('`'), "{}", message.text);
        }
    }

    #[test]
    fn conflicting_fields_are_an_error_of_the_form() {
        let form =
            form(&[("url", "https://a.example"), ("expires_in", "1d"), ("expires_at", "2026-07-01T10:30")]);
        let Err(errors) = form.read(now()) else { panic!() };
        assert_eq!(errors.messages[0].field, "");
    }

    #[test]
    fn the_patch_has_only_changed_fields() {
        let mut doc = Document::new("https://a.example/".parse().unwrap());
        doc.options.expires_at = Some("2026-07-01T10:30:00.123Z".parse().unwrap());
        doc.options.title = Some("old".parse().unwrap());
        let shown = LinkForm::of(&doc);
        let Ok(patch) = shown.patch(&shown, now()) else { panic!() };
        assert_eq!(patch.apply(&doc, now()).unwrap().1, *doc.options, "the fraction of a second stays");
        let mut edited = shown.clone();
        edited.set("title", "");
        edited.set("max_visits", "3");
        let Ok(patch) = edited.patch(&shown, now()) else { panic!() };
        let (_, options) = patch.apply(&doc, now()).unwrap();
        assert_eq!((options.title, options.max_visits.map(|max| max.get())), (None, Some(3)));
        assert_eq!(options.expires_at, doc.options.expires_at);
    }

    #[test]
    fn a_scheme_is_added_only_to_an_address_without_one() {
        for (text, expected) in [
            ("example.com", "https://example.com"),
            ("www.example.com/a:b", "https://www.example.com/a:b"),
            ("ftp://example.com", "ftp://example.com"),
            ("javascript:alert(1.0)", "javascript:alert(1.0)"),
            ("mailto:a@example.com", "mailto:a@example.com"),
            ("not a url.", "not a url."),
            ("localhost", "localhost"),
        ] {
            assert_eq!(with_scheme(text), expected);
        }
    }
}
