//! The wall clock, injected so that tests can set the time.

use std::{fmt, sync::Arc};

use jiff::Timestamp;

use crate::link::time::whole_milliseconds;

/// A source of the current time. It is cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// Creates a clock that gets the time by calling `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the current time with millisecond precision.
    pub fn now(&self) -> Timestamp {
        let now = (self.0)();
        whole_milliseconds(now).unwrap_or(now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Clock").field(&self.now()).finish()
    }
}
