//! Taking down, restoring and deleting a link.

use askama::Template;
use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::{LinkView, etag_of, record};
use crate::{
    link::{Key, Link},
    web::{
        extract::{
            body::Payload,
            conditional::etag_text,
            link_key::LinkKey,
            service_url::ServiceUrl,
            token::{Action, Author},
        },
        respond::{
            error::ApiError,
            page::{page, page_of_error},
        },
        state::AppState,
        ui::{frame::Frame, see_other, session::Writer},
    },
};

#[derive(Template)]
#[template(path = "delete.html", config = "src/web/ui/askama.toml")]
struct DeletePage {
    title: String,
    frame: Frame,
    link: LinkView,
    etag: String,
    has_changed: bool,
}

/// The entity tag of the version that the user has seen.
#[derive(Deserialize)]
pub(crate) struct Seen {
    etag: String,
}

/// `POST /ui/links/{key}/take-down`: takes down a link.
pub(crate) async fn take_down(
    Writer(author): Writer,
    State(state): State<AppState>,
    frame: Frame,
    LinkKey { key }: LinkKey,
) -> Result<Response, ApiError> {
    set_taken_down(&state, &author, &frame, &key, true).await
}

/// `POST /ui/links/{key}/restore`: restores a link.
pub(crate) async fn restore(
    Writer(author): Writer,
    State(state): State<AppState>,
    frame: Frame,
    LinkKey { key }: LinkKey,
) -> Result<Response, ApiError> {
    set_taken_down(&state, &author, &frame, &key, false).await
}

/// Takes down or restores a link, without checking its version.
///
/// A take-down must succeed even if someone else has just edited the link.
async fn set_taken_down(
    state: &AppState,
    author: &Author,
    frame: &Frame,
    key: &Key,
    is_taken_down: bool,
) -> Result<Response, ApiError> {
    let changed = state.shortener.set_taken_down(key, is_taken_down, |_| Ok::<_, ApiError>(()));
    changed.await?;
    let (action, done) = match is_taken_down {
        true => (Action::TakenDown, "taken-down"),
        false => (Action::Restored, "restored"),
    };
    author.log(action, key);
    Ok(see_other(format!("{}ui/links/{key}?done={done}", frame.root)))
}

/// `GET /ui/links/{key}/delete`: asks for confirmation.
pub(crate) async fn confirm_delete(
    _: Writer,
    State(state): State<AppState>,
    frame: Frame,
    ServiceUrl(base_url): ServiceUrl,
    LinkKey { key }: LinkKey,
) -> Result<Response, ApiError> {
    let record = record(&state, &key).await?;
    let link = LinkView::new(&record, &base_url, &state.shortener.moment());
    let title = format!("Delete {key}?");
    let frame = frame.at("links");
    Ok(page(&DeletePage { title, frame, link, etag: etag_of(&record), has_changed: false }))
}

/// `POST /ui/links/{key}/delete`: deletes a link.
pub(crate) async fn delete(
    Writer(author): Writer,
    State(state): State<AppState>,
    frame: Frame,
    ServiceUrl(base_url): ServiceUrl,
    LinkKey { key }: LinkKey,
    Payload(Seen { etag }): Payload<Seen>,
) -> Result<Response, ApiError> {
    let is_seen = |link: &Link| if etag_text(link) == etag { Ok(()) } else { Err(ApiError::Changed) };
    match state.shortener.remove(&key, is_seen).await {
        Ok(()) => {
            author.log(Action::Deleted, &key);
            Ok(see_other(format!("{}ui/links?deleted={key}", frame.root)))
        }
        Err(ApiError::Changed) => {
            let record = record(&state, &key).await?;
            let link = LinkView::new(&record, &base_url, &state.shortener.moment());
            let (title, frame) = (format!("Delete {key}?"), frame.at("links"));
            let page = DeletePage { title, frame, link, etag: etag_of(&record), has_changed: true };
            Ok(page_of_error(ApiError::Changed, &page))
        }
        Err(error) => Err(error),
    }
}
