//! `/api/v1/links`: the API for managing links.

pub(crate) mod batch;
pub(crate) mod body;
pub(crate) mod change;
pub(crate) mod stats;
pub(crate) mod take_down;

use std::{fmt::Display, str::FromStr, sync::Arc};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, IntoResponses, ToSchema};
use utoipa_axum::router::UtoipaMethodRouter;

use self::body::LinkBody;
use crate::{
    base_url::BaseUrl,
    link::LinkState,
    links::Links,
    shortener::{Shortened, Shortener},
    store::{
        Moment, Record,
        listing::{Filter, Listing, Order},
    },
    web::{
        extract::{
            body::{Payload, Query},
            conditional::{IfNoneMatch, etag},
            link_fields::LinkFields,
            link_key::LinkKey,
            service_url::ServiceUrl,
            token::{Action, MayCreate, MayRead},
        },
        respond::{
            Json,
            error::{ApiError, ErrorBody, ErrorResponses},
        },
        state::AppState,
    },
};

/// The default number of links on a page.
const DEFAULT_LIMIT: u16 = 50;

/// The maximum number of links on a page.
const MAX_LIMIT: u16 = 500;

/// The errors that clients must distinguish, for the OpenAPI document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document is generated from the declaration")]
pub(crate) enum LinkErrors {
    /// `unauthorized`
    #[response(status = UNAUTHORIZED)]
    Unauthorized(ErrorBody),
    /// `not_found`: no link has this key
    #[response(status = NOT_FOUND)]
    NotFound(ErrorBody),
}

/// The order, filters and position of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Cursor: the value of `next` on the previous page.
    #[serde(default)]
    #[param(pattern = "^-?[0-9]{1,18}\\.[A-Za-z0-9_-]{1,64}$")]
    cursor: Option<String>,
    /// Maximum number of links on the page.
    #[serde(default)]
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<u16>,
    /// Only links whose key, target or title contains this text, ignoring case.
    #[serde(default)]
    #[param(max_length = 200)]
    search: Option<String>,
    /// Only links with this tag.
    #[serde(default)]
    #[param(pattern = "^[^,]{1,64}$")]
    tag: Option<String>,
    /// Only links by this creator: a token's name, `public` or `import`.
    #[serde(default)]
    #[param(pattern = "^[!-~]{1,64}$")]
    by: Option<String>,
    /// Only links that are in this state now.
    #[serde(default)]
    #[param(inline)]
    state: Option<LinkState>,
    /// Only links whose target has this host. With a leading dot, it includes all subdomains.
    #[serde(default)]
    #[param(max_length = 1012, example = ".example.com")]
    host: Option<String>,
    /// Only links with exactly this target, after normalisation.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uri)]
    url: Option<String>,
    /// Order. `most_clicked` leaves out links without clicks.
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

impl ListQuery {
    /// Validates the query, and converts it to a listing.
    pub(crate) fn listing(self, moment: &Moment) -> Result<Listing, ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ApiError::InvalidQuery(format!("limit must be 1 to {MAX_LIMIT}")));
        }
        let filter = Filter {
            search: parsed(self.search.filter(|text| !text.is_empty()))?,
            tag: parsed(self.tag)?,
            created_by: parsed(self.by)?,
            state: self.state.map(|state| (state, moment.clone())),
            host: parsed(self.host)?,
            target: parsed(self.url)?,
        };
        let order = match self.sort {
            Sort::Newest => Order::Newest,
            Sort::Oldest => Order::Oldest,
            Sort::MostClicked => Order::MostClicked,
        };
        let after = parsed(self.cursor)?;
        Ok(Listing { order, after, limit: limit.into(), filter, ..Listing::default() })
    }
}

/// A page of links.
#[derive(Serialize, ToSchema)]
struct LinkPage {
    links: Vec<LinkBody>,
    /// Cursor for the next page; null on the last page. A search stops after 400 ms. A page can therefore have fewer
    /// links than its limit, or even none, although it is not the last page.
    #[schema(required = true)]
    next: Option<String>,
    /// Number of links searched for this page before the time limit was reached; null if the page is complete.
    #[schema(required = true)]
    searched: Option<u64>,
}

/// List links
#[utoipa::path(
    get,
    path = "/api/v1/links",
    tag = "manage",
    params(ListQuery),
    security(("token" = ["read"])),
    responses((status = OK, body = LinkPage), ErrorResponses),
)]
pub(crate) async fn index(
    _: MayRead,
    State(links): State<Arc<Links>>,
    State(shortener): State<Arc<Shortener>>,
    ServiceUrl(base_url): ServiceUrl,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let moment = shortener.moment();
    let listing = query.listing(&moment)?;
    let page = links.list(&listing).await?;
    let links = page.records.iter().map(|record| LinkBody::new(record, &base_url, &moment)).collect();
    let next = page.next.map(|cursor| cursor.to_string());
    Ok(private(Json(LinkPage { links, next, searched: page.searched })))
}

/// Parses an optional query parameter.
fn parsed<T: FromStr<Err: Display>>(text: Option<String>) -> Result<Option<T>, ApiError> {
    text.map(|text| text.parse()).transpose().map_err(ApiError::query)
}

/// Parses an optional field of a request body.
fn parsed_option<T: FromStr<Err: Display>>(text: Option<String>) -> Result<Option<T>, ApiError> {
    text.map(|text| text.parse()).transpose().map_err(ApiError::option)
}

/// Create a link
#[utoipa::path(
    post,
    path = "/api/v1/links",
    tag = "manage",
    request_body(content((LinkFields = "application/json"), (LinkFields = "application/x-www-form-urlencoded"))),
    security(("token" = ["write"])),
    responses(
        (status = CREATED, description = "The link is created and durable", body = LinkBody),
        (status = OK, description = "The same link already exists (strategy `hash`)", body = LinkBody),
        (status = CONFLICT, description = "`key_taken` or `key_reserved`", body = ErrorBody),
        (status = TOO_MANY_REQUESTS, description = "`rate_limited`", body = ErrorBody),
        ErrorResponses,
    ),
)]
pub(crate) async fn create(
    MayCreate(author): MayCreate,
    State(shortener): State<Arc<Shortener>>,
    ServiceUrl(base_url): ServiceUrl,
    Payload(fields): Payload<LinkFields>,
) -> Result<Response, ApiError> {
    let now = shortener.clock.now();
    let shortened = shortener.shorten(fields.read(now)?, &author.name, &base_url).await?;
    let status = match &shortened {
        Shortened::Created(link) => {
            author.log(Action::Created, &link.key);
            StatusCode::CREATED
        }
        Shortened::Existing(_) => StatusCode::OK,
    };
    let (Shortened::Created(link) | Shortened::Existing(link)) = shortened;
    let location = [(header::LOCATION, format!("/api/v1/links/{}", link.key))];
    let record = Record { link, clicks: 0, visits: 0 };
    Ok((status, location, show_record(&record, &base_url, &shortener)).into_response())
}

/// Show a link
#[utoipa::path(
    get,
    path = "/api/v1/links/{key}",
    tag = "manage",
    params(LinkKey, IfNoneMatch),
    security(("token" = ["read"])),
    responses(
        (status = OK, body = LinkBody, headers(("ETag" = String, description = "For If-Match"))),
        (status = NOT_MODIFIED, description = "The link has not changed"),
        LinkErrors,
        ErrorResponses,
    ),
)]
pub(crate) async fn show(
    _: MayRead,
    State(shortener): State<Arc<Shortener>>,
    ServiceUrl(base_url): ServiceUrl,
    if_none_match: IfNoneMatch,
    LinkKey { key }: LinkKey,
) -> Result<Response, ApiError> {
    let record = shortener.links.get(&key).await.map_err(ApiError::Store)?.ok_or(ApiError::NotFound)?;
    if if_none_match.matches(&record.link) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(&record.link))]).into_response());
    }
    Ok(show_record(&record, &base_url, &shortener))
}

/// Adds the methods for a link to a route with a fixed path.
///
/// Without these methods, the `/api/v1/links/batch` route would hide the link whose key is `batch`.
pub(crate) fn with_link_methods(
    (schemas, paths, methods): UtoipaMethodRouter<AppState>,
) -> UtoipaMethodRouter<AppState> {
    (schemas, paths, methods.get(show).patch(change::edit).delete(change::remove))
}

fn show_record(record: &Record, base_url: &BaseUrl, shortener: &Shortener) -> Response {
    let body = Json(LinkBody::new(record, base_url, &shortener.moment()));
    ([(header::ETAG, etag(&record.link))], private(body)).into_response()
}

/// Marks a response as private, so that shared caches don't store it.
pub(crate) fn private(body: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "private, no-cache")], body).into_response()
}
