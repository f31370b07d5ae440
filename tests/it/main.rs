//! Tests of the whole service: in this process on a free port, or as the real program.

#![expect(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

mod cache;
mod cli;
mod clients;
mod crash;
mod health;
mod instances;
mod keys;
mod middleware;
mod observability;
mod outage;
mod readme;
mod redirect;
mod servers;
mod shorten;
mod shutdown;
mod store;
mod support;
mod transfer;
