//! `POST /api/v1/links/batch`: creates many links in one request.

use std::{fmt, sync::Arc};

use axum::{
    Extension,
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use utoipa::{IntoParams, ToSchema};

use crate::{
    base_url::BaseUrl,
    gate::Gate,
    shortener::{Shortened, Shortener},
    store::Record,
    web::{
        extract::{
            body::Payload,
            link_fields::LinkFields,
            service_url::ServiceUrl,
            token::{Action, Author, MayWrite},
        },
        middleware::rate_limit::CreateLimits,
        respond::{
            Json,
            error::{ApiError, ErrorBody, ErrorResponses},
        },
        routes::links::body::LinkBody,
        state::AppState,
    },
};

/// The maximum number of links in one request.
const MAX_LINKS: usize = 1000;

const WRONG_LINK_COUNT: &str = "links must have 1 to 1000 entries";

/// The maximum size of a body, in bytes.
pub(crate) const MAX_BODY: usize = 8 << 20;

/// The number of links that are created concurrently.
///
/// The store can commit concurrent changes together.
const CONCURRENCY: usize = 64;

/// The number of links created concurrently if any of them has a password.
///
/// The service hashes at most two passwords at a time. Four concurrent links keep both hashing threads busy, and a
/// visitor's password has to wait for only a few others.
const HASHING_CONCURRENCY: usize = 4;

/// The maximum number of queued batches with passwords.
///
/// Such batches run one at a time. Otherwise, a retry that arrives while the first request is still running would hash
/// the same passwords again.
const MAX_QUEUED: usize = 16;

/// A queue that runs batches with passwords one at a time.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Gate>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Gate::new(1, MAX_QUEUED)))
    }
}

/// The links to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchFields {
    /// 1 to 1,000 links.
    #[serde(deserialize_with = "bounded")]
    #[schema(min_items = 1, max_items = 1000)]
    links: Vec<LinkFields>,
}

/// Deserializes a list of links, but refuses more than the maximum.
///
/// Without this limit, a body could contain millions of empty links.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LinkFields>, D::Error> {
    struct Links;

    impl<'de> Visitor<'de> for Links {
        type Value = Vec<LinkFields>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list of links")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut links = Vec::new();
            while let Some(link) = list.next_element()? {
                if links.len() == MAX_LINKS {
                    return Err(A::Error::custom(WRONG_LINK_COUNT));
                }
                links.push(link);
            }
            if links.is_empty() { Err(A::Error::custom(WRONG_LINK_COUNT)) } else { Ok(links) }
        }
    }

    deserializer.deserialize_seq(Links)
}

/// The results, in the order of the links.
#[derive(Serialize, ToSchema)]
struct BatchBody {
    results: Vec<ItemBody>,
}

/// The result for one link.
#[derive(Serialize, ToSchema)]
struct ItemBody {
    /// Status that a separate request for this link would get.
    #[schema(example = 201)]
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<LinkBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

/// Create many links
///
/// Each link is created or refused independently, and each counts towards the token's rate limit. A request with an
/// `Idempotency-Key` can be retried, for example after a lost response: links that already exist are returned instead
/// of being created again. In such a request, a link without a custom key gets a key of 12 characters, which is derived
/// from the token's name, the `Idempotency-Key` and the link's position in the list. `expires_in` is refused in such a
/// request, because a retry would change its meaning.
#[utoipa::path(
    post,
    path = "/api/v1/links/batch",
    tag = "manage",
    params(IdempotencyKey),
    request_body(content((BatchFields = "application/json"))),
    security(("token" = ["write"])),
    responses(
        (status = OK, description = "A result for each link", body = BatchBody),
        (status = TOO_MANY_REQUESTS, description = "`rate_limited`: no link was created", body = ErrorBody),
        ErrorResponses,
    ),
)]
pub(crate) async fn create_many(
    MayWrite(author): MayWrite,
    State(shortener): State<Arc<Shortener>>,
    State(limits): State<Arc<CreateLimits>>,
    Extension(Turns(turns)): Extension<Turns>,
    ServiceUrl(base_url): ServiceUrl,
    IdempotencyKey { idempotency_key }: IdempotencyKey,
    Payload(BatchFields { links }): Payload<BatchFields>,
) -> Result<Response, ApiError> {
    let identity = idempotency_key.map(|key| format!("{}\0{key}", author.name));
    if identity.is_some() && links.iter().any(LinkFields::depends_on_time) {
        let reason =
            "a retry would change the meaning of expires_in: with an Idempotency-Key, use expires_at";
        return Err(ApiError::InvalidOption(reason.into()));
    }
    limits.admit(&author, links.len())?;
    let has_passwords = links.iter().any(LinkFields::has_password);
    let (_turn, concurrency) = if has_passwords {
        (Some(turns.enter().await.map_err(|_| ApiError::Overloaded)?), HASHING_CONCURRENCY)
    } else {
        (None, CONCURRENCY)
    };
    let results = stream::iter(links.into_iter().enumerate()).map(async |(index, fields)| {
        let identity = identity.as_ref().map(|identity| format!("{identity}\0{index}"));
        let result = create_one(&shortener, &author, &base_url, fields, identity).await;
        if let Ok(Shortened::Created(link)) = &result {
            author.log(Action::Created, &link.key);
        }
        item(result, &base_url, &shortener)
    });
    let results = results.buffered(concurrency).collect().await;
    Ok(Json(BatchBody { results }).into_response())
}

async fn create_one(
    shortener: &Shortener,
    author: &Author,
    base_url: &BaseUrl,
    fields: LinkFields,
    identity: Option<String>,
) -> Result<Shortened, ApiError> {
    let new = fields.read(shortener.clock.now())?;
    Ok(match identity {
        Some(identity) => shortener.shorten_once(new, &author.name, base_url, identity.as_bytes()).await?,
        None => shortener.shorten(new, &author.name, base_url).await?,
    })
}

fn item(result: Result<Shortened, ApiError>, base_url: &BaseUrl, shortener: &Shortener) -> ItemBody {
    let (status, link) = match result {
        Ok(Shortened::Created(link)) => (StatusCode::CREATED, link),
        Ok(Shortened::Existing(link)) => (StatusCode::OK, link),
        Err(error) => {
            let (status, body) = error.into_item();
            return ItemBody { status: status.as_u16(), link: None, error: Some(body) };
        }
    };
    let record = Record { link, clicks: 0, visits: 0 };
    let link = LinkBody::new(&record, base_url, &shortener.moment());
    ItemBody { status: status.as_u16(), link: Some(link), error: None }
}

/// A header that makes it safe to retry a request.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKey {
    /// 1 to 255 visible ASCII characters, unique among this token's requests
    #[param(rename = "Idempotency-Key", pattern = "^[!-~]{1,255}$")]
    pub(crate) idempotency_key: Option<String>,
}

impl FromRequestParts<AppState> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, ApiError> {
        Self::from_headers(&parts.headers)
    }
}

impl IdempotencyKey {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(Self { idempotency_key: None }) };
        let is_valid =
            |key: &&str| (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        let key = value.to_str().ok().filter(is_valid).ok_or(ApiError::InvalidIdempotencyKey)?;
        Ok(Self { idempotency_key: Some(key.into()) })
    }
}
