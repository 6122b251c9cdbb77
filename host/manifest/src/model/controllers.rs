//! Pods and their controllers, besides Deployments: ReplicaSet, DaemonSet, StatefulSet.

use std::time::Duration;

use super::{LabelSelector, PersistentVolumeClaim, PodTemplate};
use crate::WithPosition;

/// One pod by name.
#[derive(Debug, Clone)]
pub struct Pod {
    /// With the labels and annotations of the object.
    pub template: PodTemplate,
}

#[derive(Debug, Clone)]
pub struct ReplicaSet {
    /// `spec.replicas`, 1 by default.
    pub replicas: WithPosition<u32>,
    pub selector: LabelSelector,
    pub template: PodTemplate,
    pub min_ready: Duration,
}

/// One pod on each node: on the only one.
#[derive(Debug, Clone)]
pub struct DaemonSet {
    pub selector: LabelSelector,
    /// Its pods also tolerate a node that is unschedulable.
    pub template: PodTemplate,
    pub min_ready: Duration,
    /// `updateStrategy.type: OnDelete`: a changed template has no effect on the pod that runs.
    pub on_delete: bool,
}

#[derive(Debug, Clone)]
pub struct StatefulSet {
    /// `spec.replicas`, 1 by default.
    pub replicas: WithPosition<u32>,
    pub selector: LabelSelector,
    pub template: PodTemplate,
    pub min_ready: Duration,
    /// `spec.ordinals.start`, 0 by default.
    pub first_ordinal: u32,
    pub pod_management: PodManagement,
    pub update: StatefulSetUpdate,
    pub claims: Vec<ClaimTemplate>,
}

/// `spec.podManagementPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodManagement {
    OrderedReady,
    Parallel,
}

/// `spec.updateStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatefulSetUpdate {
    OnDelete,
    /// Pods from this ordinal on are updated; 0 by default.
    RollingUpdate {
        partition: u32,
    },
}

/// One of `spec.volumeClaimTemplates`.
#[derive(Debug, Clone)]
pub struct ClaimTemplate {
    pub name: WithPosition<String>,
    pub claim: PersistentVolumeClaim,
}
