//! The kinds and apiVersions that are known, and what to say about the others.

use super::{
    config_map, deployment, destination_rule, gateway, ingress, secret, service, service_entry,
    storage, virtual_service,
};
use crate::codes;
use crate::decode::{Decoder, Fields, nearest};
use crate::model::{Namespace, Resource, ServiceAccount};
use crate::yaml::Node;

/// A kind that the host enforces.
pub(super) struct Kind {
    /// The group's name of today, empty for the core group.
    pub(super) group: &'static str,
    pub(super) kind: &'static str,
    pub(super) api_versions: &'static [&'static str],
    pub(super) namespaced: bool,
    /// Reads everything but apiVersion, kind and metadata.
    pub(super) read: fn(Fields<'_, '_>) -> Option<Resource>,
}

const ISTIO: &[&str] = &[
    "networking.istio.io/v1",
    "networking.istio.io/v1beta1",
    "networking.istio.io/v1alpha3",
];
const CORE: &[&str] = &["v1"];

const fn core(kind: &'static str, read: fn(Fields<'_, '_>) -> Option<Resource>) -> Kind {
    Kind {
        group: "",
        kind,
        api_versions: CORE,
        namespaced: true,
        read,
    }
}

const fn istio(kind: &'static str, read: fn(Fields<'_, '_>) -> Option<Resource>) -> Kind {
    Kind {
        group: "networking.istio.io",
        kind,
        api_versions: ISTIO,
        namespaced: true,
        read,
    }
}

static ENFORCED: &[Kind] = &[
    Kind {
        namespaced: false,
        ..core("Namespace", namespace)
    },
    core("Service", service::read),
    core("ConfigMap", config_map::read),
    core("Secret", secret::read),
    core("ServiceAccount", service_account),
    core("PersistentVolumeClaim", storage::read),
    Kind {
        group: "apps",
        kind: "Deployment",
        api_versions: &[
            "apps/v1",
            "apps/v1beta2",
            "apps/v1beta1",
            "extensions/v1beta1",
        ],
        namespaced: true,
        read: deployment::read,
    },
    Kind {
        group: "networking.k8s.io",
        kind: "Ingress",
        api_versions: &[
            "networking.k8s.io/v1",
            "networking.k8s.io/v1beta1",
            "extensions/v1beta1",
        ],
        namespaced: true,
        read: ingress::read,
    },
    istio("Gateway", gateway::read),
    istio("VirtualService", virtual_service::read),
    istio("DestinationRule", destination_rule::read),
    istio("ServiceEntry", service_entry::read),
];

/// Real kinds that are a cluster's business, of the groups above and others
/// that stand beside them: never a misspelling, and which of them have no namespace.
static LEFT_TO_CLUSTER: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "Pod",
            "ReplicationController",
            "Endpoints",
            "Event",
            "LimitRange",
            "ResourceQuota",
            "PodTemplate",
            "Node",
            "PersistentVolume",
            "Binding",
            "ComponentStatus",
        ],
    ),
    (
        "apps",
        &[
            "ReplicaSet",
            "StatefulSet",
            "DaemonSet",
            "ControllerRevision",
        ],
    ),
    (
        "extensions",
        &[
            "ReplicaSet",
            "DaemonSet",
            "NetworkPolicy",
            "PodSecurityPolicy",
        ],
    ),
    (
        "networking.k8s.io",
        &["NetworkPolicy", "IngressClass", "IPAddress", "ServiceCIDR"],
    ),
    (
        "networking.istio.io",
        &[
            "Sidecar",
            "EnvoyFilter",
            "WorkloadEntry",
            "WorkloadGroup",
            "ProxyConfig",
        ],
    ),
];

const CLUSTER_SCOPED: &[&str] = &[
    "Node",
    "PersistentVolume",
    "ComponentStatus",
    "IngressClass",
    "IPAddress",
    "ServiceCIDR",
    "StorageClass",
    "CSIDriver",
    "CSINode",
    "VolumeAttachment",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "APIService",
    "PriorityClass",
    "RuntimeClass",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "PodSecurityPolicy",
    "CertificateSigningRequest",
    "FlowSchema",
    "PriorityLevelConfiguration",
    "MeshPolicy",
    "ClusterRbacConfig",
    "GatewayClass",
    "ClusterIssuer",
];

/// What the reader makes of an apiVersion and kind.
pub(super) enum Known {
    Enforced(&'static Kind),
    LeftToCluster {
        namespaced: bool,
    },
    /// Reported already.
    Refused,
}

impl Known {
    pub(super) fn namespaced(&self) -> bool {
        match self {
            Self::Enforced(kind) => kind.namespaced,
            Self::LeftToCluster { namespaced } => *namespaced,
            Self::Refused => true,
        }
    }
}

/// The API group, with the old `extensions` mapped to where its kinds live today.
pub(crate) fn canonical_group<'a>(api_version: &'a str, kind: &str) -> &'a str {
    match (
        api_version.split_once('/').map_or("", |(group, _)| group),
        kind,
    ) {
        ("extensions", "Deployment" | "ReplicaSet" | "DaemonSet") => "apps",
        ("extensions", "Ingress" | "NetworkPolicy") => "networking.k8s.io",
        (group, _) => group,
    }
}

/// Finds the kind, or says what is wrong with it.
pub(super) fn known(d: &mut Decoder, node: &Node, api_version: &str, kind: &str) -> Known {
    let group = canonical_group(api_version, kind);
    if let Some(known) = ENFORCED
        .iter()
        .find(|known| known.group == group && known.kind == kind)
    {
        if known.api_versions.contains(&api_version) {
            return Known::Enforced(known);
        }
        return refuse_version(d, node, api_version, known);
    }
    let in_cluster = LEFT_TO_CLUSTER
        .iter()
        .any(|(left, kinds)| *left == group && kinds.contains(&kind));
    if !in_cluster && let Some(refused) = misspelled(d, node, api_version, group, kind) {
        return refused;
    }
    let message = format!("{kind} is left to the cluster; the host does not act on it");
    d.note(node.mark, codes::LEFT_TO_CLUSTER, message);
    Known::LeftToCluster {
        namespaced: !CLUSTER_SCOPED.contains(&kind),
    }
}

fn refuse_version(d: &mut Decoder, node: &Node, api_version: &str, known: &Kind) -> Known {
    let shown = d.show(api_version);
    let supported = known.api_versions.join(", ");
    let message = format!(
        "{} has no apiVersion {shown}; supported: {supported}",
        known.kind
    );
    report_at(d, node, "apiVersion", codes::API_VERSION, message)
}

/// A kind of a known group that does not exist there, or a group that is
/// nearly a known one: an error, where a slip explains it.
fn misspelled(
    d: &mut Decoder,
    node: &Node,
    api_version: &str,
    group: &str,
    kind: &str,
) -> Option<Known> {
    let same_kind = ENFORCED.iter().find(|known| known.kind == kind);
    let known_group = LEFT_TO_CLUSTER.iter().any(|(known, _)| *known == group);
    if known_group {
        if let Some(known) = same_kind {
            return Some(refuse_version(d, node, api_version, known));
        }
        let enforced = ENFORCED.iter().map(|known| known.kind);
        let left = LEFT_TO_CLUSTER
            .iter()
            .flat_map(|(_, kinds)| kinds.iter().copied());
        let near = nearest(kind, enforced.chain(left))?;
        let shown = d.show(kind);
        let message = format!("there is no kind {shown}; did you mean `{near}`?");
        return Some(report_at(d, node, "kind", codes::KIND, message));
    }
    let known = same_kind?;
    let version = api_version
        .split_once('/')
        .map_or("", |(_, version)| version);
    let distance = strsim::osa_distance(group, known.group);
    if known.group.is_empty() || distance > 3 {
        return None;
    }
    let shown = d.show(api_version);
    let message = format!(
        "there is no apiVersion {shown}; did you mean `{}/{version}`?",
        known.group
    );
    Some(report_at(
        d,
        node,
        "apiVersion",
        codes::API_VERSION,
        message,
    ))
}

fn report_at(
    d: &mut Decoder,
    node: &Node,
    field: &'static str,
    code: crate::Code,
    message: String,
) -> Known {
    let mark = node.get(field).map_or(node.mark, |value| value.mark);
    d.under(field, |d| d.error(mark, code, message));
    Known::Refused
}

fn namespace(mut fields: Fields<'_, '_>) -> Option<Resource> {
    // `spec` holds only finalizers, which a cluster writes.
    fields.ignore(&["spec"]);
    fields.finish(&[]);
    Some(Resource::Namespace(Namespace {}))
}

fn service_account(fields: Fields<'_, '_>) -> Option<Resource> {
    fields.finish(&[
        "secrets",
        "imagePullSecrets",
        "automountServiceAccountToken",
    ]);
    Some(Resource::ServiceAccount(ServiceAccount {}))
}
