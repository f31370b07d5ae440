//! A URL shortener.
//!
//! # Map
//! A request comes in at [`server`], which bounds connections and drains them at the end. [`web`] holds the routes
//! and the middleware; it turns HTTP into the use cases of [`shortener`] and their errors into answers. The use cases
//! ask a [`keygen::KeyStrategy`] for keys and [`links`], a [`store::Store`] behind a cache, for links. They obey a
//! [`policy`] and count [`clicks`]. [`link`] and [`base_url`] are the values that all of them speak of. [`config`] is where
//! every option is declared, [`command`] what the program does with them, [`transfer`] how links come and go in files,
//! [`observability`] what the program tells about itself.
//!
//! # Invariants
//! - Only [`web`] and [`server`] name HTTP types, only [`web`] names axum.
//! - Stores never import each other, nor do strategies; adding one is one new file and one line in its factory.
//! - Only [`config`] reads the environment. No globals: registry, clock and randomness come in from outside.
//! - A connection stays on one thread, so nothing computes for long there: passwords, QR codes and large bodies go to
//!   other threads, by way of a [`gate`] where there can be many.
//! - A link is one document. A new option of it touches no store, no import and no export.
//! - No lock is held across `.await`. Every 5xx is logged exactly once, with its cause; the client never sees it.
//! - A link that was acknowledged is never lost by a durable store. Counting and logging never block or fail a redirect.

pub mod app;
pub mod base_url;
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
pub mod server;
pub mod shortener;
pub mod store;
#[cfg(test)]
mod strategies;
pub mod tokens;
pub mod transfer;
pub mod web;

/// Returns whether `value` is its type's default. Documents leave such values out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
