//! A pod as a `v1 Pod`, in the form of a cluster's API server.
//!
//! It contains only what the author of the manifests knows: no values of Secrets, and no
//! internal state of the host.

use galleria_manifest::model::PodTemplate;
use serde_json::{Map, Value, json};

use super::Pod;
use super::life::{Life, Moment, Phase, Termination};
use crate::store::{HostObject, seconds};
use crate::workload::field::{HOST_ADDRESS, NODE_NAME};
use crate::workload::plan::{Owner, PodPlan};

/// The resources of a container.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

impl Pod {
    /// The object and its current status.
    pub(crate) fn object(&self) -> HostObject {
        let manifest = manifest(&self.plan, &self.plan.template, &self.name, &self.life);
        let moment = self.life.moment();
        unscheduled(manifest, &self.plan, &moment)
            .unwrap_or_else(|manifest| HostObject::new(manifest, self.object_status(&moment)))
    }

    fn object_status(&self, moment: &Moment) -> Value {
        let created = seconds(self.life.created);
        let phase = match moment.phase {
            Phase::Starting if moment.last.is_none() => "Pending",
            Phase::Failed => "Failed",
            _ => "Running",
        };
        let condition = |name: &str, holds: bool, since: &str| {
            let status = if holds { "True" } else { "False" };
            json!({"type": name, "status": status, "lastTransitionTime": since})
        };
        let ready = |name: &str| {
            let is_ready = self.is_ready();
            let mut condition = condition(name, is_ready, &seconds(moment.ready_since));
            if !is_ready {
                let container = &self.plan.container.name;
                condition["reason"] = "ContainersNotReady".into();
                condition["message"] =
                    format!("containers with unready status: [{container}]").into();
            }
            condition
        };
        json!({
            "phase": phase,
            "conditions": [
                condition("PodScheduled", true, &created),
                condition("Initialized", true, &created),
                ready("ContainersReady"),
                ready("Ready"),
            ],
            "hostIP": HOST_ADDRESS,
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "startTime": created,
            "qosClass": self.plan.container.resources.qos_class().to_string(),
            "containerStatuses": [self.container_status(moment)],
        })
    }

    fn container_status(&self, moment: &Moment) -> Value {
        let last = moment.last.as_ref().map(terminated).unwrap_or(json!({}));
        json!({
            "name": self.plan.container.name.value,
            "image": self.plan.container.image.value,
            "ready": self.is_ready(),
            "started": matches!(moment.phase, Phase::Running { started: true, .. }),
            "restartCount": self.restarts(),
            "state": state(moment),
            "lastState": last,
        })
    }
}

/// A pod that the node does not accept: it has no node, no address and no container.
///
/// # Errors
/// `manifest` itself, if the node has accepted the pod.
pub(in crate::workload) fn unscheduled(
    mut manifest: Value,
    plan: &PodPlan,
    moment: &Moment,
) -> Result<HostObject, Value> {
    let Phase::Unschedulable { message } = &moment.phase else {
        return Err(manifest);
    };
    if let Some(spec) = manifest["spec"].as_object_mut() {
        spec.remove("nodeName");
    }
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": message, "lastTransitionTime": seconds(moment.started),
    });
    let status = json!({
        "phase": "Pending",
        "conditions": [condition],
        "qosClass": plan.container.resources.qos_class().to_string(),
    });
    Ok(HostObject::new(manifest, status))
}

/// The pod `name` of `plan`, without its status. `template` is that of the plan, with
/// what the owner adds for this pod.
pub(in crate::workload) fn manifest(
    plan: &PodPlan,
    template: &PodTemplate,
    name: &str,
    life: &Life,
) -> Value {
    let annotations = template.annotations.iter();
    let annotations: Map<_, Value> = annotations
        .map(|(name, value)| (name.clone(), value.value.clone().into()))
        .collect();
    let mut manifest = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": plan.identity.namespace,
            "uid": life.uid(),
            "creationTimestamp": seconds(life.created),
            "labels": json!(template.labels),
            "annotations": annotations,
        },
        "spec": spec(plan),
    });
    if let Some(Owner { kind, name, uid }) = &plan.owner {
        manifest["metadata"]["generateName"] = format!("{name}-").into();
        manifest["metadata"]["ownerReferences"] = json!([{
            "apiVersion": if *kind == "Job" { "batch/v1" } else { "apps/v1" },
            "kind": kind,
            "name": name,
            "uid": uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }]);
    }
    manifest
}

/// The `spec` as it was written, with the node, and with the requests and limits that
/// the pod was admitted with.
fn spec(plan: &PodPlan) -> Value {
    let mut spec = plan.spec.clone();
    spec["nodeName"] = NODE_NAME.into();
    let container = &plan.container.resources;
    let lists = [
        ("requests", &container.requests),
        ("limits", &container.limits),
    ];
    for (name, list) in lists {
        for resource in RESOURCES {
            if let Some(quantity) = list.get(resource) {
                let shown = quantity.show(resource);
                spec["containers"][0]["resources"][name][resource] = shown.into();
            }
        }
    }
    spec
}

fn state(moment: &Moment) -> Value {
    match &moment.phase {
        Phase::Unschedulable { .. } => json!({}),
        Phase::Starting => json!({"waiting": {"reason": "ContainerCreating"}}),
        Phase::Waiting { reason, message } => {
            json!({"waiting": {"reason": reason, "message": message}})
        }
        Phase::Running { since, .. } => json!({"running": {"startedAt": seconds(*since)}}),
        Phase::Failed => moment.last.as_ref().map(terminated).unwrap_or_default(),
        Phase::Terminating => json!({"running": {"startedAt": seconds(moment.started)}}),
    }
}

fn terminated(termination: &Termination) -> Value {
    json!({"terminated": {
        "reason": termination.reason,
        "message": termination.message,
        "exitCode": termination.exit_code(),
        "startedAt": seconds(termination.started),
        "finishedAt": seconds(termination.finished),
    }})
}
