//! HTTP: the routes, and the one stack of middleware around them.

mod accept;
mod access;
mod attempts;
mod auth;
mod client;
mod error;
mod etag;
mod extract;
mod fields;
mod health;
mod home;
mod in_flight;
mod json;
mod links;
mod openapi;
mod page;
mod preview;
#[cfg(test)]
mod properties;
mod qr;
mod quick;
mod rate_limit;
mod redirect;
mod request_id;
mod shorten;
mod trace_id;
mod values;
mod visitor;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::{Next, from_fn, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
};
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

pub use self::{
    access::AccessLog,
    attempts::Attempts,
    client::client_network,
    in_flight::InFlight,
    rate_limit::{InvalidRateLimit, RateLimit},
    visitor::visitor,
};
use self::{access::Observer, error::ApiError, quick::Quick, rate_limit::RateLimiter};
use crate::{
    base_url::BaseUrl, links::Links, observability::metrics::Metrics, shortener::Shortener, tokens::Tokens,
};

/// What handlers need; cheap to clone.
#[derive(Clone, FromRef)]
pub struct AppState {
    /// The use cases.
    pub shortener: Arc<Shortener>,
    /// The links.
    pub links: Arc<Links>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Whether the service is about to end.
    pub draining: Draining,
    /// What the operator has chosen.
    pub settings: Arc<Settings>,
    /// How often passwords were tried.
    pub attempts: Arc<Attempts>,
    /// The requests in progress.
    pub in_flight: InFlight,
}

/// The options that concern HTTP.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What short URLs begin with; `None` takes it from each request.
    pub base_url: Option<BaseUrl>,
    /// How many proxies stand in front, each of which appends to `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// How often one client may shorten.
    pub rate_limit: Option<RateLimit>,
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// Who may manage links.
    pub tokens: Tokens,
    /// Whether everybody may make one.
    pub public_shorten: bool,
    /// The largest body, in bytes.
    pub max_body: usize,
    /// The key of the hash that request ids are made of.
    pub request_id_key: [u64; 4],
    /// Whether `/metrics` and `/readyz` are for another listener.
    pub separate_operations: bool,
}

/// A flag that is raised once, when the service begins to end.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// Raises the flag: from now on `/readyz` says no, and answers ask for their connection to be closed.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the flag is raised.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that answers a request, from the access log inwards. Cheap to clone.
pub type HttpService = AccessLog<Router>;

/// The service for everybody.
pub fn public(state: &AppState) -> HttpService {
    let settings = &state.settings;
    let limiter = || Some(RateLimiter::new(settings.rate_limit?, state.metrics.clone()));
    let mut routes = public_routes(limiter)
        .layer(from_fn_with_state(state.in_flight.clone(), in_flight::limit))
        .layer(from_fn(in_flight::finish_changes))
        .merge(health_routes());
    if !settings.separate_operations {
        routes = routes.merge(operations_routes());
    }
    serve(routes, Some(Quick::new(state.shortener.clone())), state)
}

/// The service for whoever operates it, where that has a listener of its own.
pub fn operations(state: &AppState) -> HttpService {
    serve(operations_routes().merge(health_routes()), None, state)
}

/// Keys that would hide a path of the service's own: the first segment of each route.
pub fn reserved_keys() -> HashSet<String> {
    let routes = public_routes(|| None).merge(health_routes()).merge(operations_routes());
    let segments = routes.get_openapi().paths.paths.keys().filter_map(|path| path.split('/').nth(1));
    segments.filter(|segment| !segment.is_empty() && !segment.contains('{')).map(Into::into).collect()
}

/// Every route is added by `routes!`, so that it stands in the OpenAPI document and among the reserved keys.
fn public_routes(limiter: impl Fn() -> Option<Arc<RateLimiter>>) -> OpenApiRouter<AppState> {
    let limited = |routes: UtoipaMethodRouter<AppState>| match limiter() {
        Some(limiter) => routes.layer(from_fn_with_state(limiter, rate_limit::limit)),
        None => routes,
    };
    let batch_layers =
        (axum::Extension(links::batch::Turns::default()), DefaultBodyLimit::max(links::batch::MAX_BODY));
    let batch = routes!(links::batch::create_many).layer(batch_layers);
    OpenApiRouter::with_openapi(openapi::description())
        .routes(limited(routes!(shorten::shorten)))
        .routes(routes!(home::home))
        .routes(routes!(redirect::redirect, redirect::unlock))
        .routes(limited(routes!(qr::qr).layer(axum::Extension(qr::Drawing::default()))))
        .routes(routes!(links::index, links::create))
        .routes(links::batch::with_the_link_of_that_name(batch))
        .routes(routes!(links::show, links::edit, links::remove))
        .routes(routes!(links::take_down))
        .routes(routes!(links::restore))
        .routes(routes!(links::stats::stats))
        .routes(routes!(openapi::document))
}

/// These take no slot: a busy service is alive, and its metrics say that it is busy.
fn health_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(health::healthz))
}

fn operations_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(health::readyz)).routes(routes!(health::metrics))
}

/// Wraps the routes in their middleware. The order below is from the outermost inwards: what runs out of time,
/// panics or is refused is still logged and counted.
fn serve(routes: OpenApiRouter<AppState>, quick: Option<Quick>, state: &AppState) -> HttpService {
    let (routes, openapi) = routes.split_for_parts();
    let settings = &state.settings;
    let middleware = tower::ServiceBuilder::new()
        .layer(from_fn(tag_route))
        .layer(map_response(secure))
        .layer(CatchPanicLayer::custom(|_| ApiError::Panic.into_response()))
        .layer(from_fn_with_state(settings.request_timeout, limit_time))
        .layer(DefaultBodyLimit::max(settings.max_body));
    let router = routes
        .fallback(async |headers: HeaderMap| page::error(ApiError::NotFound, &headers))
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(middleware)
        .layer(axum::Extension(openapi::Document::new(&openapi)))
        .with_state(state.clone());
    AccessLog::new(router, Observer::new(quick, state))
}

/// Lets the access log, which stands outside the router, know which route was taken.
async fn tag_route(route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

async fn secure<B>(mut response: Response<B>) -> Response<B> {
    secure_headers(response.headers_mut());
    response
}

/// Headers that keep a browser from guessing, framing or running anything.
fn secure_headers(headers: &mut HeaderMap) {
    const HEADERS: [(HeaderName, HeaderValue); 3] = [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        ),
        (header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
    ];
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
}

async fn limit_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    timeout(limit, next.run(request)).await.unwrap_or_else(|_| ApiError::Timeout(limit).into_response())
}
