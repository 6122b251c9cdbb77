//! Starts and stops pods, like the agent of a node. The controllers decide which pods.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use galleria_manifest::model::Node;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::plan::PodPlan;
use super::{Platform, Pod};
use crate::store::Recorder;

/// See the module's documentation.
pub(super) struct Kubelet {
    platform: Platform,
    /// Stopped pods that finish their requests.
    draining: TaskTracker,
    /// Changes when a pod's readiness or phase does, and when a pod is gone.
    changes: watch::Sender<u64>,
    next_target: usize,
}

/// A pod that accepts no more requests and finishes those in progress.
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

    /// The recorder of events, also for those of workloads.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.platform.recorder
    }

    /// Lets pods start, or wait, as `node` decides.
    pub(super) fn follow_node(&self, node: &Node) {
        self.platform.node.send_if_modified(|current| {
            let changed = current != node;
            if changed {
                current.clone_from(node);
            }
            changed
        });
    }

    /// Starts a pod in the background.
    pub(super) fn start(&mut self, name: String, plan: Arc<PodPlan>) -> Arc<Pod> {
        self.next_target += 1;
        let changes = self.changes.clone();
        Pod::start(&self.platform, name, plan, self.next_target, changes)
    }

    /// Stops a pod; it finishes its requests in the background.
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

    /// Waits until every stopped pod is gone.
    pub(super) async fn all_gone(&self) {
        self.draining.close();
        self.draining.wait().await;
    }
}
