//! Tests of the whole service: in this process on a free port, or as the real program.

#![expect(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

mod alerting;
mod batch;
mod cache;
mod canary;
mod cli;
mod clicks;
mod clients;
mod crash;
mod damage;
mod edges;
mod file;
mod hangups;
mod health;
mod hostile;
mod instances;
mod keys;
mod manage;
mod middleware;
mod monitoring;
mod observability;
mod openapi;
mod options;
mod outage;
mod passwords;
mod pooler;
mod promotion;
mod properties;
mod qr;
mod readme;
mod redirect;
mod redis_layout;
mod restore;
mod retries;
mod rollback;
mod rolling;
mod rotation;
mod servers;
mod shorten;
mod shutdown;
mod silence;
mod store;
mod support;
mod transfer;
mod upgrade;
