//! NetworkPolicies, with what their selectors and ports refer to.

use std::collections::HashMap;
use std::sync::Arc;

use galleria_manifest::model::{
    Labels, NAMESPACE_NAME_LABEL, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyRule, PodPeer,
    gateway_labels,
};

use super::inventory::{Inventory, Source};
use crate::inbound::network::index::{IndexedPolicy, NetworkPolicyIndex};
use crate::inbound::network::isolation::GoverningPolicy;
use crate::inbound::network::rule::{Namespaces, PeerRule, PortRule, Rule, Surroundings};
use crate::{Options, Pod, Workload};

/// The name of the host's own gateway, as Istio calls it.
const GATEWAY: &str = "istio-ingressgateway";

/// The index of all NetworkPolicies.
pub(crate) fn index(
    inventory: &Inventory<'_>,
    pods: &[Pod],
    options: &Options,
) -> NetworkPolicyIndex {
    let policies = &inventory.network_policies;
    let mut around = Surroundings {
        namespaces: HashMap::new(),
        ports: HashMap::new(),
        gateway: gateway(options),
    };
    if !policies.is_empty() {
        around.namespaces = namespaces(inventory);
        around.ports = named_ports(pods);
    }
    NetworkPolicyIndex {
        policies: policies.iter().map(indexed).collect(),
        around: Arc::new(around),
    }
}

fn gateway(options: &Options) -> Workload {
    let account = format!("{GATEWAY}-service-account");
    Workload::new(&options.root_namespace, GATEWAY, account, gateway_labels())
        .in_trust_domain(&options.trust_domain)
}

fn namespaces(inventory: &Inventory<'_>) -> HashMap<String, Labels> {
    let declared = inventory.namespaces.iter().map(|object| {
        let name = object.metadata.name.value.clone();
        let mut labels = object.metadata.labels.clone();
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.clone());
        (name, labels)
    });
    declared.collect()
}

fn named_ports(pods: &[Pod]) -> HashMap<String, HashMap<String, Vec<(String, u16)>>> {
    let mut named: HashMap<String, HashMap<String, Vec<(String, u16)>>> = HashMap::new();
    for pod in pods {
        let Workload {
            namespace, name, ..
        } = &*pod.workload;
        for port in &pod.ports {
            let Some(port_name) = &port.name else {
                continue;
            };
            let of_namespace = named.entry(namespace.clone()).or_default();
            let ports = of_namespace.entry(name.clone()).or_default();
            let port = (port_name.clone(), port.container_port);
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
    }
    named
}

fn indexed(source: &Source<'_, NetworkPolicy>) -> IndexedPolicy {
    let object = Arc::new(source.reference("NetworkPolicy"));
    let governing = |rules: &Option<Vec<NetworkPolicyRule>>| {
        let rules = rules.as_ref()?.iter();
        Some(GoverningPolicy {
            object: Arc::clone(&object),
            uid: source.object.metadata.uid.clone(),
            rules: rules.map(|it| rule(it, source.namespace())).collect(),
        })
    };
    IndexedPolicy {
        namespace: source.namespace().to_owned(),
        pods: source.spec.pod_selector.value.clone(),
        ingress: governing(&source.spec.ingress),
        egress: governing(&source.spec.egress),
    }
}

fn rule(rule: &NetworkPolicyRule, namespace: &str) -> Rule {
    let peers = rule.peers.iter().map(|peer| match peer {
        NetworkPolicyPeer::Block(block) => PeerRule::Block(block.clone()),
        NetworkPolicyPeer::Pods(peer) => pods(peer, namespace),
    });
    let ports = rule.ports.iter().map(|port| PortRule {
        protocol: port.protocol,
        port: port.port.clone(),
    });
    Rule {
        peers: peers.collect(),
        ports: ports.collect(),
    }
}

fn pods(peer: &PodPeer, namespace: &str) -> PeerRule {
    PeerRule::Pods {
        namespaces: match &peer.namespace_selector {
            None => Namespaces::Own(namespace.to_owned()),
            Some(selector) => Namespaces::Selected(selector.value.clone()),
        },
        pods: peer.pod_selector.as_ref().map(|it| it.value.clone()),
    }
}
