//! The objects that a cluster creates by itself: its node, its own namespaces and those in
//! use with their default ServiceAccounts, and the endpoints of Services.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use galleria_manifest::model::{Object, PortReference, Resource, Service};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::store::HostObject;
use crate::workload::{HOST_ADDRESS, NODE_NAME, Pod};

/// The node's version in `kubectl get nodes`.
const VERSION: &str = concat!("galleria-", env!("CARGO_PKG_VERSION"));

/// The pods of a node in its status; the default of a kubelet.
const PODS_MAX: u32 = 110;

/// The namespaces of every cluster: clients look for objects of the cluster in them, or know
/// the cluster by the uid of one.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// When this host started, and its resources.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub since: Timestamp,
    /// Bytes, for all guests together.
    pub memory: u64,
}

/// Whether [`objects`] returns all objects of this kind that no source declares.
pub(super) fn is_one(object: &Object) -> bool {
    matches!(
        object.kind.as_str(),
        "Node" | "Namespace" | "ServiceAccount" | "Endpoints" | "EndpointSlice"
    )
}

/// See the module's documentation. `written` is the objects in force.
pub(super) fn objects(written: &[Arc<Object>], pods: &[Arc<Pod>], node: Node) -> Vec<HostObject> {
    let mut reported = Vec::new();
    let named: BTreeSet<_> = written
        .iter()
        .map(|object| {
            (
                &*object.kind,
                &*object.metadata.namespace,
                &*object.metadata.name.value,
            )
        })
        .collect();
    if !named.contains(&("Node", "", NODE_NAME)) {
        reported.push(HostObject::new(node.object(), node.status()));
    }
    let mut namespaces: BTreeSet<&str> = named
        .iter()
        .map(|(kind, namespace, name)| {
            if *kind == "Namespace" {
                *name
            } else {
                *namespace
            }
        })
        .filter(|namespace| !namespace.is_empty())
        .collect();
    namespaces.extend(NAMESPACES);
    for namespace in namespaces {
        let is_written = |kind, at, name| named.contains(&(kind, at, name));
        if !named
            .iter()
            .any(|(kind, _, name)| *kind == "Namespace" && *name == namespace)
        {
            let labels = json!({"kubernetes.io/metadata.name": namespace});
            let object = json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": namespace, "labels": labels},
            });
            reported.push(HostObject::new(object, json!({"phase": "Active"})));
        }
        if !is_written("ServiceAccount", namespace, "default") {
            let object = json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": namespace},
            });
            reported.push(HostObject::new(object, Value::Null));
        }
    }
    let pods = LabelledPods::new(pods);
    for object in written {
        if let Resource::Service(service) = &object.resource
            && !service.selector.is_empty()
        {
            let selected = pods.selected(&object.metadata.namespace, service);
            reported.extend(endpoints(object, service, &selected));
        }
    }
    reported
}

/// Pods by namespace and label, because looking at every pod for every Service takes a
/// second for ten thousand of each.
struct LabelledPods<'a>(HashMap<[&'a str; 3], Vec<&'a Arc<Pod>>>);

impl<'a> LabelledPods<'a> {
    fn new(pods: &'a [Arc<Pod>]) -> Self {
        let mut labelled = HashMap::<_, Vec<_>>::new();
        for pod in pods {
            for (label, value) in &pod.plan.template.labels {
                let key = [&*pod.plan.identity.namespace, label, value];
                labelled.entry(key).or_default().push(pod);
            }
        }
        Self(labelled)
    }

    /// The pods that `service` selects.
    fn selected(&self, namespace: &str, service: &Service) -> Vec<&'a Arc<Pod>> {
        let first = service.selector.iter().next();
        let pods = first.and_then(|(label, value)| self.0.get(&[namespace, label, value]));
        let is_selected = |pod: &&&Arc<Pod>| {
            let labels = &pod.plan.template.labels;
            let mut selector = service.selector.iter();
            selector.all(|(label, value)| labels.get(label) == Some(value))
        };
        pods.into_iter()
            .flatten()
            .filter(is_selected)
            .copied()
            .collect()
    }
}

impl Node {
    /// The `status`; it is also that of a Node that a source declares.
    pub(super) fn status(self) -> Value {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let capacity = json!({
            "cpu": cores.to_string(),
            "memory": format!("{}Ki", self.memory >> 10),
            "pods": PODS_MAX.to_string(),
        });
        let since = format!("{:.0}", self.since);
        let condition = |name: &str, status: &str, reason: &str, message: &str| {
            json!({
                "type": name, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": since, "lastTransitionTime": since,
            })
        };
        let memory = "guest memory is limited by --guest-memory";
        json!({
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [
                {"type": "InternalIP", "address": HOST_ADDRESS},
                {"type": "Hostname", "address": NODE_NAME},
            ],
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", memory),
                condition("Ready", "True", "KubeletReady", "the host is running"),
            ],
            "nodeInfo": {
                "kubeletVersion": VERSION,
                "kubeProxyVersion": "",
                "containerRuntimeVersion": "wasmtime://48",
                "operatingSystem": std::env::consts::OS,
                "architecture": std::env::consts::ARCH,
                "osImage": "",
                "kernelVersion": "",
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
            },
        })
    }

    /// The object, if no source declares it.
    fn object(self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": NODE_NAME,
                "creationTimestamp": format!("{:.0}", self.since),
                "labels": {
                    "kubernetes.io/hostname": NODE_NAME,
                    "kubernetes.io/os": "wasi",
                    "kubernetes.io/arch": "wasm32",
                },
            },
            "spec": {},
        })
    }
}

/// The endpoints of a Service, as Endpoints and as an EndpointSlice.
fn endpoints(object: &Object, service: &Service, selected: &[&Arc<Pod>]) -> [HostObject; 2] {
    let (namespace, name) = (&object.metadata.namespace, &object.metadata.name.value);
    let target = |pod: &Pod| json!({"kind": "Pod", "namespace": namespace, "name": pod.name, "uid": pod.uid()});
    let ports = |pod: Option<&Pod>| -> Vec<Value> {
        let port = |it: &galleria_manifest::model::ServicePort| {
            let number = match &it.target_port {
                PortReference::Number(number) => Some(*number),
                PortReference::Name(name) => pod.and_then(|pod| pod.port(name)),
            };
            json!({"name": it.name.as_deref().unwrap_or(""), "port": number, "protocol": "TCP"})
        };
        service.ports.iter().map(port).collect()
    };
    let first = selected.first().map(|pod| &***pod);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-galleria"),
            "namespace": namespace,
            "labels": {
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "galleria",
            },
        },
        "addressType": "IPv4",
        "endpoints": selected.iter().map(|pod| json!({
            "addresses": [pod.address],
            "conditions": {
                "ready": pod.is_ready(), "serving": pod.is_ready(), "terminating": false,
            },
            "nodeName": NODE_NAME,
            "targetRef": target(pod),
        })).collect::<Vec<_>>(),
        "ports": ports(first),
    });
    // The pods of a subset have the same ports.
    let mut subsets: BTreeMap<String, (Value, Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for pod in selected {
        let ports = Value::from(ports(Some(pod)));
        let address = json!({
            "ip": pod.address, "nodeName": NODE_NAME, "targetRef": target(pod),
        });
        let subset = subsets.entry(ports.to_string());
        let (_, ready, not_ready) = subset.or_insert_with(|| (ports, Vec::new(), Vec::new()));
        match pod.is_ready() {
            true => ready.push(address),
            false => not_ready.push(address),
        }
    }
    let subset = |(ports, ready, not_ready): (Value, Vec<Value>, Vec<Value>)| {
        let mut subset = json!({"ports": ports});
        for (field, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
            if !addresses.is_empty() {
                subset[field] = addresses.into();
            }
        }
        subset
    };
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": name, "namespace": namespace},
        "subsets": subsets.into_values().map(subset).collect::<Vec<_>>(),
    });
    [slice, endpoints].map(|object| HostObject::new(object, Value::Null))
}
