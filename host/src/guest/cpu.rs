//! The CPU time of one pod: how long the code of its guests ran.
//!
//! Measured by the clock around each poll of a guest ([`metered`]), or, where
//! wasmtime polls it, around each stay in it ([`meter_inside`]). That costs two
//! readings of the clock; asking the kernel for the thread's own time would
//! cost ten times as much. What the kernel gives to other processes meanwhile
//! is counted too, which matters on an overloaded machine alone.
//!
//! It does not count the host's work for a pod: HTTP, routing, SQL.

mod metered;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(super) use metered::{meter_inside, metered};

/// What the instances of one pod use together.
#[derive(Debug)]
pub(crate) struct PodCpu {
    used_nanos: AtomicU64,
}

impl PodCpu {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            used_nanos: AtomicU64::new(0),
        })
    }

    /// Time on a core since the pod began, over all cores.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_nanos.load(Ordering::Relaxed))
    }

    fn charge(&self, spent: Duration) {
        let nanos = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.used_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}
