//! `/api/v1/links/{key}`: edits, deletes, takes down and restores a link.
//!
//! Every change is logged with the name of the token.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
    response::Response,
};
use utoipa::IntoResponses;

use super::{LinkErrors, body::LinkPatch, show_record};
use crate::{
    base_url::BaseUrl,
    link::{Key, Link},
    shortener::Shortener,
    web::{
        extract::{
            body::Payload,
            conditional::IfMatch,
            link_key::LinkKey,
            service_url::ServiceUrl,
            token::{Action, Author, MayWrite},
        },
        respond::error::{ApiError, ErrorBody, ErrorResponses},
        routes::links::body::LinkBody,
        state::AppState,
    },
};

/// An authorized change to a link, and its condition.
pub(crate) struct LinkToChange {
    author: Author,
    key: Key,
    if_match: IfMatch,
    base_url: BaseUrl,
    shortener: Arc<Shortener>,
}

impl FromRequestParts<AppState> for LinkToChange {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let MayWrite(author) = MayWrite::from_request_parts(parts, state).await?;
        let ServiceUrl(base_url) = ServiceUrl::from_request_parts(parts, state).await?;
        let LinkKey { key } = LinkKey::from_request_parts(parts, state).await?;
        let if_match = IfMatch::from_headers(&parts.headers);
        Ok(Self { author, key, if_match, base_url, shortener: state.shortener.clone() })
    }
}

/// The error after a failed `If-Match`, for the OpenAPI document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document is generated from the declaration")]
#[response(status = PRECONDITION_FAILED, description = "`precondition_failed`")]
pub(crate) struct PreconditionFailed(ErrorBody);

/// Edit a link
///
/// The body is a JSON merge patch (RFC 7396): an omitted field keeps its value, and `null` removes the value.
/// `If-Match` keeps the request from overwriting a concurrent change.
#[utoipa::path(
    patch,
    path = "/api/v1/links/{key}",
    tag = "manage",
    params(LinkKey, IfMatch),
    request_body(content((LinkPatch = "application/json"), (LinkPatch = "application/merge-patch+json"))),
    security(("token" = ["write"])),
    responses(
        (status = OK, body = LinkBody, headers(("ETag" = String, description = "For If-Match"))),
        LinkErrors,
        PreconditionFailed,
        ErrorResponses,
    ),
)]
pub(crate) async fn edit(
    link: LinkToChange,
    Payload(patch): Payload<LinkPatch>,
) -> Result<Response, ApiError> {
    let LinkToChange { author, key, if_match, base_url, shortener } = link;
    let now = shortener.clock.now();
    let revise = |link: &Link| if_match.check(link).and_then(|()| patch.apply(&link.doc, now));
    let record = shortener.edit(&key, &base_url, patch.password()?, revise).await?;
    author.log(Action::Edited, &key);
    Ok(show_record(&record, &base_url, &shortener))
}

/// Delete a link
///
/// The link's counts are deleted as well. To stop a link but keep its counts, take the link down instead.
#[utoipa::path(
    delete,
    path = "/api/v1/links/{key}",
    tag = "manage",
    params(LinkKey, IfMatch),
    security(("token" = ["write"])),
    responses(
        (status = NO_CONTENT, description = "The link is deleted"),
        LinkErrors,
        PreconditionFailed,
        ErrorResponses,
    ),
)]
pub(crate) async fn remove(link: LinkToChange) -> Result<StatusCode, ApiError> {
    let LinkToChange { author, key, if_match, shortener, .. } = link;
    shortener.remove(&key, |link| if_match.check(link)).await?;
    author.log(Action::Deleted, &key);
    Ok(StatusCode::NO_CONTENT)
}

/// Take a link down
///
/// The link returns 410 until it is restored.
#[utoipa::path(
    post,
    path = "/api/v1/links/{key}/take-down",
    tag = "manage",
    params(LinkKey, IfMatch),
    security(("token" = ["write"])),
    responses((status = OK, body = LinkBody), LinkErrors, PreconditionFailed, ErrorResponses),
)]
pub(crate) async fn take_down(link: LinkToChange) -> Result<Response, ApiError> {
    link.set_taken_down(true).await
}

/// Restore a link that was taken down
#[utoipa::path(
    post,
    path = "/api/v1/links/{key}/restore",
    tag = "manage",
    params(LinkKey, IfMatch),
    security(("token" = ["write"])),
    responses((status = OK, body = LinkBody), LinkErrors, PreconditionFailed, ErrorResponses),
)]
pub(crate) async fn restore(link: LinkToChange) -> Result<Response, ApiError> {
    link.set_taken_down(false).await
}

impl LinkToChange {
    async fn set_taken_down(self, is_taken_down: bool) -> Result<Response, ApiError> {
        let Self { author, key, if_match, base_url, shortener } = self;
        let record = shortener.set_taken_down(&key, is_taken_down, |link| if_match.check(link)).await?;
        author.log(if is_taken_down { Action::TakenDown } else { Action::Restored }, &key);
        Ok(show_record(&record, &base_url, &shortener))
    }
}
