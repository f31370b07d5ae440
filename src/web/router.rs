//! Routes and their middleware.

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    middleware::{Next, from_fn, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
};
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

use super::{
    fast_path::FastPath,
    middleware::{
        access_log::{AccessLog, Observer},
        in_flight,
        rate_limit::{self, ClientLimit},
    },
    respond::{error::ApiError, page, secure_headers},
    routes::{blocked_hosts, health, home, links, openapi, qr, redirect, shorten, unlock},
    state::AppState,
    ui::{self, assets},
};
use crate::config::LimitOptions;

/// The complete service, with the access log as its outermost layer.
///
/// It is cheap to clone.
pub type HttpService = AccessLog<Router>;

/// Returns the service for the public listener.
pub fn public(state: &AppState) -> HttpService {
    let refused = state.metrics.rate_limited.with_label_values(&["qr_code"]);
    let qr_limit = state.config.limits.rate_limit.0.map(|rate| Arc::new(ClientLimit::new(rate, refused)));
    let mut routes = public_routes(qr_limit)
        .merge(ui::routes(state).into())
        .layer(from_fn_with_state(state.in_flight.clone(), in_flight::limit))
        .layer(from_fn(in_flight::finish_changes))
        .merge(health_routes());
    if state.config.server.metrics_addr.is_none() {
        routes = routes.merge(operations_routes());
    }
    serve(routes, Some(FastPath::new(state.clone())), state)
}

/// Returns the service for the operators' listener.
pub fn operations(state: &AppState) -> HttpService {
    serve(operations_routes().merge(health_routes()), None, state)
}

/// Returns the reserved keys: the first path segment of each route.
pub(crate) fn reserved_keys() -> HashSet<String> {
    let routes = public_routes(None).merge(health_routes()).merge(operations_routes());
    let segments = routes.get_openapi().paths.paths.keys().filter_map(|path| path.split('/').nth(1));
    segments.filter(|segment| !segment.is_empty() && !segment.contains('{')).map(Into::into).collect()
}

/// Returns the routes for API clients and visitors.
///
/// Routes declared with `routes!` also appear in the OpenAPI document, and their first path segments become reserved
/// keys. `qr_limit` limits the rate of QR code requests.
fn public_routes(qr_limit: Option<Arc<ClientLimit>>) -> OpenApiRouter<AppState> {
    let mut qr_routes: UtoipaMethodRouter<AppState> = routes!(qr::qr);
    if let Some(limit) = qr_limit {
        qr_routes = qr_routes.layer(from_fn_with_state(limit, rate_limit::limit_rate));
    }
    let batch_layers =
        (axum::Extension(links::batch::Turns::default()), DefaultBodyLimit::max(links::batch::MAX_BODY));
    let batch = routes!(links::batch::create_many).layer(batch_layers);
    OpenApiRouter::with_openapi(openapi::description())
        .routes(routes!(shorten::shorten))
        .routes(routes!(home::home))
        .routes(routes!(redirect::redirect, unlock::unlock))
        .routes(qr_routes)
        .routes(routes!(links::index, links::create))
        .routes(routes!(blocked_hosts::index))
        .routes(routes!(blocked_hosts::show, blocked_hosts::block, blocked_hosts::unblock))
        .routes(links::with_link_methods(batch))
        .routes(links::with_link_methods(routes!(links::take_down::take_down_many)))
        .routes(routes!(links::show, links::change::edit, links::change::remove))
        .routes(routes!(links::change::take_down))
        .routes(routes!(links::change::restore))
        .routes(routes!(links::stats::stats))
        .routes(routes!(openapi::document))
        .routes(routes!(assets::robots))
        .routes(routes!(assets::favicon))
}

/// Returns the route of the health check.
///
/// The health check takes no slot, so that it succeeds even while the service is busy.
fn health_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(health::healthz))
}

fn operations_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(health::readyz)).routes(routes!(health::metrics))
}

/// Wraps the routes in middleware and the access log.
///
/// The layers below are listed from the outermost to the innermost. The access log wraps all of them, so timeouts,
/// panics and refused requests are logged and counted.
fn serve(routes: OpenApiRouter<AppState>, fast_path: Option<FastPath>, state: &AppState) -> HttpService {
    let (routes, openapi) = routes.split_for_parts();
    let LimitOptions { request_timeout, max_body, .. } = state.config.limits;
    let max_body = usize::try_from(max_body.as_u64()).unwrap_or(usize::MAX);
    let middleware = tower::ServiceBuilder::new()
        .layer(from_fn(tag_route))
        .layer(map_response(secure))
        .layer(from_fn_with_state(state.clone(), page::show_errors))
        .layer(CatchPanicLayer::custom(|_| ApiError::Panic.into_response()))
        .layer(from_fn_with_state(request_timeout, limit_time))
        .layer(DefaultBodyLimit::max(max_body));
    let router = routes
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware)
        .layer(axum::Extension(openapi::Document::new(&openapi)))
        .with_state(state.clone());
    AccessLog::new(router, Observer::new(fast_path, state))
}

/// Passes the matched route on to the access log.
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

async fn limit_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    timeout(limit, next.run(request)).await.unwrap_or_else(|_| ApiError::Timeout(limit).into_response())
}
