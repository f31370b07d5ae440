//! The short way of a redirect: answered before the router is asked.
//!
//! Most requests are for a link that is in memory and asks for nothing but to be followed. For those, routing, time
//! limits and boxed futures cost more than the answer itself: there is nothing to wait for, so nothing can take long.
//! All others, and whatever needs to be asked of the store, go the long way. Both are the same to clients, log and
//! metrics; `cargo bench --bench cost` shows what it saves.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    http::{Method, Request},
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use tower::Service;

use super::{access::Route, redirect, secure_headers, visitor::visitor};
use crate::shortener::Shortener;

/// A service with the short way in front of it.
#[derive(Clone)]
pub struct Quick<S> {
    inner: S,
    shortener: Arc<Shortener>,
}

impl<S> Quick<S> {
    pub(super) fn new(inner: S, shortener: Arc<Shortener>) -> Self {
        Self { inner, shortener }
    }

    fn answer<B>(&self, request: &Request<B>) -> Option<Response> {
        if request.method() != Method::GET {
            return None;
        }
        let key = request.uri().path().strip_prefix('/')?.parse().ok()?;
        let link = self.shortener.follow_at_once(&key, || visitor(request.headers()))?;
        let response = redirect::to_target(&link, request.uri().query(), &self.shortener);
        let mut response = response.unwrap_or_else(IntoResponse::into_response);
        secure_headers(response.headers_mut());
        response.extensions_mut().insert(Route(redirect::ROUTE));
        Some(response)
    }
}

impl<S, B> Service<Request<B>> for Quick<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.answer(&request) {
            Some(response) => Either::Left(ready(Ok(response))),
            None => Either::Right(self.inner.call(request)),
        }
    }
}
