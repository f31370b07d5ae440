//! State shared by routes and middleware.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::extract::FromRef;

use super::{
    extract::ids::RequestIds,
    middleware::{
        in_flight::InFlight, password_attempts::Attempts, rate_limit::CreateLimits,
        token_failures::TokenFailures,
    },
    routes::qr::Drawing,
    ui::session::Sessions,
};
use crate::{
    config::Config,
    links::Links,
    observability::metrics::Metrics,
    shortener::Shortener,
    tokens::{LiveTokens, Tokens},
};

/// The state that routes and middleware depend on. It is cheap to clone.
#[derive(Clone, FromRef)]
pub struct AppState {
    pub shortener: Arc<Shortener>,
    pub links: Arc<Links>,
    pub metrics: Arc<Metrics>,
    pub draining: Draining,
    pub config: Arc<Config>,
    pub attempts: Arc<Attempts>,
    pub live_tokens: Arc<LiveTokens>,
    pub token_failures: Arc<TokenFailures>,
    pub create_limits: Arc<CreateLimits>,
    pub request_ids: Arc<RequestIds>,
    pub in_flight: InFlight,
    pub sessions: Arc<Sessions>,
    pub drawing: Drawing,
}

impl AppState {
    /// Returns the current tokens, including those that have expired.
    pub(crate) fn tokens(&self) -> Arc<Tokens> {
        self.live_tokens.current()
    }
}

/// A flag that is set once, when shutdown begins.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// Sets the flag.
    ///
    /// From then on, `/readyz` returns 503, and every response closes its connection.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
