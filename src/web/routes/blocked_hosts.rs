//! `/api/v1/blocked-hosts`: hosts that links must not point to.

use std::{ops::Bound, sync::Arc};

use axum::{
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
    response::Response,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::{
    blocked_hosts::{BlockedHost, HostPattern, Reason},
    links::Links,
    shortener::Shortener,
    web::{
        extract::{
            body::{Payload, Query},
            token::{Author, HostAction, MayRead, MayWrite},
        },
        respond::{
            Json,
            error::{ApiError, ErrorBody, ErrorResponses},
        },
        routes::links::private,
        state::AppState,
    },
};

/// The default number of entries on a page.
const DEFAULT_LIMIT: u16 = 500;

/// The maximum number of entries on a page.
const MAX_LIMIT: u16 = 1000;

/// The errors from the routes for a single entry, for the OpenAPI document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document is generated from the declaration")]
enum HostErrors {
    /// `unauthorized`
    #[response(status = UNAUTHORIZED)]
    Unauthorized(ErrorBody),
    /// `not_found`: this host is not blocked
    #[response(status = NOT_FOUND)]
    NotFound(ErrorBody),
}

/// The host in the path of a request.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct HostInPath {
    /// Host. With a leading dot, it includes all subdomains.
    #[param(value_type = String, max_length = 1012, example = ".evil.example")]
    host: HostPattern,
}

impl FromRequestParts<AppState> for HostInPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let Path(text): Path<String> =
            Path::from_request_parts(parts, &()).await.map_err(|_| ApiError::NotFound)?;
        Ok(Self { host: text.parse().map_err(ApiError::option)? })
    }
}

/// The position and length of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HostQuery {
    /// Cursor: the value of `next` on the previous page.
    #[serde(default)]
    #[param(max_length = 1012)]
    cursor: Option<String>,
    /// Maximum number of entries on the page.
    #[serde(default)]
    #[param(minimum = 1, maximum = 1000, default = 500)]
    limit: Option<u16>,
}

/// The details of a blocked host.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostFields {
    /// Reason for blocking the host, shown to people who manage links.
    #[serde(default)]
    #[schema(max_length = 255, example = "phishing, ticket 4711")]
    reason: Option<String>,
}

/// A blocked host.
#[derive(Serialize, ToSchema)]
struct HostBody {
    /// Host in lower case and Punycode, with a leading dot if its subdomains are included.
    #[schema(value_type = String, example = ".evil.example")]
    host: HostPattern,
    #[schema(value_type = Option<String>, required = true)]
    reason: Option<Reason>,
    /// Name of the token that was used to block the host.
    #[schema(example = "anna")]
    blocked_by: String,
    #[schema(value_type = String, format = DateTime)]
    blocked_at: Timestamp,
}

impl From<BlockedHost> for HostBody {
    fn from(BlockedHost { host, reason, blocked_by, blocked_at }: BlockedHost) -> Self {
        Self { host, reason, blocked_by: blocked_by.to_string(), blocked_at }
    }
}

/// A page of blocked hosts.
#[derive(Serialize, ToSchema)]
struct HostPage {
    hosts: Vec<HostBody>,
    /// Cursor for the next page; null on the last page.
    #[schema(value_type = Option<String>, required = true)]
    next: Option<HostPattern>,
}

/// List the blocked hosts
///
/// Hosts in the file that `BLOCKED_HOSTS` names are not included.
#[utoipa::path(
    get,
    path = "/api/v1/blocked-hosts",
    tag = "manage",
    params(HostQuery),
    security(("token" = ["read"])),
    responses((status = OK, body = HostPage), ErrorResponses),
)]
pub(crate) async fn index(
    _: MayRead,
    State(links): State<Arc<Links>>,
    Query(HostQuery { cursor, limit }): Query<HostQuery>,
) -> Result<Response, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::InvalidQuery(format!("limit must be 1 to {MAX_LIMIT}")));
    }
    let after = cursor.map(|text| text.parse()).transpose().map_err(ApiError::query)?;
    let (entries, next) = page_after(&links, after.as_ref(), limit).await?;
    let hosts = entries.into_iter().map(HostBody::from).collect();
    Ok(private(Json(HostPage { hosts, next })))
}

/// Returns a page of entries, and the cursor for the next page.
pub(crate) async fn page_after(
    links: &Links,
    after: Option<&HostPattern>,
    limit: u16,
) -> Result<(Vec<BlockedHost>, Option<HostPattern>), ApiError> {
    let (from, limit) = (after.map_or(Bound::Unbounded, Bound::Excluded), usize::from(limit));
    let mut entries = links.list_blocked_hosts(from, limit + 1).await.map_err(ApiError::Store)?;
    let has_more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| has_more).map(|entry| entry.host.clone());
    Ok((entries, next))
}

/// Show a blocked host
#[utoipa::path(
    get,
    path = "/api/v1/blocked-hosts/{host}",
    tag = "manage",
    params(HostInPath),
    security(("token" = ["read"])),
    responses((status = OK, body = HostBody), HostErrors, ErrorResponses),
)]
pub(crate) async fn show(
    _: MayRead,
    State(links): State<Arc<Links>>,
    HostInPath { host }: HostInPath,
) -> Result<Response, ApiError> {
    let found = links.list_blocked_hosts(Bound::Included(&host), 1).await.map_err(ApiError::Store)?;
    let entry = found.into_iter().find(|entry| entry.host == host).ok_or(ApiError::NotFound)?;
    Ok(private(Json(HostBody::from(entry))))
}

/// Block a host
///
/// Links to the host can no longer be created, and existing links to the host return 410. The change takes effect
/// immediately on this instance, and within two seconds on other instances. An existing entry for the same host is
/// replaced.
#[utoipa::path(
    put,
    path = "/api/v1/blocked-hosts/{host}",
    tag = "manage",
    params(HostInPath),
    request_body(
        content(
            (Option<HostFields> = "application/json"),
            (Option<HostFields> = "application/x-www-form-urlencoded"),
        ),
    ),
    security(("token" = ["write"])),
    responses(
        (status = OK, description = "The host is blocked", body = HostBody),
        (status = CONFLICT, description = "`too_many_blocked_hosts`", body = ErrorBody),
        ErrorResponses,
    ),
)]
pub(crate) async fn block(
    MayWrite(author): MayWrite,
    State(shortener): State<Arc<Shortener>>,
    HostInPath { host }: HostInPath,
    fields: Option<Payload<HostFields>>,
) -> Result<Response, ApiError> {
    let reason = fields.and_then(|Payload(fields)| fields.reason);
    let reason = reason.map(|text| text.parse()).transpose().map_err(ApiError::option)?;
    let entry = block_host(&shortener, &author, host, reason).await?;
    Ok(private(Json(HostBody::from(entry))))
}

/// Blocks a host, and logs the change.
pub(crate) async fn block_host(
    shortener: &Shortener,
    author: &Author,
    host: HostPattern,
    reason: Option<Reason>,
) -> Result<BlockedHost, ApiError> {
    let (blocked_by, blocked_at) = (author.name.clone(), shortener.clock.now());
    let entry = BlockedHost { host, reason, blocked_by, blocked_at };
    if !shortener.links.block_host(entry.clone()).await.map_err(ApiError::Store)? {
        return Err(ApiError::TooManyBlockedHosts);
    }
    author.log_host(HostAction::Blocked, &entry.host);
    Ok(entry)
}

/// Unblock a host
///
/// Links to the host redirect again, unless another entry matches them.
#[utoipa::path(
    delete,
    path = "/api/v1/blocked-hosts/{host}",
    tag = "manage",
    params(HostInPath),
    security(("token" = ["write"])),
    responses((status = NO_CONTENT, description = "The entry is removed"), HostErrors, ErrorResponses),
)]
pub(crate) async fn unblock(
    MayWrite(author): MayWrite,
    State(links): State<Arc<Links>>,
    HostInPath { host }: HostInPath,
) -> Result<StatusCode, ApiError> {
    if unblock_host(&links, &author, host).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NotFound)
    }
}

/// Unblocks a host, logs the change, and returns whether it was blocked.
pub(crate) async fn unblock_host(
    links: &Links,
    author: &Author,
    host: HostPattern,
) -> Result<bool, ApiError> {
    let was_blocked = links.unblock_host(host.clone()).await.map_err(ApiError::Store)?;
    if was_blocked {
        author.log_host(HostAction::Unblocked, &host);
    }
    Ok(was_blocked)
}
