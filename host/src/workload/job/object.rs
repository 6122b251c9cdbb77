//! The pods of one Job as `v1 Pod`s in the store: the active ones and the latest that
//! ended, with their logs.

use std::sync::Arc;

use galleria_manifest::model::PodTemplate;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{JobsContext, PodExit};
use crate::store::{HostObject, owner_of, seconds};
use crate::workload::plan::PodPlan;
use crate::workload::pod::{Life, manifest, unscheduled};
use crate::workload::{PodLog, WorkloadKey};

/// The number of ended pods that are kept.
const ENDED_MAX: usize = 20;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct PodObjects(Vec<PodObject>);

/// One pod of a Job.
pub(super) struct PodObject {
    pub name: String,
    pub plan: Arc<PodPlan>,
    pub template: PodTemplate,
    pub life: Arc<Life>,
    pub phase: JobPodPhase,
}

/// The phase of a pod.
pub(super) enum JobPodPhase {
    Runs,
    /// Failed, and waits before it is restarted.
    Waits(PodExit, Timestamp),
    Ended(PodExit, Timestamp),
}

impl PodObjects {
    pub(super) fn add(&mut self, pod: PodObject) {
        self.0.push(pod);
        let has_ended = |pod: &PodObject| matches!(pod.phase, JobPodPhase::Ended(..));
        let ended = self.0.iter().filter(|pod| has_ended(pod)).count();
        let mut surplus = ended.saturating_sub(ENDED_MAX);
        self.0.retain(|pod| {
            let goes = surplus > 0 && has_ended(pod);
            surplus -= usize::from(goes);
            !goes
        });
    }

    pub(super) fn enter(&mut self, name: &str, phase: JobPodPhase) {
        if let Some(pod) = self.0.iter_mut().find(|pod| pod.name == name) {
            pod.phase = phase;
        }
    }

    /// Removes a pod that was evicted.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|pod| pod.name != name);
    }

    /// The logs of the pods.
    pub(super) fn logs(&self) -> Vec<Arc<PodLog>> {
        self.0.iter().map(|pod| pod.life.log.clone()).collect()
    }

    /// Replaces the Job's pods in the store.
    pub(super) fn report(&self, shared: &JobsContext, job: &WorkloadKey) {
        let reported = self.0.iter().map(PodObject::reported).collect();
        report(shared, job, reported);
    }

    /// Removes the pods of a Job that is gone.
    pub(super) fn forget(shared: &JobsContext, job: &WorkloadKey) {
        report(shared, job, Vec::new());
    }
}

fn report(shared: &JobsContext, job: &WorkloadKey, pods: Vec<HostObject>) {
    shared.store.report(pods, |object| {
        object.kind == "Pod"
            && object.metadata.namespace == job.namespace
            && owner_of(object) == ("Job", &job.name)
    });
}

impl PodObject {
    fn reported(&self) -> HostObject {
        let manifest = manifest(&self.plan, &self.template, &self.name, &self.life);
        let moment = self.life.moment();
        unscheduled(manifest, &self.plan, &moment)
            .unwrap_or_else(|manifest| HostObject::new(manifest, self.status()))
    }

    fn status(&self) -> Value {
        let started = seconds(self.life.created);
        let terminated = |exit: &PodExit, at: Timestamp| {
            json!({"terminated": {
                "exitCode": exit.code,
                "reason": exit.reason,
                "message": exit.message,
                "startedAt": started,
                "finishedAt": seconds(at),
            }})
        };
        let runs = json!({"running": {"startedAt": started}});
        let (phase, state, last) = match &self.phase {
            JobPodPhase::Runs => ("Running", runs, json!({})),
            JobPodPhase::Waits(exit, at) => (
                "Running",
                json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                terminated(exit, *at),
            ),
            JobPodPhase::Ended(exit, at) => {
                let phase = if exit.code == 0 {
                    "Succeeded"
                } else {
                    "Failed"
                };
                (phase, terminated(exit, *at), json!({}))
            }
        };
        let is_ready = matches!(self.phase, JobPodPhase::Runs);
        let ready = if is_ready { "True" } else { "False" };
        json!({
            "phase": phase,
            "startTime": started,
            "qosClass": self.plan.container.resources.qos_class().to_string(),
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": started},
                {"type": "Ready", "status": ready, "lastTransitionTime": started},
            ],
            "containerStatuses": [{
                "name": self.plan.container.name.value,
                "image": self.plan.container.image.value,
                "ready": is_ready,
                "started": is_ready,
                "restartCount": 0,
                "state": state,
                "lastState": last,
            }],
        })
    }
}
