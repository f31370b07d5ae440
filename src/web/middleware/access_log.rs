//! The outermost layer, which logs and counts every request.
//!
//! Refused, failed and abandoned requests are logged and counted as well. The layer also assigns each request an id and
//! a client address.

use std::{
    convert::Infallible,
    future::{Ready, ready as ready_now},
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::{
    extract::MatchedPath,
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::future::{BoxFuture, Either, FutureExt};
use pin_project_lite::pin_project;
use prometheus::{Histogram, IntCounter};
use tower::Service;
use tracing::Level;

use crate::{
    base_url::BaseUrl,
    link::Key,
    observability::{metrics::Metrics, request_line::RequestLine},
    shortener::{Shortener, fallback::FallbackSource},
    web::{
        extract::{
            client::{ClientIp, UnknownProxy, client_ip},
            ids::{RequestId, RequestIds, TraceId, X_REQUEST_ID},
            service_url::has_valid_host,
        },
        fast_path::FastPath,
        respond::{
            error::{ApiError, Failed},
            fallback::FallbackTaken,
        },
        routes::redirect,
        state::{AppState, Draining},
    },
};

/// The status to log if the client disconnects early.
///
/// nginx uses the same status, so most dashboards recognise it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The route label for a request that matches no route.
const UNMATCHED: &str = "unmatched";

/// The outcomes of a redirect that the service level indicator distinguishes.
const REDIRECT_OUTCOMES: [&str; 4] = ["redirect", "client_error", "server_error", "abandoned"];

/// A service that logs and counts its requests. [`AccessLog::for_peer`] returns a copy for each connection.
#[derive(Clone)]
pub struct AccessLog<S> {
    inner: S,
    observer: Arc<Observer>,
    peer: Option<IpAddr>,
}

/// The part of the access log that all connections share.
pub(crate) struct Observer {
    /// The fast path, or `None` on the operators' listener.
    fast_path: Option<Arc<FastPath>>,
    metrics: Arc<Metrics>,
    shortener: Arc<Shortener>,
    draining: Draining,
    trusted_proxies: usize,
    /// The warning about an uncounted proxy. `None` on the operators' listener, or if `TRUSTED_PROXIES` is set.
    unknown_proxy: Option<UnknownProxy>,
    /// True if `BASE_URL` uses HTTPS. Responses then include an HSTS header (RFC 6797).
    strict_transport: bool,
    ids: Arc<RequestIds>,
    /// The counter for the usual case, a 302 in response to GET. It is looked up only once.
    redirected: IntCounter,
    redirected_seconds: Histogram,
}

impl Observer {
    pub(crate) fn new(fast_path: Option<FastPath>, state: &AppState) -> Self {
        let server = &state.config.server;
        for outcome in REDIRECT_OUTCOMES {
            // Create each series with the value zero. Prometheus sees no increase in the first sample of a series, so
            // it would otherwise miss an instance's first errors.
            state.metrics.http_request_duration.with_label_values(&[redirect::ROUTE, outcome]);
        }
        let redirected = [redirect::ROUTE, "GET", "302"];
        let is_direct = server.trusted_proxies == 0 && fast_path.is_some();
        Self {
            fast_path: fast_path.map(Arc::new),
            unknown_proxy: is_direct.then(UnknownProxy::new),
            redirected: state.metrics.http_requests.with_label_values(&redirected),
            redirected_seconds: state
                .metrics
                .http_request_duration
                .with_label_values(&[redirect::ROUTE, outcome(StatusCode::FOUND)]),
            metrics: state.metrics.clone(),
            shortener: state.shortener.clone(),
            draining: state.draining.clone(),
            trusted_proxies: server.trusted_proxies.into(),
            strict_transport: server.base_url.as_ref().is_some_and(BaseUrl::is_https),
            ids: state.request_ids.clone(),
        }
    }

    /// Logs and counts a completed or abandoned request.
    fn record(&self, seen: &Seen<'_>, route: &str, end: End<'_>) {
        let End { status, error, fallback } = end;
        let duration = seen.start.elapsed();
        let is_usual = route == redirect::ROUTE && status == StatusCode::FOUND && fallback.is_none();
        if is_usual && seen.method == Method::GET {
            self.redirected.inc();
            self.redirected_seconds.observe(duration.as_secs_f64());
        } else {
            let labels = [route, method_label(seen.method), status.as_str()];
            self.metrics.http_requests.with_label_values(&labels).inc();
            // A redirect to a fallback page must not count towards the service level for redirects.
            let outcome = if fallback.is_some() { "fallback" } else { outcome(status) };
            let duration_seconds = self.metrics.http_request_duration.with_label_values(&[route, outcome]);
            duration_seconds.observe(duration.as_secs_f64());
        }
        let line = RequestLine {
            method: seen.method.as_str(),
            path: seen.uri.path(),
            route,
            status: status.as_u16(),
            duration,
            request_id: seen.request_id.to_str().unwrap_or_default(),
            trace_id: seen.trace_id.map(TraceId::as_str),
            client_ip: seen.client.0,
            user_agent: seen.user_agent.and_then(|agent| agent.to_str().ok()),
            fallback: fallback.map(FallbackSource::as_str),
            error,
        };
        line.log(match route {
            // Probes arrive every few seconds. A store failure that makes a probe fail is logged separately.
            "/healthz" | "/readyz" => Level::DEBUG,
            _ if status.is_server_error() => Level::ERROR,
            "/metrics" => Level::DEBUG,
            _ => Level::INFO,
        });
    }

    /// Adds the headers that don't depend on the route.
    fn complete(&self, headers: &mut HeaderMap, request_id: HeaderValue) {
        headers.insert(X_REQUEST_ID, request_id);
        if self.strict_transport {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        if self.draining.has_begun() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// The outcome of a request.
struct End<'a> {
    status: StatusCode,
    /// The cause of a 5xx response.
    error: Option<&'a str>,
    fallback: Option<FallbackSource>,
}

/// The parts of a request that the access log records.
struct Seen<'a> {
    start: Instant,
    method: &'a Method,
    uri: &'a Uri,
    user_agent: Option<&'a HeaderValue>,
    request_id: &'a HeaderValue,
    trace_id: Option<&'a TraceId>,
    client: ClientIp,
}

impl<S> AccessLog<S> {
    pub(crate) fn new(inner: S, observer: Observer) -> Self {
        Self { inner, observer: Arc::new(observer), peer: None }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.observer.metrics
    }

    /// Logs and counts a request that could not be parsed.
    pub(crate) fn record_malformed(&self, status: StatusCode, error: &hyper::Error) {
        let labels = [UNMATCHED, "other", status.as_str()];
        self.observer.metrics.http_requests.with_label_values(&labels).inc();
        tracing::info!(
            status = status.as_u16(),
            peer = self.peer.map(tracing::field::display),
            %error,
            "malformed request"
        );
    }
}

impl<S: Clone> AccessLog<S> {
    /// Returns the service for a connection from `peer`.
    pub fn for_peer(&self, peer: IpAddr) -> Self {
        Self { peer: Some(peer), ..self.clone() }
    }
}

impl<S, B> hyper::service::Service<Request<B>> for AccessLog<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible> + Clone,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<
        Ready<Result<Response, Infallible>>,
        Observed<Either<BoxFuture<'static, Result<Response, Infallible>>, S::Future>>,
    >;

    fn call(&self, mut request: Request<B>) -> Self::Future {
        let (start, observer) = (Instant::now(), &self.observer);
        let peer = self.peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let client = client_ip(peer, request.headers(), observer.trusted_proxies);
        let request_id = observer.ids.of(request.headers());
        let trace_id = TraceId::of(request.headers());
        let followed = observer.fast_path.as_ref().zip(FastPath::key(&request));
        let immediate = if has_valid_host(request.version(), request.headers()) {
            let redirect =
                followed.as_ref().and_then(|(fast_path, key)| fast_path.try_respond(key, &request));
            redirect.map(|response| (response, redirect::ROUTE))
        } else {
            Some((ApiError::InvalidHost.into_response(), UNMATCHED))
        };
        if let Some((mut response, route)) = immediate {
            let seen = Seen {
                start,
                method: request.method(),
                uri: request.uri(),
                user_agent: request.headers().get(header::USER_AGENT),
                request_id: &request_id,
                trace_id: trace_id.as_ref(),
                client,
            };
            let (status, cause) = (response.status(), take_cause(&mut response));
            observer.record(&seen, route, End { status, error: cause.as_deref(), fallback: None });
            observer.complete(response.headers_mut(), request_id);
            return Either::Left(ready_now(Ok(response)));
        }
        if let Some(unknown_proxy) = &observer.unknown_proxy {
            unknown_proxy.check(peer, request.headers());
        }
        observer.metrics.http_requests_in_flight.inc();
        let followed = followed.filter(|(fast_path, key)| fast_path.covers(key));
        let exchange = Exchange {
            observer: observer.clone(),
            start,
            method: request.method().clone(),
            uri: request.uri().clone(),
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
            request_id: request_id.clone(),
            trace_id,
            client,
            route: followed.is_some().then_some(redirect::ROUTE),
            ended: false,
        };
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(RequestId(request_id));
        let response = match followed {
            Some((fast_path, key)) => {
                let (fast_path, (parts, _)) = (fast_path.clone(), request.into_parts());
                Either::Left(async move { Ok(fast_path.respond(key, parts).await) }.boxed())
            }
            // The router is always ready, so there is no need to call `poll_ready`.
            None => Either::Right(self.inner.clone().call(request)),
        };
        Either::Right(Observed { response, exchange: Some(exchange) })
    }
}

pin_project! {
    /// A future that resolves to a response and records the request.
    pub struct Observed<F> {
        #[pin]
        response: F,
        exchange: Option<Exchange>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Observed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.response.poll(context));
        if let Some(exchange) = this.exchange.take() {
            exchange.end(&mut response);
        }
        Poll::Ready(Ok(response))
    }
}

/// A request whose response is pending.
///
/// If the exchange is dropped before [`Exchange::end`] is called, the client has disconnected.
struct Exchange {
    observer: Arc<Observer>,
    start: Instant,
    method: Method,
    uri: Uri,
    user_agent: Option<HeaderValue>,
    request_id: HeaderValue,
    trace_id: Option<TraceId>,
    client: ClientIp,
    /// The route, if the fast path handles the request. Otherwise, the router determines it.
    route: Option<&'static str>,
    ended: bool,
}

impl Exchange {
    fn end(mut self, response: &mut Response) {
        self.ended = true;
        let matched = response.extensions_mut().remove::<MatchedPath>();
        let route = self.route.or(matched.as_ref().map(MatchedPath::as_str)).unwrap_or(UNMATCHED);
        let (status, cause) = (response.status(), take_cause(response));
        let fallback = response.extensions_mut().remove().map(|FallbackTaken(source)| source);
        self.record(route, End { status, error: cause.as_deref(), fallback });
        let request_id = std::mem::replace(&mut self.request_id, HeaderValue::from_static(""));
        self.observer.complete(response.headers_mut(), request_id);
    }

    fn record(&self, route: &str, end: End<'_>) {
        self.observer.metrics.http_requests_in_flight.dec();
        let seen = Seen {
            start: self.start,
            method: &self.method,
            uri: &self.uri,
            user_agent: self.user_agent.as_ref(),
            request_id: &self.request_id,
            trace_id: self.trace_id.as_ref(),
            client: self.client,
        };
        self.observer.record(&seen, route, end);
    }

    /// Returns the likely route of an abandoned request.
    ///
    /// Abandoned redirects must be counted as redirects, because they violate the service level.
    fn probable_route(&self) -> &'static str {
        let key = self.uri.path().strip_prefix('/').and_then(|key| key.parse::<Key>().ok());
        let is_redirect = matches!(self.method, Method::GET | Method::HEAD)
            && key.is_some_and(|key| !self.observer.shortener.reserved.contains(key.as_str()));
        if is_redirect { redirect::ROUTE } else { UNMATCHED }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended
            && let Ok(status) = StatusCode::from_u16(CLIENT_CLOSED_REQUEST)
        {
            self.record(self.probable_route(), End { status, error: None, fallback: None });
        }
    }
}

/// Removes the error from a response, and returns a 5xx error's cause.
fn take_cause(response: &mut Response) -> Option<String> {
    let Failed(error) = response.extensions_mut().remove()?;
    response.status().is_server_error().then(|| error.cause())
}

/// Returns the label for a method.
///
/// Clients can invent methods, but the number of label values must be bounded.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [Method; 8] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ];
    const LABELS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
    KNOWN.iter().zip(LABELS).find(|(known, _)| *known == method).map_or("other", |(_, label)| label)
}

/// Returns the outcome label for a status.
fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        CLIENT_CLOSED_REQUEST => "abandoned",
        100..300 => "success",
        300..400 => "redirect",
        400..500 => "client_error",
        _ => "server_error",
    }
}
