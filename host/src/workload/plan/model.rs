//! The plan: what [`Workloads`](crate::workload::Workloads) and
//! [`Jobs`](crate::workload::Jobs) run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use galleria_manifest::model::{
    Container, CronJob, GuestOptions, Job, Node, Object, ObjectKey, PodTemplate,
};
use galleria_mesh as mesh;

use crate::guest::{Component, NodeMemory, PodMemory};
use crate::store::uid_of;
use crate::workload::WorkloadKey;
use crate::workload::configuration::Configuration;
use crate::workload::controller::deployment::Rollout;
use crate::workload::controller::stateful_set::Ordinals;
use crate::workload::volumes;

/// Everything that should run.
#[derive(Default)]
pub(crate) struct Plan {
    pub workloads: BTreeMap<ObjectKey, Arc<WorkloadPlan>>,
    pub jobs: BTreeMap<WorkloadKey, Arc<JobPlan>>,
    pub cron_jobs: BTreeMap<WorkloadKey, Arc<CronJobPlan>>,
    /// PodDisruptionBudgets.
    pub budgets: Vec<Arc<Object>>,
    pub node: Node,
}

/// One object with pods that serve requests, ready to be started.
pub(crate) struct WorkloadPlan {
    pub object: Arc<Object>,
    pub controller: Controller,
    pub pods: Arc<PodPlan>,
}

/// The controller that starts and stops the pods, with its settings.
pub(crate) enum Controller {
    Deployment {
        rollout: Rollout,
        progress_deadline: Duration,
        revision_history_limit: usize,
    },
    ReplicaSet {
        replicas: usize,
        min_ready: Duration,
    },
    DaemonSet {
        min_ready: Duration,
        /// Whether a changed template has no effect on the pod that runs.
        on_delete: bool,
    },
    StatefulSet(Ordinals),
    Pod,
}

/// The object that a pod belongs to (`metadata.ownerReferences`).
#[derive(Clone)]
pub(crate) struct Owner {
    pub kind: &'static str,
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// One Job, ready to be started.
pub(crate) struct JobPlan {
    pub object: Arc<Object>,
    pub job: Job,
    pub pods: Arc<PodPlan>,
}

/// One CronJob, whose Jobs are ready to be started.
pub(crate) struct CronJobPlan {
    pub object: Arc<Object>,
    pub cron_job: CronJob,
    pub pods: Arc<PodPlan>,
}

/// One pod template, ready to be started any number of times.
#[derive(Clone)]
pub(crate) struct PodPlan {
    pub identity: Arc<mesh::Workload>,
    /// None for a Pod without a controller.
    pub owner: Option<Owner>,
    /// `metadata.uid` of a Pod without a controller.
    pub uid: Option<String>,
    /// See [`revision`](super::revision).
    pub revision: String,
    pub component: Arc<Component>,
    pub container: Container,
    pub template: PodTemplate,
    /// The `spec` of the template as it was written.
    pub spec: serde_json::Value,
    pub configuration: Arc<Configuration>,
    pub volumes: Vec<volumes::BoundVolume>,
    pub memory_limit: u64,
    /// The memory that the pod is guaranteed; 0 if it requests none.
    pub memory_request: u64,
    /// `limits.cpu` in thousandths of a core; 0 in a manifest means no limit.
    pub cpu_limit: Option<u64>,
    pub grace_period: Duration,
}

impl Owner {
    pub(crate) fn of(kind: &'static str, object: &Object) -> Self {
        Self {
            kind,
            name: object.metadata.name.value.clone(),
            uid: uid_of(object),
        }
    }
}

impl WorkloadPlan {
    /// The number of pods that the object wants.
    pub(in crate::workload) fn replicas(&self) -> usize {
        match &self.controller {
            Controller::Deployment { rollout, .. } => rollout.replicas,
            Controller::ReplicaSet { replicas, .. } => *replicas,
            Controller::StatefulSet(ordinals) => ordinals.wanted.len(),
            Controller::DaemonSet { .. } | Controller::Pod => 1,
        }
    }

    /// The number of pods that must be available for minimum availability. An update of a
    /// StatefulSet stops one pod at a time.
    pub(in crate::workload) fn least_available(&self) -> usize {
        match &self.controller {
            Controller::Deployment { rollout, .. } => rollout.least_available(),
            Controller::StatefulSet(ordinals) => ordinals.wanted.len().saturating_sub(1),
            // Its pod stops before the next one starts.
            Controller::DaemonSet { .. } => 0,
            Controller::ReplicaSet { .. } | Controller::Pod => self.replicas(),
        }
    }

    /// `spec.minReadySeconds`.
    pub(in crate::workload) fn min_ready(&self) -> Duration {
        match &self.controller {
            Controller::Deployment { rollout, .. } => rollout.min_ready,
            Controller::ReplicaSet { min_ready, .. } | Controller::DaemonSet { min_ready, .. } => {
                *min_ready
            }
            Controller::StatefulSet(ordinals) => ordinals.min_ready,
            Controller::Pod => Duration::ZERO,
        }
    }

    pub(in crate::workload) fn is_paused(&self) -> bool {
        match &self.controller {
            Controller::Deployment { rollout, .. } => rollout.paused,
            _ => false,
        }
    }
}

impl PodPlan {
    /// The annotations `galleria.dev/…`.
    pub(crate) fn options(&self) -> &GuestOptions {
        &self.template.options
    }

    /// The plan of the pod `pod` of a StatefulSet, with the labels and the claims that
    /// belong to its name.
    pub(crate) fn of_ordinal(&self, pod: &str, ordinal: usize) -> Self {
        let mut plan = self.clone();
        let labels = &mut plan.template.labels;
        labels.insert("statefulset.kubernetes.io/pod-name".into(), pod.into());
        labels.insert("apps.kubernetes.io/pod-index".into(), ordinal.to_string());
        let revision = format!("{}-{}", self.identity.name, self.revision);
        labels.insert("controller-revision-hash".into(), revision);
        for volume in &mut plan.volumes {
            volume.claim_for(pod);
        }
        plan
    }

    /// The name that a cluster would give to the ReplicaSet of this revision.
    pub(crate) fn replica_set_name(&self) -> String {
        format!("{}-{}", self.identity.name, self.revision)
    }

    /// The memory of one of its pods, as a share of the node's.
    pub(in crate::workload) fn memory(&self, node: &Arc<NodeMemory>) -> Arc<PodMemory> {
        PodMemory::new(self.memory_limit, self.memory_request, node)
    }
}
