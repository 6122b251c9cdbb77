//! An object of any kind: its identity, its metadata and its typed content.

use std::collections::BTreeMap;
use std::fmt;

use super::{
    AuthorizationPolicy, Canary, ConfigMap, CronJob, DaemonSet, Deployment, DestinationRule,
    EnvoyFilter, Gateway, GatewayApiGateway, GatewayApiHttpRoute, HorizontalPodAutoscaler, Ingress,
    Job, LegacyAuthentication, LimitRange, MeshConfig, Namespace, NetworkPolicy, Node,
    PeerAuthentication, PersistentVolume, PersistentVolumeClaim, Pod, PodDisruptionBudget,
    PodPreset, PodTemplate, RbacConfig, ReferenceGrant, ReplicaSet, RequestAuthentication,
    ResourceQuota, Secret, Service, ServiceAccount, ServiceEntry, ServiceRole, ServiceRoleBinding,
    Sidecar, StatefulSet, VirtualService,
};
use crate::kind::{self, Kind, canonical_group};
use crate::{Position, WithPosition};

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// One object from a file or from the API. `Debug` omits `raw`.
#[derive(Clone)]
pub struct Object {
    /// As written, for example `networking.istio.io/v1alpha3`.
    pub api_version: String,
    /// As written, for example `VirtualService`.
    pub kind: String,
    pub metadata: Metadata,
    /// The beginning of the document.
    pub at: Position,
    /// The whole document as JSON, as it was written, with the values of Secrets: never log
    /// it.
    pub raw: serde_json::Value,
    pub resource: Resource,
}

/// The identity of an object: of two objects with the same key, the later one replaces the
/// earlier. The version of `apiVersion` is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The API group, empty for the core group. For kinds that were in `extensions`, their
    /// current group.
    pub group: String,
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Clone)]
pub struct Metadata {
    pub name: WithPosition<String>,
    /// `default` by default; empty for cluster-scoped kinds.
    pub namespace: String,
    pub labels: Labels,
    pub annotations: BTreeMap<String, WithPosition<String>>,
    /// `None` if the host derives one from kind, namespace and name.
    pub uid: Option<String>,
    /// The first of `ownerReferences`.
    pub owner: Option<OwnerReference>,
    /// RFC 3339, if the manifest has one.
    pub creation_timestamp: Option<String>,
}

/// The object that another one belongs to, in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerReference {
    pub kind: String,
    pub name: String,
}

/// The typed content of a kind that the host enforces.
#[derive(Debug, Clone)]
pub enum Resource {
    Namespace(Namespace),
    Node(Node),
    DaemonSet(DaemonSet),
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
    PersistentVolume(PersistentVolume),
    PersistentVolumeClaim(PersistentVolumeClaim),
    LimitRange(LimitRange),
    ResourceQuota(ResourceQuota),
    Gateway(Gateway),
    VirtualService(VirtualService),
    DestinationRule(DestinationRule),
    ServiceEntry(ServiceEntry),
    /// Istio's, with rate limits.
    EnvoyFilter(EnvoyFilter),
    NetworkPolicy(NetworkPolicy),
    Sidecar(Sidecar),
    Ingress(Ingress),
    /// Kind Gateway of the Gateway API.
    GatewayApiGateway(GatewayApiGateway),
    /// Kind HTTPRoute.
    GatewayApiHttpRoute(GatewayApiHttpRoute),
    ReferenceGrant(ReferenceGrant),
    PodPreset(PodPreset),
    AuthorizationPolicy(AuthorizationPolicy),
    /// Kinds ClusterRbacConfig and RbacConfig.
    RbacConfig(RbacConfig),
    ServiceRole(ServiceRole),
    ServiceRoleBinding(ServiceRoleBinding),
    RequestAuthentication(RequestAuthentication),
    PeerAuthentication(PeerAuthentication),
    /// Istio 1.2's Policy and MeshPolicy.
    LegacyAuthentication(LegacyAuthentication),
    /// Kind IstioOperator.
    MeshConfig(MeshConfig),
    /// Accepted without effect: left to the cluster, or unknown.
    NotEnforced,
}

/// Whether the host acts on an object.
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

    /// The template of the pods that may serve requests, and the path of its `spec`.
    pub fn serving(&self) -> Option<(&PodTemplate, &'static str)> {
        match &self.resource {
            Resource::Deployment(it) => Some((&it.template, "spec.template.spec")),
            Resource::ReplicaSet(it) => Some((&it.template, "spec.template.spec")),
            Resource::StatefulSet(it) => Some((&it.template, "spec.template.spec")),
            Resource::DaemonSet(it) => Some((&it.template, "spec.template.spec")),
            Resource::Pod(it) => Some((&it.template, "spec")),
            _ => None,
        }
    }

    /// The template of its pods, whether they serve requests or run to completion, and
    /// the path of the template's `spec`.
    pub fn pod_template(&self) -> Option<(&PodTemplate, &'static str)> {
        match &self.resource {
            Resource::Job(it) => Some((&it.template, "spec.template.spec")),
            Resource::CronJob(it) => {
                Some((&it.job.template, "spec.jobTemplate.spec.template.spec"))
            }
            _ => self.serving(),
        }
    }

    /// Whether it has pods, which serve requests or run a task.
    pub fn is_workload(&self) -> bool {
        self.pod_template().is_some()
    }

    /// `spec.replicas`, if the kind has it.
    pub fn replicas(&self) -> Option<&WithPosition<u32>> {
        match &self.resource {
            Resource::Deployment(it) => Some(&it.replicas),
            Resource::ReplicaSet(it) => Some(&it.replicas),
            Resource::StatefulSet(it) => Some(&it.replicas),
            _ => None,
        }
    }

    /// The same object with `replicas` pods; none if the kind has no `spec.replicas`.
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

    /// Whether it forbids something that the host allows.
    pub fn is_unenforced_restriction(&self) -> bool {
        if let Resource::EnvoyFilter(filter) = &self.resource {
            return filter.is_partly_enforced;
        }
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
