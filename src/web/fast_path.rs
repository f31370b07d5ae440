//! The fast path, which follows short links without the router.
//!
//! Most requests follow a short link. For these requests, routing and the middleware layers would cost more than the
//! redirect itself. A cached link without a password or visit limit is followed immediately. For all other links,
//! [`FastPath::respond`] does the same as the router's middleware: it acquires a slot for the request, applies the
//! request timeout, and turns a panic into an error response. Both paths produce the same responses, log lines and
//! metrics. The `redirect` benchmark compares the two paths without a network socket, and the `cost` benchmark compares
//! the service with nginx.

use std::{panic::AssertUnwindSafe, time::Duration};

use axum::{
    http::{HeaderMap, HeaderValue, Method, Request, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tokio::time::timeout;

use super::{
    extract::{ids::X_REQUEST_ID, visitor::visitor},
    respond::{
        error::ApiError,
        page::{self, show_error},
        secure_headers,
    },
    routes::redirect::{HEADERS, follow, to_target},
    state::AppState,
};
use crate::{link::Key, shortener::Follower};

/// A handler that follows short links.
pub(crate) struct FastPath {
    state: AppState,
    request_timeout: Duration,
    /// All headers of a redirect, some with placeholder values. Cloning this map is cheaper than inserting the headers
    /// one by one.
    headers: HeaderMap,
}

impl FastPath {
    pub(crate) fn new(state: AppState) -> Self {
        let placeholder = HeaderValue::from_static("");
        let mut headers = HeaderMap::with_capacity(HEADERS);
        for name in [header::LOCATION, header::CACHE_CONTROL, X_REQUEST_ID] {
            headers.insert(name, placeholder.clone());
        }
        secure_headers(&mut headers);
        Self { request_timeout: state.config.limits.request_timeout, state, headers }
    }

    /// Returns the key in the path of a GET request.
    ///
    /// The key may be reserved: see [`Self::covers`].
    pub(crate) fn key<B>(request: &Request<B>) -> Option<Key> {
        if request.method() != Method::GET {
            return None;
        }
        request.uri().path().strip_prefix('/')?.parse().ok()
    }

    /// Returns whether a link can have this key.
    ///
    /// Reserved keys belong to other routes.
    pub(crate) fn covers(&self, key: &Key) -> bool {
        !self.state.shortener.reserved.contains(key.as_str())
    }

    /// Follows a cached link and counts the visit, without waiting.
    ///
    /// If this returns `None` and the fast path [covers](Self::covers) the key, call [`Self::respond`].
    pub(crate) fn try_respond<B>(&self, key: &Key, request: &Request<B>) -> Option<Response> {
        let shortener = &self.state.shortener;
        let link = shortener.try_follow(key, || Follower::Visitor(visitor(request.headers())))?;
        let response = to_target(&link, request.uri().query(), shortener, self.headers.clone());
        Some(response.unwrap_or_else(IntoResponse::into_response))
    }

    /// Follows a link, or returns an error response with the reason.
    pub(crate) async fn respond(&self, key: Key, mut parts: Parts) -> Response {
        let mut response = match self.follow(&key, &mut parts).await {
            Ok(redirect) => redirect,
            Err(error) => {
                let parts = page::is_wanted(&parts.headers).then_some(parts);
                show_error(error.into_response(), parts, &self.state).await
            }
        };
        secure_headers(response.headers_mut());
        response
    }

    async fn follow(&self, key: &Key, parts: &mut Parts) -> Result<Response, ApiError> {
        let _slot = self.state.in_flight.acquire()?;
        let follow = timeout(self.request_timeout, follow(key, parts, &self.state));
        match AssertUnwindSafe(follow).catch_unwind().await {
            Ok(in_time) => in_time.unwrap_or(Err(ApiError::Timeout(self.request_timeout))),
            Err(_) => Err(ApiError::Panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::StatusCode;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{
        app::{App, Dependencies},
        clock::Clock,
        command::Cli,
        link::Link,
        observability::metrics::Metrics,
        store::{History, Store, memory::MemoryStore},
    };

    /// Calls the fast path directly.
    ///
    /// If the test called the whole service instead, it couldn't tell whether the fast path or the router responded.
    #[tokio::test]
    async fn the_fast_path_follows_a_cached_link() {
        let store = Arc::new(MemoryStore::default());
        let key: Key = "k".parse().unwrap();
        let link = Link::new(key.clone(), "https://example.com".parse().unwrap(), Clock::system().now());
        assert!(store.put_if_absent(link, History::default()).await.unwrap());
        let dependencies = Dependencies {
            store,
            metrics: Arc::new(Metrics::new()),
            clock: Clock::system(),
            rng: StdRng::seed_from_u64(1),
        };
        let config = Cli::read(["urlshort".into()]).unwrap().config;
        let App { state } = App::new(&config, dependencies).unwrap();
        let fast_path = FastPath::new(state.clone());
        let answers = |request: axum::http::request::Builder| {
            let request = request.body(()).unwrap();
            fast_path.try_respond(&FastPath::key(&request)?, &request).map(|response| response.status())
        };
        assert_eq!(answers(Request::get("/k")), None, "it is not cached yet");
        state.links.find(&key).await.unwrap();
        assert_eq!(answers(Request::get("/k")), Some(StatusCode::FOUND));
        assert_eq!(answers(Request::head("/k")), None, "only the router answers HEAD");
    }
}
