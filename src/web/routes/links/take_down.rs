//! `POST /api/v1/links/take-down`: takes down all links that share a target host, a tag or a creator.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{parsed_option, private};
use crate::{
    shortener::{
        Shortener,
        take_down::{TakeDown, TakenDown},
    },
    store::listing::Filter,
    web::{
        extract::{
            body::Payload,
            token::{Action, MayWrite},
        },
        respond::{
            Json,
            error::{ApiError, ErrorResponses},
        },
    },
};

/// The links to take down. Set exactly one of `host`, `tag` and `by`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TakeDownFields {
    /// Host of the links' targets. With a leading dot, it includes all subdomains.
    #[serde(default)]
    #[schema(max_length = 1012, example = ".evil.example")]
    host: Option<String>,
    /// Tag of the links.
    #[serde(default)]
    #[schema(pattern = "^[^,]{1,64}$")]
    tag: Option<String>,
    /// Creator of the links: a token's name, `public` or `import`.
    #[serde(default)]
    #[schema(pattern = "^[!-~]{1,64}$")]
    by: Option<String>,
    /// Cursor: the value of `next` in the previous response.
    #[serde(default)]
    #[schema(pattern = "^-?[0-9]{1,18}\\.[A-Za-z0-9_-]{1,64}$")]
    cursor: Option<String>,
    /// Count the links without taking them down.
    #[serde(default)]
    dry_run: bool,
}

impl TakeDownFields {
    fn read(self) -> Result<TakeDown, ApiError> {
        let Self { host, tag, by, cursor, dry_run } = self;
        if [&host, &tag, &by].into_iter().flatten().count() != 1 {
            return Err(ApiError::InvalidOption("set exactly one of host, tag and by".into()));
        }
        let filter = Filter {
            host: parsed_option(host)?,
            tag: parsed_option(tag)?,
            created_by: parsed_option(by)?,
            ..Filter::default()
        };
        Ok(TakeDown { filter, after: parsed_option(cursor)?, is_dry_run: dry_run })
    }
}

/// The result of one take-down request.
#[derive(Serialize, ToSchema)]
struct TakeDownBody {
    /// Number of links that this request took down or, with `dry_run`, would have taken down. Links that were already
    /// taken down are not counted.
    done: usize,
    /// Cursor for the next request; null when no links are left.
    #[schema(required = true)]
    next: Option<String>,
}

/// Take down many links
///
/// One request takes down up to 500 links within a few seconds. Repeat the request with the value of `next` as its
/// `cursor`, until `next` is null. A failed request can be retried unchanged.
#[utoipa::path(
    post,
    path = "/api/v1/links/take-down",
    tag = "manage",
    request_body(content((TakeDownFields = "application/json"), (TakeDownFields = "application/x-www-form-urlencoded"))),
    security(("token" = ["write"])),
    responses((status = OK, body = TakeDownBody), ErrorResponses),
)]
pub(crate) async fn take_down_many(
    MayWrite(author): MayWrite,
    State(shortener): State<Arc<Shortener>>,
    Payload(fields): Payload<TakeDownFields>,
) -> Result<Response, ApiError> {
    let report = |key: &_| author.log(Action::TakenDown, key);
    let TakenDown { done, next } = shortener.take_down_many(fields.read()?, report).await?;
    Ok(private(Json(TakeDownBody { done, next: next.map(|cursor| cursor.to_string()) })))
}
