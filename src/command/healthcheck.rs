//! `urlshort healthcheck`: a health check for the image, which doesn't contain curl.

use std::{error::Error, net::IpAddr, time::Duration};

use crate::config::ServerOptions;

/// The request timeout.
///
/// It must be shorter than the timeout of `HEALTHCHECK` in the Dockerfile.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Checks that the instance on the configured port is alive.
///
/// # Errors
/// An error if the request fails or times out, or if the response has an error status.
pub fn run(options: &ServerOptions) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        // An instance that listens on every address also listens on loopback.
        let host = match options.host {
            IpAddr::V4(address) if address.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(address) if address.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        let url = format!("http://{}/healthz", std::net::SocketAddr::new(host, options.port));
        // Ignore any proxy from the environment. The instance runs on this machine, and a proxy couldn't reach it or
        // would respond in its place.
        let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        client.get(url).send().await?.error_for_status()?;
        Ok(())
    })
}
