//! The `status` of a Deployment, for `kubectl rollout status`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::controller::progress::{Counts, Progressing};

/// The conditions of a Deployment, with the times of their changes.
#[derive(Default)]
pub(super) struct DeploymentStatus {
    available: Option<Condition>,
    progressing: Option<Condition>,
}

struct Condition {
    holds: &'static str,
    reason: &'static str,
    /// When `reason` last changed.
    updated: Timestamp,
    /// When `holds` last changed.
    since: Timestamp,
}

impl DeploymentStatus {
    /// `kept_back_by` is the PodDisruptionBudget that blocks the rollout.
    pub(super) fn json(
        &mut self,
        counts: &Counts,
        least_available: usize,
        progressing: Progressing,
        replica_set: &str,
        kept_back_by: Option<&str>,
        generation: u64,
    ) -> Value {
        let (holds, reason, mut message) = match progressing {
            Progressing::Complete => (
                "True",
                "NewReplicaSetAvailable",
                format!("ReplicaSet \"{replica_set}\" has successfully progressed."),
            ),
            Progressing::Underway => (
                "True",
                "ReplicaSetUpdated",
                format!("ReplicaSet \"{replica_set}\" is progressing."),
            ),
            Progressing::Paused => (
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused".to_owned(),
            ),
            Progressing::DeadlineExceeded => (
                "False",
                "ProgressDeadlineExceeded",
                format!("ReplicaSet \"{replica_set}\" has timed out progressing."),
            ),
        };
        if let Some(budget) = kept_back_by {
            let waits = format!(" It waits for the PodDisruptionBudget \"{budget}\".");
            message.push_str(&waits);
        }
        let progressing = Condition::follow(&mut self.progressing, holds, reason);
        let progressing = progressing.json("Progressing", &message);
        let (holds, reason, message) = if counts.available >= least_available {
            let message = "Deployment has minimum availability.";
            ("True", "MinimumReplicasAvailable", message)
        } else {
            let message = "Deployment does not have minimum availability.";
            ("False", "MinimumReplicasUnavailable", message)
        };
        let available = Condition::follow(&mut self.available, holds, reason);
        json!({
            "observedGeneration": generation,
            "replicas": counts.total,
            "updatedReplicas": counts.updated,
            "readyReplicas": counts.ready,
            "availableReplicas": counts.available,
            "unavailableReplicas": counts.total.max(counts.wanted) - counts.available,
            "conditions": [available.json("Available", message), progressing],
        })
    }
}

impl Condition {
    fn follow<'a>(
        known: &'a mut Option<Self>,
        holds: &'static str,
        reason: &'static str,
    ) -> &'a Self {
        let now = Timestamp::now();
        let before = known.take();
        let since = match &before {
            Some(before) if before.holds == holds => before.since,
            _ => now,
        };
        let updated = match &before {
            Some(before) if before.holds == holds && before.reason == reason => before.updated,
            _ => now,
        };
        known.insert(Self {
            holds,
            reason,
            updated,
            since,
        })
    }

    fn json(&self, name: &str, message: &str) -> Value {
        json!({
            "type": name,
            "status": self.holds,
            "reason": self.reason,
            "message": message,
            "lastUpdateTime": format!("{:.0}", self.updated),
            "lastTransitionTime": format!("{:.0}", self.since),
        })
    }
}
