//! The kinds and apiVersions that are known.

use super::{
    autoscaler, bare_pod, canary, config_map, cron_job, deployment, destination_rule,
    disruption_budget, gateway, gateway_api, ingress, job, limit_range, pod_preset, replica_set,
    resource_quota, secret, service, service_entry, stateful_set, storage, virtual_service,
};
use crate::decode::Fields;
use crate::model::{Namespace, Resource, ServiceAccount};

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
const GATEWAY_API: &[&str] = &[
    "gateway.networking.k8s.io/v1",
    "gateway.networking.k8s.io/v1beta1",
    "gateway.networking.k8s.io/v1alpha2",
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

const fn gateway_api(kind: &'static str, read: fn(Fields<'_, '_>) -> Option<Resource>) -> Kind {
    Kind {
        group: "gateway.networking.k8s.io",
        kind,
        api_versions: GATEWAY_API,
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

pub(super) static ENFORCED: &[Kind] = &[
    Kind {
        namespaced: false,
        ..core("Namespace", namespace)
    },
    core("Service", service::read),
    core("ConfigMap", config_map::read),
    core("Secret", secret::read),
    core("ServiceAccount", service_account),
    core("PersistentVolumeClaim", storage::read),
    core("LimitRange", limit_range::read),
    core("ResourceQuota", resource_quota::read),
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
        group: "batch",
        kind: "Job",
        api_versions: &["batch/v1"],
        namespaced: true,
        read: job::read,
    },
    Kind {
        group: "batch",
        kind: "CronJob",
        api_versions: &["batch/v1", "batch/v1beta1"],
        namespaced: true,
        read: cron_job::read,
    },
    Kind {
        group: "settings.k8s.io",
        kind: "PodPreset",
        api_versions: &["settings.k8s.io/v1alpha1"],
        namespaced: true,
        read: pod_preset::read,
    },
    core("Pod", bare_pod::read),
    Kind {
        group: "autoscaling",
        kind: "HorizontalPodAutoscaler",
        api_versions: &[
            "autoscaling/v2",
            "autoscaling/v1",
            "autoscaling/v2beta2",
            "autoscaling/v2beta1",
        ],
        namespaced: true,
        read: autoscaler::read,
    },
    Kind {
        group: "policy",
        kind: "PodDisruptionBudget",
        api_versions: &["policy/v1", "policy/v1beta1"],
        namespaced: true,
        read: disruption_budget::read,
    },
    Kind {
        group: "apps",
        kind: "ReplicaSet",
        api_versions: &["apps/v1", "apps/v1beta2", "extensions/v1beta1"],
        namespaced: true,
        read: replica_set::read,
    },
    Kind {
        group: "apps",
        kind: "StatefulSet",
        api_versions: &["apps/v1", "apps/v1beta2", "apps/v1beta1"],
        namespaced: true,
        read: stateful_set::read,
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
    gateway_api("Gateway", gateway_api::gateway),
    gateway_api("HTTPRoute", gateway_api::http_route),
    gateway_api("ReferenceGrant", gateway_api::reference_grant),
    istio("Gateway", gateway::read),
    istio("VirtualService", virtual_service::read),
    istio("DestinationRule", destination_rule::read),
    istio("ServiceEntry", service_entry::read),
    Kind {
        group: "flagger.app",
        kind: "Canary",
        api_versions: &["flagger.app/v1beta1"],
        namespaced: true,
        read: canary::read,
    },
];

/// Real kinds that are a cluster's business, of the groups above and others
/// that stand beside them: never a misspelling, and which of them have no namespace.
pub(super) static NOT_ENFORCED: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "ReplicationController",
            "Endpoints",
            "Event",
            "PodTemplate",
            "Node",
            "PersistentVolume",
            "Binding",
            "ComponentStatus",
        ],
    ),
    ("apps", &["DaemonSet", "ControllerRevision"]),
    (
        "extensions",
        &["DaemonSet", "NetworkPolicy", "PodSecurityPolicy"],
    ),
    (
        "networking.k8s.io",
        &["NetworkPolicy", "IngressClass", "IPAddress", "ServiceCIDR"],
    ),
    (
        "gateway.networking.k8s.io",
        &[
            "GatewayClass",
            "GRPCRoute",
            "TLSRoute",
            "TCPRoute",
            "UDPRoute",
            "BackendTLSPolicy",
            "ListenerSet",
        ],
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

/// Kinds that restrict who may do what, of the groups above and others: whoever wrote
/// one has to know that it is not enforced.
const RESTRICTING: &[(&str, &[&str])] = &[
    ("networking.k8s.io", &["NetworkPolicy"]),
    (
        "policy.networking.k8s.io",
        &[
            "AdminNetworkPolicy",
            "BaselineAdminNetworkPolicy",
            "ClusterNetworkPolicy",
        ],
    ),
    ("gateway.networking.k8s.io", &["BackendTLSPolicy"]),
    ("networking.istio.io", &["Sidecar", "EnvoyFilter"]),
    (
        "security.istio.io",
        &[
            "AuthorizationPolicy",
            "PeerAuthentication",
            "RequestAuthentication",
        ],
    ),
    // Istio until 1.5.
    ("authentication.istio.io", &["Policy", "MeshPolicy"]),
    (
        "rbac.istio.io",
        &[
            "AuthorizationPolicy",
            "ClusterRbacConfig",
            "RbacConfig",
            "ServiceRole",
            "ServiceRoleBinding",
        ],
    ),
    (
        "config.istio.io",
        &["QuotaSpec", "QuotaSpecBinding", "rule"],
    ),
];

/// Whether objects of a kind restrict something.
pub(crate) fn restricts(group: &str, kind: &str) -> bool {
    RESTRICTING
        .iter()
        .any(|(known, kinds)| *known == group && kinds.contains(&kind))
}

pub(super) const CLUSTER_SCOPED: &[&str] = &[
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

fn namespace(mut fields: Fields<'_, '_>) -> Option<Resource> {
    // `spec` holds only finalizers, which a cluster writes.
    fields.ignore(&["spec"]);
    fields.finish(&[]);
    Some(Resource::Namespace(Namespace {}))
}

fn service_account(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let image_pull_secrets = fields.list("imagePullSecrets", super::pod::local_reference);
    fields.finish(&["secrets", "automountServiceAccountToken"]);
    Some(Resource::ServiceAccount(ServiceAccount {
        image_pull_secrets,
    }))
}
