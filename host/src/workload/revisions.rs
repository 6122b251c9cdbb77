//! The revisions of a workload. Those of a Deployment are shown as ReplicaSets, which
//! `kubectl rollout history` lists and `kubectl rollout undo` returns to.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::controller::deployment::Rollout;
use super::plan::{PodPlan, WorkloadPlan};
use crate::store::{HostObject, uid, uid_of};

/// The label that distinguishes the pods of different revisions.
pub(super) const TEMPLATE_HASH: &str = "pod-template-hash";

const REVISION: &str = "deployment.kubernetes.io/revision";

const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of a Deployment that its ReplicaSets do not have.
const NOT_COPIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Revisions {
    /// By number; the last one is the newest.
    known: BTreeMap<u64, Revision>,
}

struct Revision {
    plan: Arc<PodPlan>,
    /// The template as it was written, with the label of the revision.
    template: Value,
    /// The annotations of the Deployment while this was its newest revision, such as
    /// `kubernetes.io/change-cause`.
    annotations: Map<String, Value>,
    created: Timestamp,
}

/// The number of pods of one revision.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizes {
    pub wanted: usize,
    pub ready: usize,
    pub available: usize,
}

impl Revisions {
    /// Makes the template of `plan` the newest revision. A revision that exists already
    /// gets a new number, as after an undo.
    pub(super) fn take(&mut self, plan: &WorkloadPlan) {
        let hash = &plan.pods.revision;
        let newest = self.known.last_key_value();
        let number = newest.map_or(1, |(number, _)| number + 1);
        if let Some((newest, revision)) = newest
            && revision.plan.revision == *hash
        {
            let newest = *newest;
            if let Some(revision) = self.known.get_mut(&newest) {
                revision.plan = plan.pods.clone();
                revision.annotations = annotations(plan);
            }
            return;
        }
        let before = self
            .known
            .iter()
            .find(|(_, revision)| revision.plan.revision == *hash)
            .map(|(number, _)| *number);
        let before = before.and_then(|number| self.known.remove(&number));
        let mut template = plan.object.written_template().clone();
        template["metadata"]["labels"][TEMPLATE_HASH] = hash.clone().into();
        let revision = Revision {
            plan: plan.pods.clone(),
            template,
            annotations: annotations(plan),
            created: before.map_or_else(Timestamp::now, |before| before.created),
        };
        self.known.insert(number, revision);
    }

    /// The plan of the pods of `revision`.
    pub(super) fn plan(&self, revision: &str) -> Option<&Arc<PodPlan>> {
        self.known
            .values()
            .map(|known| &known.plan)
            .find(|plan| plan.revision == revision)
    }

    /// The number of the newest revision; 0 before the first.
    pub(super) fn newest(&self) -> u64 {
        self.known.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// Drops the oldest revisions without pods. Keeps the newest one and `limit` others.
    pub(super) fn trim(&mut self, limit: usize, has_pods: impl Fn(&str) -> bool) {
        let newest = self.newest();
        let idle: Vec<u64> = self
            .known
            .iter()
            .filter(|(number, known)| **number != newest && !has_pods(&known.plan.revision))
            .map(|(number, _)| *number)
            .collect();
        for number in idle.iter().take(idle.len().saturating_sub(limit)) {
            self.known.remove(number);
        }
    }

    /// The ReplicaSets of the Deployment `owner`.
    pub(super) fn objects(
        &self,
        owner: &WorkloadPlan,
        rollout: &Rollout,
        generation: u64,
        sizes: impl Fn(&str) -> Sizes,
    ) -> Vec<HostObject> {
        let object = &owner.object;
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name.value);
        self.known
            .iter()
            .map(|(number, revision)| {
                let hash = &revision.plan.revision;
                let Sizes {
                    wanted,
                    ready,
                    available,
                } = sizes(hash);
                let mut selector = object.written_selector().clone();
                if selector.is_null() {
                    selector = json!({"matchLabels": owner.pods.template.labels});
                }
                selector["matchLabels"][TEMPLATE_HASH] = hash.clone().into();
                let set = revision.plan.replica_set_name();
                let mut annotations = revision.annotations.clone();
                for (name, value) in [
                    (REVISION, number.to_string()),
                    (DESIRED, rollout.replicas.to_string()),
                    (MOST, rollout.most().to_string()),
                ] {
                    annotations.insert(name.to_owned(), value.into());
                }
                let raw = json!({
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "metadata": {
                        "name": set,
                        "namespace": namespace,
                        "uid": uid("ReplicaSet", namespace, &set),
                        "creationTimestamp": format!("{:.0}", revision.created),
                        "labels": revision.template["metadata"]["labels"],
                        "annotations": annotations,
                        "ownerReferences": [{
                            "apiVersion": "apps/v1",
                            "kind": "Deployment",
                            "name": name,
                            "uid": uid_of(object),
                            "controller": true,
                            "blockOwnerDeletion": true,
                        }],
                    },
                    "spec": {
                        "replicas": wanted,
                        "minReadySeconds": rollout.min_ready.as_secs(),
                        "selector": selector,
                        "template": revision.template,
                    },
                });
                let status = json!({
                    "replicas": wanted,
                    "fullyLabeledReplicas": wanted,
                    "readyReplicas": ready,
                    "availableReplicas": available,
                    "observedGeneration": generation,
                });
                HostObject::new(raw, status)
            })
            .collect()
    }
}

/// The annotations that a ReplicaSet takes over from its Deployment.
fn annotations(plan: &WorkloadPlan) -> Map<String, Value> {
    let written = plan.object.raw["metadata"]["annotations"].as_object();
    let annotations = written.into_iter().flatten();
    annotations
        .filter(|(name, _)| *name != NOT_COPIED)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
