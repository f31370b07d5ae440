//! Tests of the whole service: in this process on a free port, or as the real program.

#![expect(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

mod cache;
mod cli;
mod clients;
mod crash;
mod health;
mod keys;
mod middleware;
mod observability;
mod readme;
mod redirect;
mod shorten;
mod shutdown;
mod store;
mod support;
