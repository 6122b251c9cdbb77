//! Starts pods and lets them leave, as a node's agent does. Which, and when, is
//! for others to decide.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::plan::PodPlan;
use super::{Platform, Pod, Recorder};

/// See the module's documentation.
pub(super) struct Kubelet {
    platform: Platform,
    /// Pods that left and finish what they have.
    draining: TaskTracker,
    /// Moves when a pod's readiness does, and when a pod is gone.
    changes: watch::Sender<u64>,
    next_target: usize,
}

/// A pod that takes no more requests and finishes those that it has.
pub(super) struct Leaving {
    pub(super) pod: Arc<Pod>,
    gone: Arc<AtomicBool>,
}

impl Leaving {
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

impl Kubelet {
    pub(super) fn new(platform: Platform) -> Self {
        Self {
            platform,
            draining: TaskTracker::new(),
            changes: watch::Sender::new(0),
            next_target: 0,
        }
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Keeps the events of workloads too.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.platform.recorder
    }

    /// Begins to start a pod.
    pub(super) fn start(&mut self, name: String, plan: Arc<PodPlan>) -> Arc<Pod> {
        self.next_target += 1;
        let changes = self.changes.clone();
        Pod::start(&self.platform, name, plan, self.next_target, changes)
    }

    /// Lets a pod leave.
    pub(super) fn stop(&self, pod: Arc<Pod>) -> Leaving {
        pod.terminate();
        let gone = Arc::<AtomicBool>::default();
        let leaving = Leaving {
            pod: pod.clone(),
            gone: gone.clone(),
        };
        let (platform, changes) = (self.platform.clone(), self.changes.clone());
        self.draining.spawn(async move {
            pod.drained(&platform).await;
            gone.store(true, Ordering::Release);
            changes.send_modify(|changes| *changes += 1);
        });
        leaving
    }

    /// Waits until every pod that leaves is gone.
    pub(super) async fn all_gone(&self) {
        self.draining.close();
        self.draining.wait().await;
    }
}
