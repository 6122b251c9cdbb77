//! What outlives a snapshot: counters, limits, breakers and ejections.

use std::sync::Arc;
use std::time::Instant;

/// Remembered per calling workload (or the edge) and destination cluster, by
/// the stable names of endpoints. One for the life of the host; every
/// [`crate::compile`] gets the same.
#[derive(Debug)]
pub struct State {}

impl State {
    /// `start` is the beginning of this host's time.
    pub fn new(start: Instant) -> Arc<Self> {
        let _ = start;
        Arc::new(Self {})
    }
}
