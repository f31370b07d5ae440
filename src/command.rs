//! What the program does when it is told to.

pub mod healthcheck;
pub mod serve;
