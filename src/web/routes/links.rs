//! `/api/v1/links`: what those who manage links see and change. Every change is logged with the token's name.

pub(crate) mod batch;
pub(crate) mod body;
mod refusals;
pub(crate) mod stats;

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    base_url::BaseUrl,
    link::{Key, Link},
    links::{Links, Listing},
    shortener::{Shortened, Shortener},
    store::{Record, listing::Order},
    web::{
        extract::{
            body::{Payload, Query},
            client::OwnBase,
            conditional::{Condition, etag, is_known},
            link_fields::LinkFields,
            token::{Reader, Writer},
        },
        respond::{
            error::{ApiError, ErrorBody},
            json::Json,
        },
        routes::links::{
            body::{LinkBody, LinkPatch},
            refusals::{BodyRefusals, ChangeRefusals, ReadRefusals},
        },
    },
};

/// Links on a page where the client does not say.
const PAGE: u16 = 50;

/// The most links on a page.
const MAX_PAGE: u16 = 500;

/// What is to be listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Where to go on: `next` of the page before.
    #[serde(default)]
    #[param(pattern = "^-?[0-9]{1,18}\\.[A-Za-z0-9_-]{1,64}$")]
    cursor: Option<String>,
    /// How many links at most.
    #[serde(default)]
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u16>,
    /// Only links with this in their key, target or title.
    #[serde(default)]
    search: Option<String>,
    /// Only links with this tag.
    #[serde(default)]
    #[param(pattern = "^[^,]{1,64}$")]
    tag: Option<String>,
    /// In which order; `most_clicked` leaves out what was never clicked.
    #[serde(default)]
    #[param(inline, default = "newest")]
    sort: Sort,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sort {
    #[default]
    Newest,
    Oldest,
    MostClicked,
}

/// A page of links.
#[derive(Serialize, ToSchema)]
struct LinkPage {
    links: Vec<LinkBody>,
    /// The cursor of the next page; none at the end. A page may have fewer links than asked for and still have a next.
    #[schema(required = true)]
    next: Option<String>,
}

/// List links
#[utoipa::path(
    get,
    path = "/api/v1/links",
    tag = "manage",
    params(ListQuery),
    security(("token" = ["read"])),
    responses(
        (status = OK, body = LinkPage),
        (status = BAD_REQUEST, description = "`invalid_query`", body = ErrorBody),
        ReadRefusals,
    ),
)]
pub(crate) async fn index(
    _reader: Reader,
    State(links): State<Arc<Links>>,
    State(shortener): State<Arc<Shortener>>,
    OwnBase(own): OwnBase,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::InvalidQuery(format!("limit is 1 to {MAX_PAGE}")));
    }
    let listing = Listing {
        order: match query.sort {
            Sort::Newest => Order::Newest,
            Sort::Oldest => Order::Oldest,
            Sort::MostClicked => Order::MostClicked,
        },
        after: query.cursor.map(|text| text.parse()).transpose().map_err(ApiError::query)?,
        limit: limit.into(),
        search: query.search.filter(|text| !text.is_empty()),
        tag: query.tag.map(|text| text.parse()).transpose().map_err(ApiError::query)?,
    };
    let page = links.list(listing).await.map_err(ApiError::Store)?;
    let now = shortener.clock.now();
    let links = page.records.iter().map(|record| LinkBody::new(record, &own, now)).collect();
    Ok(private(Json(LinkPage { links, next: page.next.map(|cursor| cursor.to_string()) })))
}

/// Make a link
#[utoipa::path(
    post,
    path = "/api/v1/links",
    tag = "manage",
    request_body(content((LinkFields = "application/json"), (LinkFields = "application/x-www-form-urlencoded"))),
    security(("token" = ["write"])),
    responses(
        (status = CREATED, description = "The link stands and is durable", body = LinkBody),
        (status = OK, description = "The same link stood already (strategy `hash`)", body = LinkBody),
        (status = CONFLICT, description = "`key_taken`", body = ErrorBody),
        BodyRefusals,
    ),
)]
pub(crate) async fn create(
    Writer(token): Writer,
    State(shortener): State<Arc<Shortener>>,
    OwnBase(own): OwnBase,
    Payload(fields): Payload<LinkFields>,
) -> Result<Response, ApiError> {
    let now = shortener.clock.now();
    let shortened = shortener.shorten(fields.read(now)?, &own).await?;
    let status = match &shortened {
        Shortened::Created(link) => {
            log_change(&token, &link.key, "created");
            StatusCode::CREATED
        }
        Shortened::Existing(_) => StatusCode::OK,
    };
    let (Shortened::Created(link) | Shortened::Existing(link)) = shortened;
    let location = [(header::LOCATION, format!("/api/v1/links/{}", link.key))];
    let record = Record { link, clicks: 0, visits: 0 };
    Ok((status, location, show_record(&record, &own, &shortener)).into_response())
}

/// Show a link
#[utoipa::path(
    get,
    path = "/api/v1/links/{key}",
    tag = "manage",
    params(("key" = String, Path, description = "The key of the link"), ("If-None-Match" = Option<String>, Header)),
    security(("token" = ["read"])),
    responses(
        (status = OK, body = LinkBody, headers(("ETag" = String, description = "For If-Match"))),
        (status = NOT_MODIFIED, description = "It is as the client knows it"),
        (status = NOT_FOUND, description = "`not_found`", body = ErrorBody),
        ReadRefusals,
    ),
)]
pub(crate) async fn show(
    _reader: Reader,
    State(shortener): State<Arc<Shortener>>,
    OwnBase(own): OwnBase,
    headers: HeaderMap,
    KeyPath(key): KeyPath,
) -> Result<Response, ApiError> {
    let record = shortener.links.get(&key).await.map_err(ApiError::Store)?.ok_or(ApiError::NotFound)?;
    if is_known(&headers, &record.link) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(&record.link))]).into_response());
    }
    Ok(show_record(&record, &own, &shortener))
}

/// Edit a link
///
/// What is left out stays; `null` takes away (RFC 7396). A target that was taken over by others is
/// protected by `If-Match`.
#[utoipa::path(
    patch,
    path = "/api/v1/links/{key}",
    tag = "manage",
    params(
        ("key" = String, Path, description = "The key of the link"),
        ("If-Match" = Option<String>, Header, description = "Only where the link is still so"),
    ),
    request_body(content((LinkPatch = "application/json"), (LinkPatch = "application/merge-patch+json"))),
    security(("token" = ["write"])),
    responses(
        (status = OK, body = LinkBody, headers(("ETag" = String, description = "For If-Match"))),
        BodyRefusals,
        ChangeRefusals,
    ),
)]
pub(crate) async fn edit(
    Writer(token): Writer,
    State(shortener): State<Arc<Shortener>>,
    OwnBase(own): OwnBase,
    headers: HeaderMap,
    KeyPath(key): KeyPath,
    Payload(patch): Payload<LinkPatch>,
) -> Result<Response, ApiError> {
    let condition = Condition::from_headers(&headers);
    let now = shortener.clock.now();
    let revise = |link: &Link| condition.check(link).and_then(|()| patch.apply(&link.doc, now));
    let record = shortener.edit(&key, &own, patch.password()?, revise).await?;
    log_change(&token, &key, "edited");
    Ok(show_record(&record, &own, &shortener))
}

/// Remove a link
///
/// All that was counted about it goes with it. To only stop it, take it down.
#[utoipa::path(
    delete,
    path = "/api/v1/links/{key}",
    tag = "manage",
    params(
        ("key" = String, Path, description = "The key of the link"),
        ("If-Match" = Option<String>, Header, description = "Only where the link is still so"),
    ),
    security(("token" = ["write"])),
    responses(
        (status = NO_CONTENT, description = "It has gone"),
        ChangeRefusals,
    ),
)]
pub(crate) async fn remove(
    Writer(token): Writer,
    State(shortener): State<Arc<Shortener>>,
    headers: HeaderMap,
    KeyPath(key): KeyPath,
) -> Result<StatusCode, ApiError> {
    let condition = Condition::from_headers(&headers);
    shortener.remove(&key, |link| condition.check(link)).await?;
    log_change(&token, &key, "removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Take a link down
///
/// From then on it answers 410, until it is restored.
#[utoipa::path(
    post,
    path = "/api/v1/links/{key}/take-down",
    tag = "manage",
    params(
        ("key" = String, Path, description = "The key of the link"),
        ("If-Match" = Option<String>, Header, description = "Only where the link is still so"),
    ),
    security(("token" = ["write"])),
    responses(
        (status = OK, body = LinkBody),
        ChangeRefusals,
    ),
)]
pub(crate) async fn take_down(
    Writer(token): Writer,
    State(shortener): State<Arc<Shortener>>,
    OwnBase(own): OwnBase,
    headers: HeaderMap,
    KeyPath(key): KeyPath,
) -> Result<Response, ApiError> {
    set_taken_down(&shortener, &token, &key, true, &own, &headers).await
}

/// Restore a link that was taken down
#[utoipa::path(
    post,
    path = "/api/v1/links/{key}/restore",
    tag = "manage",
    params(
        ("key" = String, Path, description = "The key of the link"),
        ("If-Match" = Option<String>, Header, description = "Only where the link is still so"),
    ),
    security(("token" = ["write"])),
    responses(
        (status = OK, body = LinkBody),
        ChangeRefusals,
    ),
)]
pub(crate) async fn restore(
    Writer(token): Writer,
    State(shortener): State<Arc<Shortener>>,
    OwnBase(own): OwnBase,
    headers: HeaderMap,
    KeyPath(key): KeyPath,
) -> Result<Response, ApiError> {
    set_taken_down(&shortener, &token, &key, false, &own, &headers).await
}

async fn set_taken_down(
    shortener: &Shortener,
    token: &str,
    key: &Key,
    is_taken_down: bool,
    own: &BaseUrl,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let condition = Condition::from_headers(headers);
    let record = shortener.set_taken_down(key, is_taken_down, |link| condition.check(link)).await?;
    log_change(token, key, if is_taken_down { "taken down" } else { "restored" });
    Ok(show_record(&record, own, shortener))
}

/// Who did what to which link; where it leads is nobody's business here.
fn log_change(token: &str, key: &Key, what: &'static str) {
    tracing::info!(token, %key, what, "link changed");
}

fn show_record(record: &Record, own: &BaseUrl, shortener: &Shortener) -> Response {
    let body = Json(LinkBody::new(record, own, shortener.clock.now()));
    ([(header::ETAG, etag(&record.link))], private(body)).into_response()
}

/// An answer that nobody in between may keep.
fn private(body: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "private, no-cache")], body).into_response()
}

/// The key in the path. Anything else is the key of no link.
pub(crate) struct KeyPath(pub(crate) Key);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for KeyPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, ApiError> {
        let path: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let key = match (&path, parts.extensions.get::<MatchedPath>()) {
            (Ok(Path(key)), _) => key,
            // A route without a parameter ends with its key, see `batch::with_the_link_of_that_name`.
            (Err(_), Some(route)) if !route.as_str().contains('{') => {
                route.as_str().rsplit('/').next().unwrap_or_default()
            }
            (Err(_), _) => return Err(ApiError::NotFound),
        };
        key.parse().map(Self).map_err(|_| ApiError::NotFound)
    }
}
