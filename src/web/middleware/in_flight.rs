//! The bounds that all requests share: slots for those in progress, and bytes of bodies that are being read.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::web::respond::error::ApiError;

/// Bytes that the bodies being read may hold together.
const BODY_BYTES: usize = 16 << 20;

/// The slots of a listener, and the budget of request bodies.
#[derive(Clone)]
pub struct InFlight {
    slots: Arc<Semaphore>,
    limit: u32,
    body_bytes: Arc<Semaphore>,
}

impl InFlight {
    /// `limit` requests in progress at most.
    pub fn new(limit: u32) -> Self {
        let slots = Arc::new(Semaphore::new(limit as usize));
        Self { slots, limit, body_bytes: Arc::new(Semaphore::new(BODY_BYTES)) }
    }

    /// Waits until no request is in progress.
    pub async fn wait_for_all(&self) {
        // Fails only on a closed semaphore, and nothing closes it.
        let _ = self.slots.acquire_many(self.limit).await;
    }
}

/// The slot of one request. It is given up while the body arrives, so that slow clients hold no slots.
#[derive(Clone)]
pub(crate) struct Slot {
    in_flight: InFlight,
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Slot {
    fn take(in_flight: InFlight) -> Result<Self, ApiError> {
        let slot = Self { in_flight, permit: Arc::default() };
        slot.resume()?;
        Ok(slot)
    }

    /// Gives the slot up until [`Slot::resume`].
    pub(crate) fn pause(&self) {
        self.set(None);
    }

    /// Takes a slot again.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] where none is free.
    pub(crate) fn resume(&self) -> Result<(), ApiError> {
        let permit = self.in_flight.slots.clone().try_acquire_owned().map_err(|_| ApiError::Overloaded)?;
        self.set(Some(permit));
        Ok(())
    }

    fn set(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.permit.lock() = permit;
    }

    /// Takes `bytes` of the budget for bodies, until the permit is dropped.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] where the budget is used up.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let bytes = u32::try_from(bytes).map_err(|_| ApiError::BodyTooLarge)?;
        self.in_flight.body_bytes.clone().try_acquire_many_owned(bytes).map_err(|_| ApiError::Overloaded)
    }
}

/// Middleware: holds a slot for each request, or answers 503.
pub(crate) async fn limit(State(in_flight): State<InFlight>, mut request: Request, next: Next) -> Response {
    match Slot::take(in_flight) {
        Ok(slot) => {
            request.extensions_mut().insert(slot.clone());
            let response = next.run(request).await;
            drop(slot);
            response
        }
        Err(error) => error.into_response(),
    }
}

/// Middleware: a request that may change something runs to its end even if its client hangs up. Otherwise the store
/// could be changed and the cache, the log and the metrics would not know. It runs outside [`limit`], so the request
/// keeps its slot to its end and the drain waits for it.
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
