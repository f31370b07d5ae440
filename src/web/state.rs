//! What the routes and the middleware share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::extract::FromRef;

use super::middleware::{in_flight::InFlight, password_attempts::Attempts, rate_limit::RateLimit};
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
