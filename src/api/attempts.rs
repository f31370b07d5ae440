//! How often passwords may be tried.

use std::{net::IpAddr, time::Duration};

use super::{client::ClientIp, error::ApiError, rate_limit::Limiter};
use crate::link::Key;

/// Tries of one client, at whatever links, per minute.
const PER_CLIENT: u32 = 10;

/// Tries at one link, by whatever clients, per minute.
const PER_LINK: u32 = 60;

/// Remembers who has tried at what.
pub struct Attempts {
    clients: Limiter<IpAddr>,
    links: Limiter<Key>,
}

impl Default for Attempts {
    fn default() -> Self {
        let minute = Duration::from_mins(1);
        Self { clients: Limiter::new(PER_CLIENT, minute), links: Limiter::new(PER_LINK, minute) }
    }
}

impl Attempts {
    /// Takes one try of `client` at the link `key`, or says how long it has to wait.
    pub(super) fn admit(&self, client: ClientIp, key: &Key) -> Result<(), ApiError> {
        self.clients
            .admit(&client.limit_key())
            .and_then(|()| self.links.admit(key))
            .map_err(ApiError::RateLimited)
    }
}
