//! `GET /{key}+`: shows a link's target without following the link.

use askama::Template;
use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    base_url::BaseUrl,
    link::Key,
    shortener::{FollowError, Follower, Shortener},
    web::{
        respond::{Json, error::ApiError, page},
        ui::frame::Frame,
    },
};

/// The public part of a link, without its title and tags.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewBody {
    key: String,
    #[schema(format = Uri)]
    short_url: String,
    #[schema(format = Uri)]
    url: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    expires_at: Option<Timestamp>,
}

#[derive(Template)]
#[template(path = "preview.html", config = "src/web/ui/askama.toml")]
struct PreviewPage {
    title: &'static str,
    frame: Frame,
    link: PreviewBody,
}

#[derive(Template)]
#[template(path = "locked_preview.html", config = "src/web/ui/askama.toml")]
struct LockedPage {
    title: &'static str,
    frame: Frame,
    short_url: String,
}

/// Shows a link, or returns the error that following it would return.
///
/// No visit is counted.
pub(crate) async fn preview(
    shortener: &Shortener,
    base_url: &BaseUrl,
    key: &Key,
    follower: &Follower,
    headers: &HeaderMap,
    frame: Frame,
) -> Result<Response, ApiError> {
    let wants_page = page::is_wanted(headers);
    let link = match shortener.preview(key, follower).await {
        Ok(link) => link,
        // The usual password form posts to the URL of its page, but the URL of a preview doesn't accept passwords.
        Err(FollowError::PasswordNeeded) if wants_page => {
            let locked = LockedPage { title: "Password required", frame, short_url: base_url.short_url(key) };
            return Ok((StatusCode::FORBIDDEN, page::page(&locked)).into_response());
        }
        Err(error) => return Err(error.into()),
    };
    let body = PreviewBody {
        key: link.key.to_string(),
        short_url: base_url.short_url(&link.key),
        url: link.doc.target.to_string(),
        created_at: link.created_at,
        expires_at: link.doc.options.expires_at,
    };
    if wants_page {
        return Ok(page::page(&PreviewPage { title: "Where this link leads", frame, link: body }));
    }
    Ok(([(header::CACHE_CONTROL, "no-store"), (header::VARY, "Accept")], Json(body)).into_response())
}
