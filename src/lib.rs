//! A URL shortener.
//!
//! # Map
//! [`server`] accepts connections, limits them, and drains them at shutdown. [`web`] handles their requests: the router
//! passes a request through the middleware to an API route or a web page, and both call use cases of [`shortener`]. Use
//! cases get keys from a [`keygen::KeyStrategy`], and links from [`links`], which is a [`store::Store`] behind a cache.
//! They check targets against a [`policy`] and count [`clicks`]. Links to [`blocked_hosts`] are neither created nor
//! followed. Clients that manage links have [`tokens`]. Tokens and blocked hosts can come from a [`watched_file`],
//! which is reloaded when it changes. [`retention`] removes expired links and old statistics. All of these share the
//! value types in [`link`] and [`base_url`]. [`app`] assembles the service.
//!
//! [`command`] contains the command line and its subcommands. [`config`] contains the options, in groups that each
//! component takes as parameters. [`transfer`] imports and exports links as files. [`observability`] contains the log
//! and the metrics.
//!
//! # Reading order
//! From `main` to SQLite in one sitting, about 5,000 lines without tests:
//!
//! 1. The start: `main.rs`, `command.rs`, `config.rs`, `command/serve.rs`, `app.rs`.
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
//! - Stores and key strategies never import each other. CONTRIBUTING lists the places to change for a new one.
//! - [`config`] resolves every option, including the `PG*` variables. The clock, randomness and the metrics registry
//!   are injected.
//! - A connection stays on one thread, and no long computation runs there. Passwords, QR codes and large bodies are
//!   processed on other threads, behind a [`gate`] if there can be many of them.
//! - A link is one document. A new option needs no changes to stores, imports or exports.
//! - No lock is held across `.await`. Every 5xx is logged exactly once, with its cause; the client never sees the
//!   cause.
//! - A durable store never loses an acknowledged link. Counting and logging never delay or fail a redirect.
//! - From 1.0 on, the previous release can use data written by this one.

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

/// Returns whether `value` is its type's default. Defaults are left out of documents.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
