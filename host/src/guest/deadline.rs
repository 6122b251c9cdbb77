//! The moment at which a guest's work on a request ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Raised inside a guest that is still running at its deadline.
#[derive(Debug, thiserror::Error)]
#[error("the request's deadline has passed")]
pub(crate) struct DeadlinePassed;

/// A deadline that moves: the epoch callback inside the guest reads it while
/// the response's body, outside, pushes it on with every piece that is read.
#[derive(Debug, Clone)]
pub(crate) struct Deadline(Arc<AtomicU64>);

impl Deadline {
    pub(crate) fn at(instant: Instant) -> Self {
        Self(Arc::new(AtomicU64::new(to_millis(instant))))
    }

    /// For work that may take as long as it likes.
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

/// Milliseconds since the process first asked: fits an atomic for 500 million years.
fn to_millis(instant: Instant) -> u64 {
    let since = instant.saturating_duration_since(origin());
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}
