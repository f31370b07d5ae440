//! `POST /ui/links/{key}`: edits a link.

use axum::{extract::State, response::Response};

use super::{LinkQuery, etag_of, link_page, record};
use crate::{
    link::Link,
    shortener::ChangeError,
    store::Record,
    web::{
        extract::{
            body::Payload, conditional::etag_text, link_key::LinkKey, service_url::ServiceUrl, token::Action,
        },
        respond::{error::ApiError, page::page_of_error},
        routes::links::body::LinkPatch,
        state::AppState,
        ui::{
            fields::{FIELDS, Field, URL},
            form::{FormErrors, LinkForm, Message},
            frame::Frame,
            see_other,
            session::Writer,
        },
    },
};

/// The state of the edit form.
pub(super) struct EditForm<'a> {
    pub(super) form: &'a LinkForm,
    /// The entity tag of the version that the user has seen.
    pub(super) etag: String,
    pub(super) messages: &'a [Message],
    pub(super) conflict: Option<Conflict>,
}

/// A comparison of the current link with a rejected edit.
pub(crate) struct Conflict {
    pub(crate) rows: Vec<Difference>,
}

/// A field whose submitted value differs from its current value.
pub(crate) struct Difference {
    pub(crate) label: &'static str,
    pub(crate) current: String,
    pub(crate) submitted: String,
}

impl<'a> EditForm<'a> {
    pub(super) fn unchanged(form: &'a LinkForm, record: &Record) -> Self {
        Self { form, etag: etag_of(record), messages: &[], conflict: None }
    }
}

impl Conflict {
    fn between(current: &LinkForm, submitted: &LinkForm) -> Self {
        let row = |field: &Field| Difference {
            label: field.label,
            current: current.get(field.name).into(),
            submitted: submitted.get(field.name).into(),
        };
        // Leave out the password, because the page must never show it.
        let shown =
            [&URL].into_iter().chain(FIELDS).filter(|field| field.is_editable && field.name != "password");
        Self { rows: shown.map(row).filter(|row| row.current != row.submitted).collect() }
    }
}

/// Saves the form, unless the link has been changed in the meantime.
pub(crate) async fn save(
    Writer(author): Writer,
    State(state): State<AppState>,
    frame: Frame,
    ServiceUrl(base_url): ServiceUrl,
    LinkKey { key }: LinkKey,
    Payload(form): Payload<LinkForm>,
) -> Result<Response, ApiError> {
    let now = state.shortener.clock.now();
    let before = record(&state, &key).await?;
    let patch = form.patch(&LinkForm::of(&before.link.doc), now);
    let saved = match patch {
        Ok(patch) => edit(&state, &base_url, &before, &form, &patch).await,
        Err(errors) => Err(errors),
    };
    let FormErrors { messages, cause } = match saved {
        Ok(()) => {
            author.log(Action::Edited, &key);
            return Ok(see_other(format!("{}ui/links/{key}?done=saved", frame.root)));
        }
        Err(errors) => errors,
    };
    let current = record(&state, &key).await?;
    let is_conflict = matches!(cause, ApiError::Changed);
    let edit = EditForm {
        form: &form,
        // After a conflict, saving again overwrites the version that the page now shows as current.
        etag: if is_conflict { etag_of(&current) } else { form.get("etag").into() },
        messages: if is_conflict { &[] } else { &messages },
        conflict: is_conflict.then(|| Conflict::between(&LinkForm::of(&current.link.doc), &form)),
    };
    let page = link_page(&state, &base_url, frame, &current, LinkQuery::default(), edit).await?;
    Ok(page_of_error(cause, &page))
}

async fn edit(
    state: &AppState,
    base_url: &crate::base_url::BaseUrl,
    before: &Record,
    form: &LinkForm,
    patch: &LinkPatch,
) -> Result<(), FormErrors> {
    let now = state.shortener.clock.now();
    let is_seen = |link: &Link| etag_text(link) == form.get("etag");
    // The patch is relative to `before`, and isn't valid for any other version.
    let is_base = |link: &Link| link.revision() == before.link.revision();
    let revise = |link: &Link| match is_seen(link) && is_base(link) {
        true => patch.apply(&link.doc, now),
        false => Err(ApiError::Changed),
    };
    let password = patch.password().map_err(FormErrors::of)?;
    let edited = state.shortener.edit(&before.link.key, base_url, password, revise).await;
    edited.map(|_| ()).map_err(FormErrors::of)
}

impl From<ChangeError> for FormErrors {
    fn from(error: ChangeError) -> Self {
        Self::of(error.into())
    }
}
