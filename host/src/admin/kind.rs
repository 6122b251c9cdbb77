//! The kinds that the admin API serves: one table, from which paths are routed,
//! discovery is answered and columns are printed.
//!
//! What a kind's fields mean is the manifest crate's business; a kind that is not
//! here is not served, whatever the manifests hold.

mod columns;

pub(crate) use columns::{Cell, Column};

/// A kind as the API names it.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    /// The preferred one first; all serve the same objects.
    pub versions: &'static [&'static str],
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub namespaced: bool,
    /// Whether `kubectl get all` shows it.
    pub in_all: bool,
    /// Paths that a field selector may name, besides the name and the namespace.
    pub fields: &'static [&'static str],
    pub columns: &'static [Column],
}

impl Kind {
    /// `deployments.apps`; `pods`.
    pub(crate) fn resource(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// Whether it is a custom resource in a cluster.
    pub(crate) fn is_custom(&self) -> bool {
        matches!(
            self.group,
            "networking.istio.io" | "gateway.networking.k8s.io"
        )
    }

    /// Whether its objects are all the host's own: nobody writes them.
    pub(crate) fn is_made_by_host(&self) -> bool {
        matches!(
            self.kind,
            "Event" | "Node" | "Endpoints" | "EndpointSlice" | "PodMetrics" | "NodeMetrics"
        )
    }

    /// Whether it has the subresource `scale`.
    pub(crate) fn scales(&self) -> bool {
        matches!(self.kind, "Deployment" | "ReplicaSet" | "StatefulSet")
    }

    /// Both names are as in a path: the group is empty for the core group.
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| {
            kind.group == group && kind.plural == plural && kind.versions.contains(&version)
        })
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.kind) == (other.group, other.kind)
    }
}

impl Eq for Kind {}

/// `apps/v1`; `v1`.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}

const fn core(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    columns: &'static [Column],
) -> Kind {
    Kind {
        group: "",
        versions: &["v1"],
        kind,
        plural,
        singular,
        short_names: &[],
        namespaced: true,
        in_all: false,
        fields: &[],
        columns,
    }
}

const fn gateway_api(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
    columns: &'static [Column],
) -> Kind {
    Kind {
        group: "gateway.networking.k8s.io",
        versions: &["v1", "v1beta1"],
        short_names,
        ..core(kind, plural, singular, columns)
    }
}

const fn istio(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
    columns: &'static [Column],
) -> Kind {
    Kind {
        group: "networking.istio.io",
        versions: &["v1", "v1beta1", "v1alpha3"],
        short_names,
        ..core(kind, plural, singular, columns)
    }
}

/// In the order in which `kubectl api-resources` and `kubectl get all` show them.
pub(crate) static KINDS: &[Kind] = &[
    Kind {
        short_names: &["cm"],
        ..core("ConfigMap", "configmaps", "configmap", columns::CONFIG_MAP)
    },
    Kind {
        short_names: &["ep"],
        ..core("Endpoints", "endpoints", "endpoints", columns::ENDPOINTS)
    },
    Kind {
        short_names: &["ev"],
        fields: &[
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
        ],
        ..core("Event", "events", "event", columns::EVENT)
    },
    Kind {
        short_names: &["limits"],
        ..core(
            "LimitRange",
            "limitranges",
            "limitrange",
            columns::LIMIT_RANGE,
        )
    },
    Kind {
        short_names: &["ns"],
        namespaced: false,
        fields: &["status.phase"],
        ..core("Namespace", "namespaces", "namespace", columns::NAMESPACE)
    },
    Kind {
        short_names: &["no"],
        namespaced: false,
        ..core("Node", "nodes", "node", columns::NODE)
    },
    Kind {
        short_names: &["pvc"],
        ..core(
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            "persistentvolumeclaim",
            columns::AGE_ONLY,
        )
    },
    Kind {
        short_names: &["po"],
        in_all: true,
        fields: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ..core("Pod", "pods", "pod", columns::POD)
    },
    Kind {
        short_names: &["quota"],
        ..core(
            "ResourceQuota",
            "resourcequotas",
            "resourcequota",
            columns::RESOURCE_QUOTA,
        )
    },
    Kind {
        fields: &["type"],
        ..core("Secret", "secrets", "secret", columns::SECRET)
    },
    Kind {
        short_names: &["sa"],
        ..core(
            "ServiceAccount",
            "serviceaccounts",
            "serviceaccount",
            columns::SERVICE_ACCOUNT,
        )
    },
    Kind {
        short_names: &["svc"],
        in_all: true,
        fields: &["spec.clusterIP", "spec.type"],
        ..core("Service", "services", "service", columns::SERVICE)
    },
    Kind {
        group: "apps",
        short_names: &["deploy"],
        in_all: true,
        ..core(
            "Deployment",
            "deployments",
            "deployment",
            columns::DEPLOYMENT,
        )
    },
    Kind {
        group: "apps",
        short_names: &["rs"],
        in_all: true,
        fields: &["status.replicas"],
        ..core(
            "ReplicaSet",
            "replicasets",
            "replicaset",
            columns::REPLICA_SET,
        )
    },
    Kind {
        group: "apps",
        short_names: &["sts"],
        in_all: true,
        ..core(
            "StatefulSet",
            "statefulsets",
            "statefulset",
            columns::STATEFUL_SET,
        )
    },
    Kind {
        group: "batch",
        short_names: &["cj"],
        in_all: true,
        ..core("CronJob", "cronjobs", "cronjob", columns::CRON_JOB)
    },
    Kind {
        group: "batch",
        in_all: true,
        fields: &["status.successful"],
        ..core("Job", "jobs", "job", columns::JOB)
    },
    Kind {
        group: "discovery.k8s.io",
        ..core(
            "EndpointSlice",
            "endpointslices",
            "endpointslice",
            columns::ENDPOINT_SLICE,
        )
    },
    Kind {
        group: "metrics.k8s.io",
        versions: &["v1beta1"],
        namespaced: false,
        ..core("NodeMetrics", "nodes", "", columns::AGE_ONLY)
    },
    Kind {
        group: "metrics.k8s.io",
        versions: &["v1beta1"],
        ..core("PodMetrics", "pods", "", columns::AGE_ONLY)
    },
    Kind {
        group: "networking.k8s.io",
        short_names: &["ing"],
        ..core("Ingress", "ingresses", "ingress", columns::INGRESS)
    },
    Kind {
        group: "autoscaling",
        versions: &["v2", "v1"],
        short_names: &["hpa"],
        ..core(
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
            columns::HORIZONTAL_POD_AUTOSCALER,
        )
    },
    Kind {
        group: "policy",
        short_names: &["pdb"],
        ..core(
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            "poddisruptionbudget",
            columns::POD_DISRUPTION_BUDGET,
        )
    },
    Kind {
        group: "settings.k8s.io",
        versions: &["v1alpha1"],
        ..core("PodPreset", "podpresets", "podpreset", columns::AGE_ONLY)
    },
    Kind {
        group: "flagger.app",
        versions: &["v1beta1"],
        ..core("Canary", "canaries", "canary", columns::CANARY)
    },
    gateway_api(
        "Gateway",
        "gateways",
        "gateway",
        &["gtw"],
        columns::GATEWAY_API_GATEWAY,
    ),
    gateway_api(
        "HTTPRoute",
        "httproutes",
        "httproute",
        &[],
        columns::HTTP_ROUTE,
    ),
    istio(
        "DestinationRule",
        "destinationrules",
        "destinationrule",
        &["dr"],
        columns::DESTINATION_RULE,
    ),
    istio("Gateway", "gateways", "gateway", &["gw"], columns::AGE_ONLY),
    istio(
        "ServiceEntry",
        "serviceentries",
        "serviceentry",
        &["se"],
        columns::SERVICE_ENTRY,
    ),
    istio(
        "VirtualService",
        "virtualservices",
        "virtualservice",
        &["vs"],
        columns::VIRTUAL_SERVICE,
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_told_apart() {
        let mut seen = HashSet::new();
        for kind in KINDS {
            assert!(seen.insert((kind.group, kind.plural)), "{}", kind.plural);
            for short in kind.short_names {
                assert!(seen.insert(("short", *short)), "{short}");
            }
        }
    }

    #[test]
    fn a_kind_is_found_in_each_of_its_versions_only() {
        let found = Kind::find("networking.istio.io", "v1alpha3", "gateways");
        assert_eq!(found.map(|kind| kind.kind), Some("Gateway"));
        assert!(Kind::find("apps", "v1beta1", "deployments").is_none());
        assert!(Kind::find("", "v1", "deployments").is_none());
    }
}
