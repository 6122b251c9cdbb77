//! What every Kubernetes object has: identity, labels, and one of the kinds.

use std::collections::BTreeMap;
use std::fmt;

use super::{
    Canary, ConfigMap, CronJob, Deployment, DestinationRule, Gateway, GatewayApiGateway,
    GatewayApiHttpRoute, HorizontalPodAutoscaler, Ingress, Job, LimitRange, Namespace,
    PersistentVolumeClaim, Pod, PodDisruptionBudget, PodPreset, PodTemplate, ReferenceGrant,
    ReplicaSet, ResourceQuota, Secret, Service, ServiceAccount, ServiceEntry, StatefulSet,
    VirtualService,
};
use crate::kind::{self, Kind, canonical_group};
use crate::{Located, Position};

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// One object as a file (or, later, the API) gave it. `Debug` leaves `raw` out.
#[derive(Clone)]
pub struct Object {
    /// As written, for example `networking.istio.io/v1alpha3`.
    pub api_version: String,
    /// As written, for example `VirtualService`.
    pub kind: String,
    pub metadata: Metadata,
    /// Where the document begins.
    pub at: Position,
    /// The whole document as JSON, as it was written: what `kubectl get -o yaml` shows.
    /// Secret values are in here; never log it.
    pub raw: serde_json::Value,
    pub resource: Resource,
}

/// What names an object: two objects with equal keys are the same object, and
/// the later one replaces the earlier. The version part of `apiVersion` is not in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The API group, empty for the core group; the old `extensions` group of
    /// Deployment, ReplicaSet and Ingress is mapped to today's.
    pub group: String,
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Clone)]
pub struct Metadata {
    pub name: Located<String>,
    /// `default` where a namespaced object names none; empty for cluster-scoped kinds.
    pub namespace: String,
    pub labels: Labels,
    pub annotations: BTreeMap<String, Located<String>>,
    /// RFC 3339, where the manifest has one.
    pub creation_timestamp: Option<String>,
}

/// The kinds that the host enforces, and the rest.
#[derive(Debug, Clone)]
pub enum Resource {
    Namespace(Namespace),
    Deployment(Deployment),
    Pod(Pod),
    ReplicaSet(ReplicaSet),
    StatefulSet(StatefulSet),
    HorizontalPodAutoscaler(HorizontalPodAutoscaler),
    /// Flagger's.
    Canary(Canary),
    PodDisruptionBudget(PodDisruptionBudget),
    Job(Job),
    CronJob(CronJob),
    Service(Service),
    ConfigMap(ConfigMap),
    Secret(Secret),
    ServiceAccount(ServiceAccount),
    PersistentVolumeClaim(PersistentVolumeClaim),
    LimitRange(LimitRange),
    ResourceQuota(ResourceQuota),
    Gateway(Gateway),
    VirtualService(VirtualService),
    DestinationRule(DestinationRule),
    ServiceEntry(ServiceEntry),
    Ingress(Ingress),
    /// Kind Gateway of the Gateway API.
    GatewayApiGateway(GatewayApiGateway),
    /// Kind HTTPRoute.
    GatewayApiHttpRoute(GatewayApiHttpRoute),
    ReferenceGrant(ReferenceGrant),
    PodPreset(PodPreset),
    /// Accepted and not acted on: the cluster's business, or not known here.
    NotEnforced,
}

/// Whose business an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Enforced,
    NotEnforced,
}

impl Object {
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            group: canonical_group(&self.api_version, &self.kind).to_owned(),
            kind: self.kind.clone(),
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.value.clone(),
        }
    }

    /// The template of the pods that may serve requests, and where it stands.
    pub fn serving(&self) -> Option<(&PodTemplate, &'static str)> {
        match &self.resource {
            Resource::Deployment(it) => Some((&it.template, "spec.template.spec")),
            Resource::ReplicaSet(it) => Some((&it.template, "spec.template.spec")),
            Resource::StatefulSet(it) => Some((&it.template, "spec.template.spec")),
            Resource::Pod(it) => Some((&it.template, "spec")),
            _ => None,
        }
    }

    /// Whether it has pods, be they for serving or for a task.
    pub fn is_workload(&self) -> bool {
        let has_task = matches!(self.resource, Resource::Job(_) | Resource::CronJob(_));
        has_task || self.serving().is_some()
    }

    /// `spec.replicas` of a kind that has it.
    pub fn replicas(&self) -> Option<&Located<u32>> {
        match &self.resource {
            Resource::Deployment(it) => Some(&it.replicas),
            Resource::ReplicaSet(it) => Some(&it.replicas),
            Resource::StatefulSet(it) => Some(&it.replicas),
            _ => None,
        }
    }

    /// The same object with `replicas` pods; none where its kind has no such number.
    pub fn scaled(&self, replicas: u32) -> Option<Self> {
        let mut scaled = self.clone();
        let count = match &mut scaled.resource {
            Resource::Deployment(it) => &mut it.replicas,
            Resource::ReplicaSet(it) => &mut it.replicas,
            Resource::StatefulSet(it) => &mut it.replicas,
            _ => return None,
        };
        count.value = replicas;
        scaled.raw["spec"]["replicas"] = replicas.into();
        Some(scaled)
    }

    /// Whether it restricts something that the host does not restrict.
    pub fn is_unenforced_restriction(&self) -> bool {
        let group = canonical_group(&self.api_version, &self.kind);
        kind::find(group, &self.kind).is_some_and(Kind::is_unenforced_restriction)
    }

    pub fn class(&self) -> Class {
        match self.resource {
            Resource::NotEnforced => Class::NotEnforced,
            _ => Class::Enforced,
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("api_version", &self.api_version)
            .field("kind", &self.kind)
            .field("metadata", &self.metadata)
            .field("at", &self.at)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforced => "enforced",
            Self::NotEnforced => "left to the cluster",
        })
    }
}
