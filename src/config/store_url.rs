//! The URL of a store.

use std::{fmt, path::PathBuf, str::FromStr};

use thiserror::Error;

/// The kind and address of a store.
///
/// The URL may contain a password, so `Debug` shows only the kind.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`
    Memory,
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`, completed from the standard `PG*` variables.
    Postgres(String),
    /// `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://…` for TLS. Commas separate the nodes of a cluster.
    Redis(String),
}

/// The error for an invalid store URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("takes memory:, sqlite:PATH, postgres://… or redis://…")]
pub struct InvalidStoreUrl;

impl StoreUrl {
    fn scheme(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
        }
    }
}

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        match text.split_once(':').ok_or(InvalidStoreUrl)? {
            ("memory", "") => Ok(Self::Memory),
            // SQLite would give each connection its own temporary database.
            ("sqlite", "" | "//" | ":memory:") => Err(InvalidStoreUrl),
            ("sqlite", path) => Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into())),
            ("postgres" | "postgresql", rest) if rest.starts_with("//") => Ok(Self::Postgres(text.into())),
            ("redis" | "rediss", rest) if rest.starts_with("//") => Ok(Self::Redis(text.into())),
            _ => Err(InvalidStoreUrl),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.scheme())
    }
}
