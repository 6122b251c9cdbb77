//! The rows.

use super::Handling::{Enforced, Measured, Reported, Stored};
use super::row::{
    core, gateway_api, istio, istio_authentication, istio_security, left, of, rbac, restriction,
    restriction_named,
};
use super::{EXTENSIONS, Kind, SCALE};
use crate::read::{
    authorization, autoscaler, bare_pod, canary, config_map, cron_job, daemon_set, deployment,
    destination_rule, disruption_budget, envoy_filter, gateway, gateway_api as gateway_kinds,
    ingress, job, legacy_authentication, limit_range, mesh_config, namespace, network_policy, node,
    peer_authentication, persistent_volume, pod_preset, replica_set, request_authentication,
    resource_quota, secret, service, service_account, service_entry, sidecar, stateful_set,
    storage, virtual_service,
};

/// A kind of Kubernetes' access control.
const fn roles(kind: &'static str) -> Kind {
    of("rbac.authorization.k8s.io", &["v1"], kind, Stored)
}

pub(super) static ALL: &[Kind] = &[
    // The core group.
    core("ConfigMap", Enforced(config_map::read)).served("configmaps", "configmap", &["cm"]),
    core("Endpoints", Reported).served("endpoints", "endpoints", &["ep"]),
    core("Event", Reported)
        .served("events", "event", &["ev"])
        .selected_by(&[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]),
    core("LimitRange", Enforced(limit_range::read)).served(
        "limitranges",
        "limitrange",
        &["limits"],
    ),
    core("Namespace", Enforced(namespace::read))
        .served("namespaces", "namespace", &["ns"])
        .selected_by(&["status.phase"])
        .of_cluster()
        .provided()
        .named_by_label(),
    core("Node", Enforced(node::read))
        .served("nodes", "node", &["no"])
        .selected_by(&["spec.unschedulable"])
        .of_cluster()
        .provided(),
    core("PersistentVolume", Enforced(persistent_volume::read))
        .served("persistentvolumes", "persistentvolume", &["pv"])
        .of_cluster(),
    core("PersistentVolumeClaim", Enforced(storage::read)).served(
        "persistentvolumeclaims",
        "persistentvolumeclaim",
        &["pvc"],
    ),
    core("Pod", Enforced(bare_pod::read))
        .served("pods", "pod", &["po"])
        .selected_by(&[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ])
        .subresources(&["attach", "eviction", "exec", "log", "portforward", "proxy"])
        .serves_requests()
        .in_all(),
    core("ResourceQuota", Enforced(resource_quota::read)).served(
        "resourcequotas",
        "resourcequota",
        &["quota"],
    ),
    core("Secret", Enforced(secret::read))
        .served("secrets", "secret", &[])
        .selected_by(&["type"])
        .confidential(),
    core("ServiceAccount", Enforced(service_account::read))
        .served("serviceaccounts", "serviceaccount", &["sa"])
        .provided(),
    core("Service", Enforced(service::read))
        .served("services", "service", &["svc"])
        .selected_by(&["spec.clusterIP", "spec.type"])
        .named_by_label()
        .in_all(),
    // Workloads.
    of("apps", &["v1"], "DaemonSet", Enforced(daemon_set::read))
        .old(&["apps/v1beta2", "extensions/v1beta1"])
        .served("daemonsets", "daemonset", &["ds"])
        .owns_pods()
        .serves_requests()
        .in_all(),
    of("apps", &["v1"], "Deployment", Enforced(deployment::read))
        .old(&["apps/v1beta2", "apps/v1beta1", "extensions/v1beta1"])
        .served("deployments", "deployment", &["deploy"])
        .subresources(&[SCALE])
        .owns_pods()
        .serves_requests()
        .in_all(),
    of("apps", &["v1"], "ReplicaSet", Enforced(replica_set::read))
        .old(&["apps/v1beta2", "extensions/v1beta1"])
        .served("replicasets", "replicaset", &["rs"])
        .selected_by(&["status.replicas"])
        .subresources(&[SCALE])
        .owns_pods()
        .serves_requests()
        .in_all(),
    of("apps", &["v1"], "StatefulSet", Enforced(stateful_set::read))
        .old(&["apps/v1beta2", "apps/v1beta1"])
        .served("statefulsets", "statefulset", &["sts"])
        .subresources(&[SCALE])
        .owns_pods()
        .serves_requests()
        .in_all(),
    of("batch", &["v1"], "CronJob", Enforced(cron_job::read))
        .old(&["batch/v1beta1"])
        .served("cronjobs", "cronjob", &["cj"])
        .owns_pods()
        .in_all(),
    of("batch", &["v1"], "Job", Enforced(job::read))
        .served("jobs", "job", &[])
        .selected_by(&["status.successful"])
        .owns_pods()
        .in_all(),
    // What else Kubernetes has built in.
    of("discovery.k8s.io", &["v1"], "EndpointSlice", Reported).served(
        "endpointslices",
        "endpointslice",
        &[],
    ),
    of("metrics.k8s.io", &["v1beta1"], "NodeMetrics", Measured)
        .served("nodes", "", &[])
        .of_cluster(),
    of("metrics.k8s.io", &["v1beta1"], "PodMetrics", Measured).served("pods", "", &[]),
    of(
        "networking.k8s.io",
        &["v1"],
        "Ingress",
        Enforced(ingress::read),
    )
    .old(&["networking.k8s.io/v1beta1", "extensions/v1beta1"])
    .served("ingresses", "ingress", &["ing"]),
    of(
        "networking.k8s.io",
        &["v1"],
        "NetworkPolicy",
        Enforced(network_policy::read),
    )
    .old(&["extensions/v1beta1"])
    .served("networkpolicies", "networkpolicy", &["netpol"]),
    of(
        "autoscaling",
        &["v2", "v1"],
        "HorizontalPodAutoscaler",
        Enforced(autoscaler::read),
    )
    .old(&["autoscaling/v2beta2", "autoscaling/v2beta1"])
    .served(
        "horizontalpodautoscalers",
        "horizontalpodautoscaler",
        &["hpa"],
    ),
    of(
        "policy",
        &["v1"],
        "PodDisruptionBudget",
        Enforced(disruption_budget::read),
    )
    .old(&["policy/v1beta1"])
    .served("poddisruptionbudgets", "poddisruptionbudget", &["pdb"]),
    of(
        "settings.k8s.io",
        &["v1alpha1"],
        "PodPreset",
        Enforced(pod_preset::read),
    )
    .served("podpresets", "podpreset", &[]),
    // Stored and shown only.
    of(
        "apiextensions.k8s.io",
        &["v1"],
        "CustomResourceDefinition",
        Stored,
    )
    .served(
        "customresourcedefinitions",
        "customresourcedefinition",
        &["crd", "crds"],
    )
    .of_cluster(),
    roles("ClusterRole")
        .served("clusterroles", "clusterrole", &[])
        .of_cluster(),
    roles("ClusterRoleBinding")
        .served("clusterrolebindings", "clusterrolebinding", &[])
        .of_cluster(),
    roles("Role").served("roles", "role", &[]),
    roles("RoleBinding").served("rolebindings", "rolebinding", &[]),
    of("storage.k8s.io", &["v1"], "StorageClass", Stored)
        .served("storageclasses", "storageclass", &["sc"])
        .of_cluster(),
    // Flagger, the Gateway API, Istio.
    of(
        "flagger.app",
        &["v1beta1"],
        "Canary",
        Enforced(canary::read),
    )
    .served("canaries", "canary", &[]),
    gateway_api("Gateway", gateway_kinds::gateway).served("gateways", "gateway", &["gtw"]),
    gateway_api("HTTPRoute", gateway_kinds::http_route).served("httproutes", "httproute", &[]),
    gateway_api("ReferenceGrant", gateway_kinds::reference_grant),
    istio("DestinationRule", destination_rule::read).served(
        "destinationrules",
        "destinationrule",
        &["dr"],
    ),
    of(
        "networking.istio.io",
        &["v1alpha3"],
        "EnvoyFilter",
        Enforced(envoy_filter::read),
    )
    .custom(),
    istio("Gateway", gateway::read).served("gateways", "gateway", &["gw"]),
    istio("ServiceEntry", service_entry::read).served("serviceentries", "serviceentry", &["se"]),
    istio("Sidecar", sidecar::read).served("sidecars", "sidecar", &[]),
    istio("VirtualService", virtual_service::read).served(
        "virtualservices",
        "virtualservice",
        &["vs"],
    ),
    of(
        "security.istio.io",
        &["v1", "v1beta1"],
        "AuthorizationPolicy",
        Enforced(authorization::policy),
    )
    .custom()
    .served("authorizationpolicies", "authorizationpolicy", &["ap"]),
    istio_security("PeerAuthentication", peer_authentication::read).served(
        "peerauthentications",
        "peerauthentication",
        &["pa"],
    ),
    istio_security("RequestAuthentication", request_authentication::read).served(
        "requestauthentications",
        "requestauthentication",
        &["ra"],
    ),
    // Istio until 1.5.
    istio_authentication("MeshPolicy", legacy_authentication::read_mesh)
        .served("meshpolicies", "meshpolicy", &[])
        .of_cluster(),
    istio_authentication("Policy", legacy_authentication::read).served("policies", "policy", &[]),
    rbac("ClusterRbacConfig", authorization::rbac_config)
        .of_cluster()
        .served("clusterrbacconfigs", "clusterrbacconfig", &[]),
    rbac("RbacConfig", authorization::rbac_config).served("rbacconfigs", "rbacconfig", &[]),
    rbac("ServiceRole", authorization::service_role).served("serviceroles", "servicerole", &[]),
    rbac("ServiceRoleBinding", authorization::service_role_binding).served(
        "servicerolebindings",
        "servicerolebinding",
        &[],
    ),
    of(
        "install.istio.io",
        &["v1alpha1"],
        "IstioOperator",
        Enforced(mesh_config::operator),
    )
    .custom(),
    // Left to the cluster.
    left("", "Binding"),
    left("", "ComponentStatus").of_cluster(),
    left("", "PodTemplate"),
    left("", "ReplicationController"),
    left(
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration",
    )
    .of_cluster(),
    left("apiregistration.k8s.io", "APIService").of_cluster(),
    left("apps", "ControllerRevision"),
    left("cert-manager.io", "ClusterIssuer").of_cluster(),
    left("certificates.k8s.io", "CertificateSigningRequest").of_cluster(),
    left("flowcontrol.apiserver.k8s.io", "FlowSchema").of_cluster(),
    left("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration").of_cluster(),
    left("gateway.networking.k8s.io", "GatewayClass").of_cluster(),
    left("gateway.networking.k8s.io", "GRPCRoute"),
    left("gateway.networking.k8s.io", "ListenerSet"),
    left("gateway.networking.k8s.io", "TCPRoute"),
    left("gateway.networking.k8s.io", "TLSRoute"),
    left("gateway.networking.k8s.io", "UDPRoute"),
    left("networking.istio.io", "ProxyConfig"),
    left("networking.istio.io", "WorkloadEntry"),
    left("networking.istio.io", "WorkloadGroup"),
    left("networking.k8s.io", "IngressClass").of_cluster(),
    left("networking.k8s.io", "IPAddress").of_cluster(),
    left("networking.k8s.io", "ServiceCIDR").of_cluster(),
    left("node.k8s.io", "RuntimeClass").of_cluster(),
    left("scheduling.k8s.io", "PriorityClass").of_cluster(),
    left("storage.k8s.io", "CSIDriver").of_cluster(),
    left("storage.k8s.io", "CSINode").of_cluster(),
    left("storage.k8s.io", "VolumeAttachment").of_cluster(),
    // Left to the cluster, and they forbid something there.
    restriction_named(
        "PodSecurityPolicy.extensions",
        EXTENSIONS,
        "PodSecurityPolicy",
    )
    .of_cluster(),
    restriction("admissionregistration.k8s.io", "ValidatingAdmissionPolicy").of_cluster(),
    restriction(
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicyBinding",
    )
    .of_cluster(),
    restriction(
        "admissionregistration.k8s.io",
        "ValidatingWebhookConfiguration",
    )
    .of_cluster(),
    restriction("cilium.io", "CiliumClusterwideNetworkPolicy").of_cluster(),
    restriction("cilium.io", "CiliumNetworkPolicy"),
    restriction("extensions.istio.io", "WasmPlugin"),
    restriction("gateway.envoyproxy.io", "SecurityPolicy"),
    restriction("gateway.networking.k8s.io", "BackendTLSPolicy"),
    restriction("kyverno.io", "ClusterPolicy").of_cluster(),
    restriction_named("Policy.kyverno.io", "kyverno.io", "Policy"),
    restriction("policy", "PodSecurityPolicy").of_cluster(),
    restriction_named(
        "AuthorizationPolicy.policy.linkerd.io",
        "policy.linkerd.io",
        "AuthorizationPolicy",
    ),
    restriction("policy.linkerd.io", "ServerAuthorization"),
    restriction("policy.networking.k8s.io", "AdminNetworkPolicy"),
    restriction("policy.networking.k8s.io", "BaselineAdminNetworkPolicy"),
    restriction("policy.networking.k8s.io", "ClusterNetworkPolicy"),
    restriction("projectcalico.org", "GlobalNetworkPolicy").of_cluster(),
    restriction_named(
        "NetworkPolicy.projectcalico.org",
        "projectcalico.org",
        "NetworkPolicy",
    ),
    restriction_named(
        "GlobalNetworkPolicy.crd.projectcalico.org",
        "crd.projectcalico.org",
        "GlobalNetworkPolicy",
    )
    .of_cluster(),
    restriction_named(
        "NetworkPolicy.crd.projectcalico.org",
        "crd.projectcalico.org",
        "NetworkPolicy",
    ),
    restriction("templates.gatekeeper.sh", "ConstraintTemplate").of_cluster(),
    restriction("policy.sigstore.dev", "ClusterImagePolicy").of_cluster(),
    // Istio until 1.5.
    restriction("config.istio.io", "QuotaSpec"),
    restriction("config.istio.io", "QuotaSpecBinding"),
    restriction("config.istio.io", "rule"),
    restriction_named(
        "AuthorizationPolicy.rbac.istio.io",
        "rbac.istio.io",
        "AuthorizationPolicy",
    ),
];
