//! The deadline of a guest's work on a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Raised inside a guest that still runs at its deadline.
#[derive(Debug, thiserror::Error)]
#[error("the request's deadline has passed")]
pub(crate) struct DeadlinePassed;

/// A deadline that moves. The epoch callback inside the guest reads it, and the delivery of
/// the response's body extends it with every frame from the guest.
#[derive(Debug, Clone)]
pub(crate) struct Deadline(Arc<AtomicU64>);

impl Deadline {
    pub(crate) fn at(instant: Instant) -> Self {
        Self(Arc::new(AtomicU64::new(to_millis(instant))))
    }

    /// For work without a deadline.
    pub(crate) fn never() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    pub(crate) fn set(&self, instant: Instant) {
        self.0.store(to_millis(instant), Ordering::Relaxed);
    }

    pub(crate) fn has_passed(&self) -> bool {
        to_millis(Instant::now()) > self.0.load(Ordering::Relaxed)
    }
}

/// In milliseconds, which fit an atomic for 500 million years.
fn to_millis(instant: Instant) -> u64 {
    u64::try_from(since_origin(instant).as_millis()).unwrap_or(u64::MAX)
}

/// The time from the first call of this function in the process to `instant`.
pub(super) fn since_origin(instant: Instant) -> Duration {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    instant.saturating_duration_since(*ORIGIN.get_or_init(Instant::now))
}
