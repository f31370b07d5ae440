//! A URL shortener.
//!
//! # Map
//! [`server`] accepts connections, limits them, and drains them at shutdown. [`web`] handles their requests. The router
//! passes each request through the middleware to an API route or a web page, which calls a use case in [`shortener`].
//! Use cases get keys from a [`keygen::KeyStrategy`], and links from [`links`], which is a [`store::Store`] behind a
//! cache. They check targets against a [`policy`] and count [`clicks`]. The service neither creates nor follows links
//! to [`blocked_hosts`]. Clients that manage links authenticate with [`tokens`]. Tokens and blocked hosts can come from
//! a [`watched_file`], which is reloaded when it changes. [`retention`] removes expired links and old statistics. All
//! of these share the value types in [`link`] and [`base_url`]. [`app`] assembles the service.
//!
//! [`command`] contains the command line and its subcommands. [`config`] contains the options, in groups that each
//! component takes as parameters. [`transfer`] imports and exports links as files. [`observability`] contains the log
//! and the metrics.
//!
//! # Reading order
//!
//! This order leads from `main` to SQLite. It covers about 5,000 lines, excluding tests, and takes one sitting:
//!
//! 1. Startup: `main.rs`, `command.rs`, `config.rs`, `command/serve.rs`, `app.rs`.
//! 2. A connection: `server.rs`, `server/connection.rs`.
//! 3. A request: `web.rs`, `web/state.rs`, `web/router.rs`, `web/middleware/access_log.rs`, `web/fast_path.rs`.
//! 4. Two routes: `web/routes/redirect.rs`, `web/routes/shorten.rs`, `web/respond/error.rs`.
//! 5. The use cases and their values: `shortener.rs`, `shortener/follow.rs`, `link.rs`, `link/document.rs`,
//!    `link/options.rs`, `keygen.rs`, `keygen/random.rs`.
//! 6. The cache in front of the store: `links.rs`, `links/cache.rs`.
//! 7. Counts: `clicks.rs`, `clicks/tallies.rs`.
//! 8. The store: `store.rs`, `store/sqlite.rs`, `store/sqlite/worker.rs`, `store/sqlite/rows.rs`, `store/row.rs`.
//!
//! # Invariants
//! - Only [`web`] and [`server`] use HTTP types, and only [`web`] uses axum. Use cases return values and errors.
//! - Stores don't depend on key strategies, and key strategies don't depend on a particular store. CONTRIBUTING lists
//!   the places to change when you add a store or a strategy.
//! - [`config`] resolves every option, including the `PG*` variables. The clock, the random number generator and the
//!   metrics registry are injected.
//! - A connection stays on one thread, and no long computation runs there. Passwords, QR codes and large bodies are
//!   processed on other threads. Where many such tasks can arrive at once, a [`gate`] limits them.
//! - Each link is stored as one document, so a new link option needs no changes to stores, imports or exports.
//! - No blocking lock is held across `.await`. Every 5xx response is logged exactly once, with its cause, and the
//!   client never sees the cause.
//! - A durable store never loses an acknowledged link. Counting and logging never delay a redirect or make it fail.
//! - From version 1.0 on, each release writes data that the previous release can use.

pub mod app;
pub mod base_url;
pub mod blocked_hosts;
pub mod clicks;
pub mod clock;
pub mod command;
pub mod config;
mod field_names;
mod gate;
pub mod keygen;
pub mod link;
pub mod links;
pub mod observability;
pub mod password;
pub mod policy;
mod priority;
pub mod retention;
pub mod server;
mod shortener;
pub mod store;
#[cfg(test)]
mod strategies;
pub mod tokens;
pub mod transfer;
mod watched_file;
pub mod web;

/// Returns whether `value` is its type's default. Defaults are left out of documents.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
