//! The service's own URL, as the client sees it.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, Version, header, request::Parts},
};

use crate::{
    base_url::BaseUrl,
    config::ServerOptions,
    web::{extract::client::from_right, respond::error::ApiError, state::AppState},
};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The maximum length of a host with its port, in bytes.
///
/// A DNS name can be up to 253 bytes long, but public names are much shorter.
const MAX_HOST: usize = 255;

/// Returns whether the request has a valid `Host` (RFC 9112, section 3.2).
///
/// There must be exactly one such header. Before HTTP/1.1, it may be missing.
pub(crate) fn has_valid_host(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        (None, _) => version < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// Returns whether `host` contains only bytes that a host may contain.
///
/// The grammar is `uri-host [ ":" port ]` (RFC 3986, section 3.2.2). A slash or a question mark would turn part of the
/// host into a path or a query.
fn is_host(host: &[u8]) -> bool {
    let is_valid = |byte: &u8| {
        matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']')
            || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
    };
    host.len() <= MAX_HOST && host.iter().all(is_valid)
}

/// The base of short URLs: `BASE_URL`, or else the request's host.
pub(crate) struct ServiceUrl(pub(crate) BaseUrl);

impl FromRequestParts<AppState> for ServiceUrl {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        service_url(parts, &state.config.server).map(Self)
    }
}

fn service_url(parts: &Parts, options: &ServerOptions) -> Result<BaseUrl, ApiError> {
    if let Some(base) = &options.base_url {
        return Ok(base.clone());
    }
    // Proxies append to X-Forwarded-For, but many of them replace X-Forwarded-Proto. X-Forwarded-Proto can therefore
    // have fewer elements than there are trusted proxies.
    let scheme = from_right(&parts.headers, &X_FORWARDED_PROTO).take(options.trusted_proxies.into()).last();
    let scheme = match scheme {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => "https",
        _ => "http",
    };
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    let is_usable = !host.is_empty() && is_host(host.as_bytes());
    let base = is_usable.then(|| format!("{scheme}://{host}/").parse().ok()).flatten();
    base.ok_or(ApiError::InvalidHost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_one_host() {
        for (version, hosts, is_valid) in [
            (Version::HTTP_11, &["sho.rt"][..], true),
            (Version::HTTP_11, &["[2001:db8::1]:8080"], true),
            (Version::HTTP_11, &[""], true),
            (Version::HTTP_11, &[], false),
            (Version::HTTP_10, &[], true),
            (Version::HTTP_10, &["sho.rt", "sho.rt"], false),
            (Version::HTTP_11, &["sho.rt", "sho.rt"], false),
            (Version::HTTP_11, &["sho.rt/path"], false),
            (Version::HTTP_11, &["user@sho.rt"], false),
            (Version::HTTP_11, &["sho rt"], false),
            (Version::HTTP_11, &[&"x".repeat(MAX_HOST + 1)], false),
        ] {
            let headers = hosts.iter().map(|host| (header::HOST, host.parse().unwrap())).collect();
            assert_eq!(has_valid_host(version, &headers), is_valid, "{version:?} {hosts:?}");
        }
    }
}
