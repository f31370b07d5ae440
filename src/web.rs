//! The HTTP layer: router, middleware, routes and pages.
//!
//! A request passes through the middleware of [`router`] to a route, which calls a use case in [`crate::shortener`].
//! `extract` parses requests, and `respond` builds responses.

pub(crate) mod extract {
    //! Request parsing for routes and middleware.
    pub(crate) mod accept;
    pub(crate) mod body;
    pub(crate) mod client;
    pub(crate) mod conditional;
    pub(crate) mod field_values;
    pub(crate) mod ids;
    pub(crate) mod link_fields;
    pub(crate) mod link_key;
    pub(crate) mod service_url;
    pub(crate) mod token;
    pub(crate) mod visitor;
}
pub(crate) mod fast_path;
pub(crate) mod middleware {
    //! Middleware, and the shared state of its limits.
    pub(crate) mod access_log;
    pub(crate) mod in_flight;
    pub(crate) mod password_attempts;
    pub(crate) mod rate_limit;
    pub(crate) mod token_failures;
}
#[cfg(test)]
mod properties;
pub(crate) mod respond;
pub mod router;
pub(crate) mod routes {
    //! The routes, one file per resource.
    pub(crate) mod blocked_hosts;
    pub(crate) mod health;
    pub(crate) mod home;
    pub(crate) mod links;
    pub(crate) mod openapi;
    pub(crate) mod preview;
    pub(crate) mod qr;
    pub(crate) mod redirect;
    pub(crate) mod shorten;
    pub(crate) mod unlock;
}
pub mod state;
pub(crate) mod ui;

pub use self::{extract::visitor::visitor, router::HttpService};
