//! The outermost layer: gives each request its id and its client, and when it is over writes the log line and counts
//! it, whatever became of it.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    extract::MatchedPath,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header},
    response::Response,
};
use pin_project_lite::pin_project;
use prometheus::{Histogram, IntCounter};
use tower::Service;

use super::{
    AppState, Draining,
    client::{ClientIp, client_ip},
    error::Cause,
    redirect,
    trace_id::TraceId,
};
use crate::{link::Key, observability::metrics::Metrics, shortener::Shortener};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken from a client, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// Bytes of a path or a user agent that are logged; what is longer is cut.
const MAX_LOGGED: usize = 512;

/// What nginx says, and so everyone's dashboards, of a client that did not wait for its answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// What the service level indicator tells apart among the answers to a request for a link.
const REDIRECT_OUTCOMES: [&str; 4] = ["redirect", "client_error", "server_error", "abandoned"];

/// A service that is observed. [`AccessLog::for_peer`] makes one for each connection.
#[derive(Clone)]
pub struct AccessLog<S> {
    inner: S,
    observer: Arc<Observer>,
    peer: Option<IpAddr>,
}

/// The route of an answer that no router has given.
#[derive(Clone, Copy)]
pub(super) struct Route(pub(super) &'static str);

/// What all connections share.
pub(super) struct Observer {
    metrics: Arc<Metrics>,
    shortener: Arc<Shortener>,
    draining: Draining,
    trusted_proxies: usize,
    /// Browsers are told to come by TLS only (RFC 6797) where the service's own address says that they can.
    strict_transport: bool,
    /// Ids are this process's own prefix and a running number.
    id_prefix: u64,
    next_id: AtomicU64,
    /// The series of what happens most, found once for all: a GET that is redirected with 302.
    redirected: IntCounter,
    redirected_seconds: Histogram,
}

impl Observer {
    pub(super) fn new(state: &AppState) -> Self {
        let settings = &state.settings;
        for outcome in REDIRECT_OUTCOMES {
            // From the start and at zero: Prometheus sees no increase where a series begins, so the first errors of an
            // instance would count for nothing.
            state.metrics.http_request_duration.with_label_values(&[redirect::ROUTE, outcome]);
        }
        let redirected = [redirect::ROUTE, "GET", "302"];
        Self {
            redirected: state.metrics.http_requests.with_label_values(&redirected),
            redirected_seconds: state
                .metrics
                .http_request_duration
                .with_label_values(&[redirect::ROUTE, outcome(StatusCode::FOUND)]),
            metrics: state.metrics.clone(),
            shortener: state.shortener.clone(),
            draining: state.draining.clone(),
            trusted_proxies: settings.trusted_proxies,
            strict_transport: settings.base_url.as_ref().is_some_and(crate::base_url::BaseUrl::is_https),
            id_prefix: settings.instance,
            next_id: AtomicU64::new(1),
        }
    }

    fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        let sane = |id: &&HeaderValue| {
            (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        if let Some(id) = headers.get(X_REQUEST_ID).filter(sane) {
            return id.clone();
        }
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{:016x}-{number:x}", self.id_prefix)).expect("hexadecimal is visible")
    }
}

impl<S> AccessLog<S> {
    pub(super) fn new(inner: S, observer: Observer) -> Self {
        Self { inner, observer: Arc::new(observer), peer: None }
    }

    /// Where connections are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.observer.metrics
    }
}

impl<S: Clone> AccessLog<S> {
    /// The same service for a connection from `peer`.
    pub fn for_peer(&self, peer: IpAddr) -> Self {
        Self { peer: Some(peer), ..self.clone() }
    }
}

impl<S, B> Service<Request<B>> for AccessLog<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Observed<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let exchange = Exchange::begin(self.observer.clone(), self.peer, &request);
        request.extensions_mut().insert(exchange.client);
        Observed { response: self.inner.call(request), exchange: Some(exchange) }
    }
}

pin_project! {
    /// The response of an observed service.
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

/// One request on its way. Where it is dropped without an answer, the client has gone, and that is what is recorded.
struct Exchange {
    observer: Arc<Observer>,
    start: Instant,
    method: Method,
    uri: Uri,
    user_agent: Option<HeaderValue>,
    request_id: HeaderValue,
    trace_id: Option<TraceId>,
    client: ClientIp,
    ended: bool,
}

impl Exchange {
    fn begin<B>(observer: Arc<Observer>, peer: Option<IpAddr>, request: &Request<B>) -> Self {
        let peer = peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        observer.metrics.http_requests_in_flight.inc();
        Self {
            start: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
            request_id: observer.request_id(request.headers()),
            trace_id: TraceId::of(request.headers()),
            client: client_ip(peer, request.headers(), observer.trusted_proxies),
            ended: false,
            observer,
        }
    }

    fn end(mut self, response: &mut Response) {
        self.ended = true;
        let matched = response.extensions_mut().remove::<MatchedPath>();
        let quick = response.extensions_mut().remove::<Route>();
        let route = matched.as_ref().map(MatchedPath::as_str).or(quick.map(|Route(route)| route));
        let route = route.unwrap_or("unmatched");
        let cause = response.extensions_mut().remove::<Cause>();
        self.record(route, response.status(), cause.as_ref().map(|Cause(cause)| &**cause));

        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, std::mem::replace(&mut self.request_id, HeaderValue::from_static("")));
        if self.observer.strict_transport {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        if self.observer.draining.has_begun() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    fn record(&self, route: &str, status: StatusCode, error: Option<&str>) {
        let duration = self.start.elapsed();
        let metrics = &self.observer.metrics;
        metrics.http_requests_in_flight.dec();
        if route == redirect::ROUTE && status == StatusCode::FOUND && self.method == Method::GET {
            self.observer.redirected.inc();
            self.observer.redirected_seconds.observe(duration.as_secs_f64());
        } else {
            let labels = [route, method_label(&self.method), status.as_str()];
            metrics.http_requests.with_label_values(&labels).inc();
            let duration_seconds = metrics.http_request_duration.with_label_values(&[route, outcome(status)]);
            duration_seconds.observe(duration.as_secs_f64());
        }
        self.log(route, status, duration, error);
    }

    /// The route of a request that was given up before its answer could tell. Redirects have to be among the rest: a
    /// client that waits in vain for one is what the service level is about.
    fn probable_route(&self) -> &'static str {
        let key = self.uri.path().strip_prefix('/').and_then(|key| key.parse::<Key>().ok());
        let is_redirect = matches!(self.method, Method::GET | Method::HEAD)
            && key.is_some_and(|key| !self.observer.shortener.reserved.contains(key.as_str()));
        if is_redirect { redirect::ROUTE } else { "unmatched" }
    }

    fn log(&self, route: &str, status: StatusCode, duration: Duration, error: Option<&str>) {
        macro_rules! log_at {
            ($level:ident) => {
                tracing::$level!(
                    method = self.method.as_str(),
                    path = cut(self.uri.path()),
                    route,
                    status = status.as_u16(),
                    duration_ms = (duration.as_secs_f64() * 1e6).round() / 1e3,
                    request_id = self.request_id.to_str().unwrap_or_default(),
                    trace_id = self.trace_id.as_ref().map(TraceId::as_str),
                    client_ip = %self.client.0,
                    user_agent = self.user_agent.as_ref().and_then(|agent| agent.to_str().ok()).map(cut),
                    error,
                    "request"
                )
            };
        }
        match route {
            _ if status.is_server_error() => log_at!(error),
            "/healthz" | "/readyz" | "/metrics" => log_at!(debug),
            _ => log_at!(info),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended
            && let Ok(status) = StatusCode::from_u16(CLIENT_CLOSED_REQUEST)
        {
            self.record(self.probable_route(), status, None);
        }
    }
}

/// The method as a label; methods can be invented, labels must be bounded.
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

/// The kind of answer.
fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        CLIENT_CLOSED_REQUEST => "abandoned",
        100..300 => "success",
        300..400 => "redirect",
        400..500 => "client_error",
        _ => "server_error",
    }
}

/// At most [`MAX_LOGGED`] bytes of `text`.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LOGGED)]
}
