//! A URL shortener.
//!
//! # Map
//! [`server`] accepts connections, bounds them, and drains them at the end. [`web`] answers their requests: the router
//! leads through the middleware to a route or to a page for people, and both call use cases of [`shortener`]. Use cases ask a
//! [`keygen::KeyStrategy`] for keys and [`links`], a [`store::Store`] behind a cache, for links. They obey a [`policy`] and
//! count [`clicks`]. Links to [`blocked_hosts`] are neither made nor followed. Clients that manage links have [`tokens`];
//! these and the list of blocked hosts follow the changes of a [`watched_file`]. [`retention`] removes what has expired.
//! [`link`] and [`base_url`] are the values that all of them share. [`app`] puts the parts together.
//!
//! [`command`] has the command line and what the program does with it, [`config`] the options, in groups that are the
//! parameters of the parts. [`transfer`] reads and writes files of links, [`observability`] has the log and the metrics.
//!
//! # Reading order
//! From `main` to SQLite in one sitting, about 5,000 lines without tests:
//!
//! 1. The start: `main.rs`, `command.rs`, `config.rs`, `command/serve.rs`, `app.rs`.
//! 2. A connection: `server.rs`, `server/connection.rs`.
//! 3. A request: `web.rs`, `web/state.rs`, `web/router.rs`, `web/middleware/access_log.rs`.
//! 4. Two routes: `web/routes/redirect.rs`, `web/routes/shorten.rs`, `web/respond/error.rs`.
//! 5. The use cases and their values: `shortener.rs`, `shortener/follow.rs`, `link.rs`, `link/document.rs`, `link/options.rs`, `keygen.rs`,
//!    `keygen/random.rs`.
//! 6. Links as an instance sees them: `links.rs`, `links/cache.rs`.
//! 7. Counts: `clicks.rs`, `clicks/tallies.rs`.
//! 8. The store: `store.rs`, `store/sqlite.rs`, `store/sqlite/worker.rs`, `store/sqlite/rows.rs`, `store/row.rs`.
//!
//! # Invariants
//! - Only [`web`] and [`server`] name HTTP types, only [`web`] names axum. Use cases return values and errors.
//! - Stores and strategies never import each other. CONTRIBUTING lists the exact places that a new one touches.
//! - [`config`] decides every option, `PG*` variables included. Clock, randomness and registry come in from outside.
//! - A connection stays on one thread, and nothing computes for long there: passwords, QR codes and large bodies go to
//!   other threads, through a [`gate`] where there can be many.
//! - A link is one document. A new option of it touches no store, no import and no export.
//! - No lock is held across `.await`. Every 5xx is logged exactly once, with its cause; the client never sees the cause.
//! - A durable store never loses a link that was acknowledged. Counting and logging never delay or fail a redirect.
//! - From 1.0 on, the release before this one can run on the data that this one writes.

pub mod app;
pub mod base_url;
pub mod blocked_hosts;
pub mod clicks;
pub mod clock;
pub mod command;
pub mod config;
mod field_names;
pub mod gate;
pub mod keygen;
pub mod link;
pub mod links;
pub mod observability;
pub mod password;
pub mod policy;
pub mod retention;
pub mod server;
pub mod shortener;
pub mod store;
#[cfg(test)]
mod strategies;
pub mod tokens;
pub mod transfer;
pub mod watched_file;
pub mod web;

/// Returns whether `value` is its type's default. Documents leave such values out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
