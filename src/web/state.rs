//! What the routes and the middleware share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::extract::FromRef;

use super::extract::ids::RequestIds;
use super::middleware::{in_flight::InFlight, password_attempts::Attempts};
use crate::{config::Config, links::Links, observability::metrics::Metrics, shortener::Shortener};

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
    /// The options.
    pub config: Arc<Config>,
    /// The password attempts of clients.
    pub attempts: Arc<Attempts>,
    /// Makes the ids of requests.
    pub request_ids: Arc<RequestIds>,
    /// The requests in progress.
    pub in_flight: InFlight,
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
