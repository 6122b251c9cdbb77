//! The pods of the current snapshot, for what runs beside the request path: the
//! status report, the metrics and the admin API.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Pod;

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct PodRegistry(ArcSwap<Vec<Arc<Pod>>>);

impl PodRegistry {
    /// Replaces all pods.
    pub(crate) fn set(&self, pods: Vec<Arc<Pod>>) {
        self.0.store(Arc::new(pods));
    }

    pub(crate) fn all(&self) -> Arc<Vec<Arc<Pod>>> {
        self.0.load_full()
    }
}
