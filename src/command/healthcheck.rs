//! `urlshort healthcheck`: for the image's HEALTHCHECK, which has no curl.

use std::{error::Error, net::IpAddr, time::Duration};

use crate::config::ServerOptions;

/// Shorter than the time that container runtimes give a health check.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Checks that the instance on the configured port lives.
///
/// # Errors
/// If it does not answer in time, or not with a success.
pub fn run(options: &ServerOptions) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        // An instance that listens on every address is asked on the loopback one.
        let host = match options.host {
            IpAddr::V4(address) if address.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(address) if address.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        let url = format!("http://{}/healthz", std::net::SocketAddr::new(host, options.port));
        // The instance is on this machine: a proxy of the environment can't reach it, or would answer in its place.
        let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        client.get(url).send().await?.error_for_status()?;
        Ok(())
    })
}
