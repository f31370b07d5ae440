//! Health checks and metrics.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    config::Config,
    links::Links,
    observability::{logging::Chain, metrics::Metrics},
    web::{
        respond::{Json, error::ApiError},
        state::Draining,
    },
};

/// A header that keeps caches from responding in place of the service.
const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

#[derive(Serialize, ToSchema)]
struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Check that the process is alive
///
/// The store is not checked, because restarting the process would not fix a store that is down.
#[utoipa::path(get, path = "/healthz", responses((status = OK, body = Health)))]
pub(crate) async fn healthz() -> Response {
    (NO_STORE, Json(Health { status: "ok" })).into_response()
}

#[derive(Serialize, ToSchema)]
struct Readiness {
    /// `ready`, `unready` or `draining`.
    #[schema(example = "ready")]
    status: &'static str,
    store: StoreReadiness,
}

#[derive(Serialize, ToSchema)]
struct StoreReadiness {
    /// Type of the store.
    #[schema(example = "sqlite")]
    name: &'static str,
    /// `ok` or `unavailable`. If `METRICS_ADDR` is set, the cause of the failure replaces `unavailable`.
    #[schema(example = "ok")]
    status: String,
}

/// Check that the service can serve requests
///
/// The response contains the result of the last probe of the store. A new probe starts every second, independently of
/// requests.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = OK, body = Readiness),
        (status = SERVICE_UNAVAILABLE, description = "The store is unavailable, or the service is stopping", body = Readiness),
    ),
)]
pub(crate) async fn readyz(
    State(links): State<Arc<Links>>,
    State(draining): State<Draining>,
    State(config): State<Arc<Config>>,
) -> Response {
    let probe = links.status();
    let (code, status) = match &probe {
        _ if draining.has_begun() => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        Ok(()) => (StatusCode::OK, "ready"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
    };
    let store_status = match probe {
        Ok(()) => "ok".into(),
        // The cause can contain host names, so it is shown only on the operators' listener.
        Err(error) if config.server.metrics_addr.is_some() => Chain(error.cause()).to_string(),
        Err(_) => "unavailable".into(),
    };
    let store = StoreReadiness { name: links.store_name(), status: store_status };
    (code, NO_STORE, Json(Readiness { status, store })).into_response()
}

/// Return metrics for Prometheus
#[utoipa::path(get, path = "/metrics", responses((status = OK, body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(metrics): State<Arc<Metrics>>) -> Result<Response, ApiError> {
    let text = metrics.render().map_err(|error| ApiError::Internal(error.into()))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], NO_STORE, text).into_response())
}
