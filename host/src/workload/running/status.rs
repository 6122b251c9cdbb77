//! The `status` of a workload, and the ReplicaSets of a Deployment.

use std::time::Instant;

use serde_json::{Value, json};

use super::Running;
use crate::store::HostObject;
use crate::workload::controller::progress::Counts;
use crate::workload::plan::Controller;
use crate::workload::revisions::Sizes;

impl Running {
    /// The `status` of the object.
    pub(in crate::workload) fn status(&mut self, now: Instant) -> Value {
        let counts = self.counts(now);
        let generation = self.generation;
        match &self.plan.controller {
            Controller::Deployment { rollout, .. } => {
                let set = self.plan.pods.replica_set_name();
                let least = rollout.least_available();
                let kept_back_by = self.kept_back_by.as_deref();
                self.rollout
                    .json(&counts, least, &set, kept_back_by, generation)
            }
            Controller::ReplicaSet { .. } => json!({
                "observedGeneration": generation,
                "replicas": counts.total,
                "fullyLabeledReplicas": counts.total,
                "readyReplicas": counts.ready,
                "availableReplicas": counts.available,
            }),
            Controller::DaemonSet { .. } => json!({
                "observedGeneration": generation,
                "desiredNumberScheduled": 1,
                "currentNumberScheduled": counts.total,
                "updatedNumberScheduled": counts.updated,
                "numberReady": counts.ready,
                "numberAvailable": counts.available,
                "numberUnavailable": 1_usize.saturating_sub(counts.available),
                "numberMisscheduled": 0,
            }),
            Controller::StatefulSet(_) => {
                let name = &self.plan.pods.identity.name;
                let of_current = self.pods.iter().filter(|it| it.revision == self.current);
                json!({
                    "observedGeneration": generation,
                    "replicas": counts.total,
                    "readyReplicas": counts.ready,
                    "availableReplicas": counts.available,
                    "currentReplicas": of_current.count(),
                    "updatedReplicas": counts.updated,
                    "currentRevision": format!("{name}-{}", self.current),
                    "updateRevision": format!("{name}-{}", self.plan.pods.revision),
                })
            }
            Controller::Pod => match self.pods.first() {
                Some(member) => member.pod.object().status,
                None => json!({"phase": "Pending"}),
            },
        }
    }

    /// The revisions of a Deployment; empty for other kinds.
    pub(in crate::workload) fn replica_sets(&self, now: Instant) -> Vec<HostObject> {
        let Controller::Deployment { rollout, .. } = &self.plan.controller else {
            return Vec::new();
        };
        let sizes = |revision: &str| {
            let mut sizes = Sizes::default();
            for member in self.pods.iter().filter(|it| it.revision == revision) {
                let is_available = member.view().is_available(rollout.min_ready, now);
                sizes.wanted += 1;
                sizes.ready += usize::from(member.pod.is_ready());
                sizes.available += usize::from(is_available);
            }
            sizes
        };
        self.revisions
            .objects(&self.plan, rollout, self.generation, sizes)
    }

    pub(super) fn counts(&self, now: Instant) -> Counts {
        let min_ready = self.plan.min_ready();
        let mut counts = Counts {
            wanted: self.plan.replicas(),
            total: self.pods.len(),
            ..Counts::default()
        };
        for member in &self.pods {
            let is_updated = member.revision == self.plan.pods.revision;
            let is_available = member.view().is_available(min_ready, now);
            counts.updated += usize::from(is_updated);
            counts.updated_available += usize::from(is_updated && is_available);
            counts.ready += usize::from(member.pod.is_ready());
            counts.available += usize::from(is_available);
        }
        counts
    }
}
