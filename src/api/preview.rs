//! `GET /{key}+`: where a link leads, without going there.

use axum::{
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    error::ApiError,
    json::Json,
    page::{self, Escaped},
};
use crate::{
    base_url::BaseUrl,
    link::{Key, Link},
    shortener::Shortener,
};

/// Where a link leads.
#[derive(Serialize, ToSchema)]
pub(super) struct PreviewBody {
    key: String,
    #[schema(format = Uri)]
    short_url: String,
    /// Nothing where the link asks for a password.
    #[schema(format = Uri, required = true)]
    url: Option<String>,
    #[schema(required = true)]
    title: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    expires_at: Option<Timestamp>,
}

/// The preview of the link with this key; nobody is counted.
pub(super) async fn preview(
    shortener: &Shortener,
    own: &BaseUrl,
    key: &Key,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let link = shortener.look(key).await?;
    let body = PreviewBody::new(&link, own);
    if page::is_wanted(headers) {
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
            // Where it leads is what the password is about.
            url: link.password.is_none().then(|| link.target.to_string()),
            title: link.title.as_ref().map(|title| title.as_str().into()),
            created_at: link.created_at,
            expires_at: link.expires_at,
        }
    }
}

fn html(body: &PreviewBody) -> String {
    let title = body.title.as_ref().map_or_else(String::new, |title| format!("<p>{}</p>\n", Escaped(title)));
    let target = match &body.url {
        Some(url) => {
            let url = Escaped(url);
            format!("<p><a href=\"{url}\" rel=\"noreferrer\">{url}</a></p>\n")
        }
        None => "<p>It asks for a password first.</p>\n".into(),
    };
    let made = body.created_at.strftime("%Y-%m-%d");
    let ends = body
        .expires_at
        .map_or_else(String::new, |expiry| format!(", ends {}", expiry.strftime("%Y-%m-%d %H:%M UTC")));
    format!("{title}{target}<p><small>{}, made {made}{ends}</small></p>\n", Escaped(&body.short_url))
}
