//! `GET /{key}+`: where a link leads, without going there.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    base_url::BaseUrl,
    link::{Key, Link},
    shortener::{FollowError, Follower, Shortener},
    web::respond::{
        error::ApiError,
        json::Json,
        page::{self, Escaped},
    },
};

/// Where a link leads. Its title and tags are for those who manage it.
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

/// Answers with the preview of the link with this key, or as the link itself would. Nobody is counted.
pub(crate) async fn preview(
    shortener: &Shortener,
    own: &BaseUrl,
    key: &Key,
    follower: &Follower,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let wants_page = page::is_wanted(headers);
    let link = match shortener.preview(key, follower).await {
        Ok(link) => link,
        // The form of other pages is sent to their own address, but a preview takes no password.
        Err(FollowError::PasswordNeeded) if wants_page => {
            let url = own.short_url(key);
            let url = Escaped(&url);
            let content =
                format!("<p>This short link asks for a password: <a href=\"{url}\">{url}</a></p>\n");
            return Ok((StatusCode::FORBIDDEN, page::page("Password needed", content)).into_response());
        }
        Err(error) => return Err(error.into()),
    };
    let body = PreviewBody::new(&link, own);
    if wants_page {
        return Ok(page::page("Where this link leads", html(&body)));
    }
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::VARY, "Accept")];
    Ok((headers, Json(body)).into_response())
}

impl PreviewBody {
    fn new(link: &Link, own: &BaseUrl) -> Self {
        Self {
            key: link.key.to_string(),
            short_url: own.short_url(&link.key),
            url: link.doc.target.to_string(),
            created_at: link.created_at,
            expires_at: link.doc.options.expires_at,
        }
    }
}

fn html(body: &PreviewBody) -> String {
    let url = Escaped(&body.url);
    let made = body.created_at.strftime("%Y-%m-%d");
    let ends = body
        .expires_at
        .map_or_else(String::new, |expiry| format!(", ends {}", expiry.strftime("%Y-%m-%d %H:%M UTC")));
    format!(
        "<p><a href=\"{url}\" rel=\"noreferrer\">{url}</a></p>\n<p><small>{}, made {made}{ends}</small></p>\n",
        Escaped(&body.short_url)
    )
}
