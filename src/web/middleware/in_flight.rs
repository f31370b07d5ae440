//! Limits shared by all requests: slots for requests in progress, and a byte budget for request bodies.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::web::respond::error::ApiError;

/// The maximum total size in bytes of bodies being read or decoded.
const BODY_BYTES: usize = 16 << 20;

/// The slots and the body budget of the public listener.
#[derive(Clone)]
pub struct InFlight {
    slots: Arc<Semaphore>,
    limit: u32,
    body_bytes: Arc<Semaphore>,
}

impl InFlight {
    /// Creates limits that allow at most `limit` requests in progress.
    pub fn new(limit: u32) -> Self {
        let slots = Arc::new(Semaphore::new(limit as usize));
        Self { slots, limit, body_bytes: Arc::new(Semaphore::new(BODY_BYTES)) }
    }

    /// Acquires a slot for a request without a body. Dropping the permit releases the slot.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] if no slot is free.
    pub(crate) fn acquire(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.slots.try_acquire().map_err(|_| ApiError::Overloaded)
    }

    /// Waits until no request is in progress.
    pub(crate) async fn wait_for_all(&self) {
        // Ignore the result: acquiring fails only on a closed semaphore, and `slots` is never closed.
        let _ = self.slots.acquire_many(self.limit).await;
    }
}

/// A request's slot.
///
/// The slot is released while the body arrives, so that slow clients don't occupy slots.
#[derive(Clone)]
pub(crate) struct Slot {
    in_flight: InFlight,
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Slot {
    fn acquire(in_flight: InFlight) -> Result<Self, ApiError> {
        let slot = Self { in_flight, permit: Arc::default() };
        slot.resume()?;
        Ok(slot)
    }

    /// Releases the slot until [`Slot::resume`] is called.
    pub(crate) fn pause(&self) {
        self.set(None);
    }

    /// Reacquires the slot.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] if no slot is free.
    pub(crate) fn resume(&self) -> Result<(), ApiError> {
        let permit = self.in_flight.slots.clone().try_acquire_owned().map_err(|_| ApiError::Overloaded)?;
        self.set(Some(permit));
        Ok(())
    }

    fn set(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.permit.lock() = permit;
    }

    /// Takes `bytes` bytes from the body budget.
    ///
    /// Dropping the permit returns them to the budget.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] if too little of the budget is left.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let bytes = u32::try_from(bytes).map_err(|_| ApiError::BodyTooLarge)?;
        self.in_flight.body_bytes.clone().try_acquire_many_owned(bytes).map_err(|_| ApiError::Overloaded)
    }
}

/// Acquires a slot for a request, or returns 503 if none is free.
pub(crate) async fn limit(State(in_flight): State<InFlight>, mut request: Request, next: Next) -> Response {
    match Slot::acquire(in_flight) {
        Ok(slot) => {
            request.extensions_mut().insert(slot.clone());
            let response = next.run(request).await;
            drop(slot);
            response
        }
        Err(error) => error.into_response(),
    }
}

/// Completes a request with an unsafe method even if its client disconnects.
///
/// Otherwise, a change could reach the store but not the cache, the log or the metrics. This middleware wraps
/// [`limit`], so the request keeps its slot until it ends, and the drain during shutdown waits for it.
pub(crate) async fn finish_changes(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => ApiError::Internal(error.into()).into_response(),
        },
    }
}
