//! The selectors and the named ports of NetworkPolicies.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::index::{Index, ROOT_NAMESPACE};
use super::report::Report;
use crate::WithPosition;
use crate::codes;
use crate::model::{
    LabelSelector, Labels, NAMESPACE_NAME_LABEL, NetworkPolicy, NetworkPolicyPeer,
    NetworkPolicyRule, Object, PodPeer, PolicyPort, Resource, TransportProtocol, gateway_labels,
};

/// The pods and namespaces that a selector can select.
struct Selectable<'a> {
    pods: Vec<SelectablePod<'a>>,
    namespaces: BTreeMap<&'a str, Labels>,
}

struct SelectablePod<'a> {
    namespace: &'a str,
    labels: Labels,
    ports: Vec<&'a str>,
}

pub(super) fn check(objects: &[Arc<Object>], index: &Index<'_>, report: &mut Report) {
    let mut policies = objects
        .iter()
        .filter_map(|object| match &object.resource {
            Resource::NetworkPolicy(policy) => Some((object, policy)),
            _ => None,
        })
        .peekable();
    // What a selector selects may be an object that was refused.
    let is_incomplete = index.any_serving_refused() || index.any_refused("Namespace");
    if policies.peek().is_none() || is_incomplete {
        return;
    }
    let selectable = Selectable::of(objects);
    for (object, policy) in policies {
        Check {
            object,
            policy,
            selectable: &selectable,
            report,
        }
        .run();
    }
}

impl<'a> Selectable<'a> {
    fn of(objects: &'a [Arc<Object>]) -> Self {
        let mut namespaces: BTreeMap<&str, Labels> = BTreeMap::new();
        let mut pods = vec![SelectablePod {
            namespace: ROOT_NAMESPACE,
            labels: gateway_labels(),
            ports: Vec::new(),
        }];
        namespaces.insert(ROOT_NAMESPACE, Labels::new());
        for object in objects {
            let namespace = object.metadata.namespace.as_str();
            if let Resource::Namespace(_) = &object.resource {
                let labels = object.metadata.labels.clone();
                namespaces.insert(&object.metadata.name.value, labels);
            } else if !namespace.is_empty() {
                namespaces.entry(namespace).or_default();
            }
            if let Some((template, _)) = object.pod_template() {
                let ports = template.spec.containers.iter().flat_map(|it| &it.ports);
                pods.push(SelectablePod {
                    namespace,
                    labels: template.labels.clone(),
                    ports: ports.filter_map(|port| port.name.as_deref()).collect(),
                });
            }
        }
        for (name, labels) in &mut namespaces {
            labels.insert(NAMESPACE_NAME_LABEL.to_owned(), (*name).to_owned());
        }
        Self { pods, namespaces }
    }

    fn selects_namespace(&self, selector: &LabelSelector, name: &str) -> bool {
        self.namespaces
            .get(name)
            .is_some_and(|labels| selector.matches(labels))
    }
}

struct Check<'a> {
    object: &'a Object,
    policy: &'a NetworkPolicy,
    selectable: &'a Selectable<'a>,
    report: &'a mut Report,
}

impl Check<'_> {
    fn run(&mut self) {
        let namespace = self.object.metadata.namespace.as_str();
        let selector = &self.policy.pod_selector;
        let mut selected = self
            .selectable
            .pods
            .iter()
            .filter(|pod| pod.namespace == namespace && selector.value.matches(&pod.labels));
        // An empty selector is also for the pods that are added later.
        if selected.next().is_none() && !selector.value.is_empty() {
            let message =
                format!("selects no pods of the namespace {namespace}, so it has no effect");
            self.warn(selector, "spec.podSelector".to_owned(), message);
            return;
        }
        for (direction, list, rules) in [
            ("ingress", "from", &self.policy.ingress),
            ("egress", "to", &self.policy.egress),
        ] {
            for (number, rule) in rules.iter().flatten().enumerate() {
                let path = format!("spec.{direction}[{number}]");
                for (number, peer) in rule.peers.iter().enumerate() {
                    if let NetworkPolicyPeer::Pods(peer) = peer {
                        self.peer(peer, &format!("{path}.{list}[{number}]"));
                    }
                }
                self.ports(rule, &path, direction == "ingress");
            }
        }
    }

    fn peer(&mut self, peer: &PodPeer, path: &str) {
        let selectable = self.selectable;
        let own = self.object.metadata.namespace.as_str();
        if let Some(selector) = &peer.namespace_selector {
            let mut names = selectable.namespaces.keys();
            if !names.any(|name| selectable.selects_namespace(selector, name)) {
                let message = "selects no namespace; the labels must be those of a Namespace object, \
                               or kubernetes.io/metadata.name with its name";
                let path = format!("{path}.namespaceSelector");
                self.warn(selector, path, message.to_owned());
                return;
            }
        }
        let Some(selector) = &peer.pod_selector else {
            return;
        };
        let mut pods = selectable.pods.iter().filter(|pod| {
            let in_namespace = match &peer.namespace_selector {
                Some(selector) => selectable.selects_namespace(selector, pod.namespace),
                None => pod.namespace == own,
            };
            in_namespace && selector.value.matches(&pod.labels)
        });
        if selector.value.is_empty() || pods.next().is_some() {
            return;
        }
        let message = match &peer.namespace_selector {
            Some(_) => {
                "selects no pods of the namespaces that namespaceSelector selects".to_owned()
            }
            None => format!(
                "selects no pods of the namespace {own}; for pods of other namespaces, add a \
                 namespaceSelector to the same entry"
            ),
        };
        self.warn(selector, format!("{path}.podSelector"), message);
    }

    /// A port by name must be a port of the pods: of those of the policy, or of any for
    /// egress.
    fn ports(&mut self, rule: &NetworkPolicyRule, path: &str, is_ingress: bool) {
        let selectable = self.selectable;
        let namespace = self.object.metadata.namespace.as_str();
        for (number, port) in rule.ports.iter().enumerate() {
            let PolicyPort::Name(name) = &port.port else {
                continue;
            };
            let mut pods = selectable.pods.iter().filter(|pod| {
                let is_governed = pod.namespace == namespace
                    && self.policy.pod_selector.value.matches(&pod.labels);
                !is_ingress || is_governed
            });
            let has_port = |pod: &SelectablePod<'_>| pod.ports.contains(&name.value.as_str());
            if port.protocol != TransportProtocol::Tcp || pods.any(has_port) {
                continue;
            }
            let message = format!("no selected pod has a port named `{name}`");
            self.warn(name, format!("{path}.ports[{number}].port"), message);
        }
    }

    fn warn<T>(&mut self, at: &WithPosition<T>, path: String, message: String) {
        let code = codes::NETWORK_POLICY;
        self.report
            .warning(self.object, &at.at, path, code, message);
    }
}
