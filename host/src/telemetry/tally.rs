//! Exact counts of the requests to the few destinations of a canary. If no canary runs, a
//! request costs one load of a pointer.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use galleria_mesh::{Cluster, ResponseFlags};
use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};

use super::metrics::CallRecord;

/// Longer durations are counted as this one.
const DURATION_MAX: Duration = Duration::from_secs(3_600);

/// Two significant digits: durations are accurate to one percent.
const DIGITS: u8 = 2;

/// The counts of one version's requests.
#[derive(Debug, Clone)]
pub(crate) struct RequestCounts {
    pub requests: u64,
    /// Responses with 5xx, from the service or from the mesh.
    pub failures: u64,
    /// In microseconds, from a request's arrival to the end of its response.
    pub durations: Histogram<u64>,
}

/// One version's counts.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<RequestCounts>);

/// A destination whose requests are counted.
#[derive(Debug, Clone)]
pub(crate) struct TalliedDestination {
    /// The full name of its service.
    pub host: String,
    pub subset: Option<String>,
    pub tally: Arc<Tally>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Tallies(ArcSwap<Vec<TalliedDestination>>);

impl Default for RequestCounts {
    fn default() -> Self {
        let max = DURATION_MAX.as_micros() as u64;
        Self {
            requests: 0,
            failures: 0,
            // Fails only for invalid bounds, and these are constants. Without bounds the
            // histogram would grow.
            durations: Histogram::new_with_max(max, DIGITS)
                .unwrap_or_else(|_| unreachable!("the bounds are those of a histogram")),
        }
    }
}

impl RequestCounts {
    pub(crate) fn record(&mut self, failed: bool, duration: Duration) {
        self.requests += 1;
        self.failures += u64::from(failed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.durations.saturating_record(micros);
    }
}

impl Tally {
    /// Starts to count from zero.
    pub(crate) fn reset(&self) {
        *self.lock() = RequestCounts::default();
    }

    pub(crate) fn observed(&self) -> RequestCounts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, RequestCounts> {
        self.0.lock()
    }
}

impl Tallies {
    /// From now on counts these destinations, and no others.
    pub(crate) fn watch(&self, watched: Vec<TalliedDestination>) {
        self.0.store(Arc::new(watched));
    }

    /// Counts one call. A client that disconnected and an injected fault do not count,
    /// since they are not caused by the version.
    pub(crate) fn record(&self, cluster: &Cluster, call: &CallRecord) {
        let watched = self.0.load();
        if watched.is_empty() || call.code == 0 || call.flags.contains(ResponseFlags::FI) {
            return;
        }
        for it in watched.iter() {
            if it.host == cluster.service_fqdn && it.subset == cluster.subset && !cluster.inbound {
                it.tally.lock().record(call.code >= 500, call.duration);
            }
        }
    }
}
