//! What the program does when it is told to.

pub mod export;
pub mod healthcheck;
pub mod import;
pub mod serve;
pub mod terminal;
mod transfer;
