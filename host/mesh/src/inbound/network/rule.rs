//! The rules of a NetworkPolicy: peers and ports, both of which must match.

use std::collections::HashMap;
use std::net::IpAddr;

use galleria_manifest::model::{
    IpBlock, LabelSelector, Labels, NAMESPACE_NAME_LABEL, PolicyPort, TransportProtocol,
};

use super::Party;
use crate::Workload;
use crate::inbound::WorkloadIdentity;

/// What the rules of all policies refer to.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// The labels of declared namespaces.
    pub(crate) namespaces: HashMap<String, Labels>,
    /// The named ports of pods, by the namespace and the name of their workload.
    pub(crate) ports: HashMap<String, HashMap<String, Vec<(String, u16)>>>,
    /// The host's own gateway, through which clients come in.
    pub(crate) gateway: Workload,
}

/// A rule of `ingress` or `egress`.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Empty means everything.
    pub(crate) peers: Vec<PeerRule>,
    /// Empty means every port.
    pub(crate) ports: Vec<PortRule>,
}

#[derive(Debug)]
pub(crate) enum PeerRule {
    Pods {
        namespaces: Namespaces,
        /// `None` means every pod of these namespaces.
        pods: Option<LabelSelector>,
    },
    Block(IpBlock),
}

#[derive(Debug)]
pub(crate) enum Namespaces {
    /// That of the policy.
    Own(String),
    Selected(LabelSelector),
}

#[derive(Debug)]
pub(crate) struct PortRule {
    pub(crate) protocol: TransportProtocol,
    pub(crate) port: PolicyPort,
}

impl Surroundings {
    /// Whether a pod of `workload` has a port with this name and number.
    fn has_port(&self, workload: &Workload, name: &str, number: u16) -> bool {
        let of_namespace = self.ports.get(&workload.namespace);
        let ports = of_namespace.and_then(|it| it.get(&workload.name));
        ports.is_some_and(|ports| {
            ports
                .iter()
                .any(|port| (port.0.as_str(), port.1) == (name, number))
        })
    }
}

impl Rule {
    /// Whether it allows a connection between the governed workload and `party`, to `port`
    /// of `destination`, which is one of the two.
    pub(crate) fn allows(
        &self,
        party: &Party<'_>,
        destination: &Workload,
        port: u16,
        around: &Surroundings,
    ) -> bool {
        let has_port = |rule: &PortRule| rule.matches(Some(destination), port, around);
        let has_peer = |rule: &PeerRule| rule.matches(party, around);
        (self.ports.is_empty() || self.ports.iter().any(has_port))
            && (self.peers.is_empty() || self.peers.iter().any(has_peer))
    }

    /// Whether it applies to `port` of servers outside the mesh.
    pub(crate) fn applies_outside(&self, port: u16, around: &Surroundings) -> bool {
        let has_port = |rule: &PortRule| rule.matches(None, port, around);
        self.ports.is_empty() || self.ports.iter().any(has_port)
    }
}

impl PortRule {
    /// `destination` is `None` for a server outside, which has no named ports.
    fn matches(&self, destination: Option<&Workload>, port: u16, around: &Surroundings) -> bool {
        // Requests are sent over TCP.
        self.protocol == TransportProtocol::Tcp
            && match &self.port {
                PolicyPort::Any => true,
                PolicyPort::Range(first, last) => (*first..=*last).contains(&port),
                PolicyPort::Name(name) => {
                    destination.is_some_and(|it| around.has_port(it, name, port))
                }
            }
    }
}

impl PeerRule {
    fn matches(&self, party: &Party<'_>, around: &Surroundings) -> bool {
        match (self, party) {
            (Self::Pods { namespaces, pods }, party) => match party {
                Party::Workload(it) => {
                    namespaces.contain(&it.namespace, around) && selects(pods.as_ref(), &it.labels)
                }
                Party::Client(_) => {
                    let gateway = &around.gateway;
                    namespaces.contain(&gateway.namespace, around)
                        && selects(pods.as_ref(), &gateway.labels)
                }
                Party::Named(WorkloadIdentity { namespace, .. }) => {
                    is_every_pod(pods.as_ref()) && namespaces.contain(namespace, around)
                }
                Party::InNamespace(namespace) => {
                    is_every_pod(pods.as_ref()) && namespaces.contain(namespace, around)
                }
                Party::Address(_) | Party::Unknown => false,
            },
            (Self::Block(block), Party::Client(ip) | Party::Address(ip)) => contains(block, *ip),
            // Pods have no addresses of their own: a block is for what is outside the mesh.
            (
                Self::Block(_),
                Party::Workload(_) | Party::Named(_) | Party::InNamespace(_) | Party::Unknown,
            ) => false,
        }
    }
}

impl Namespaces {
    fn contain(&self, name: &str, around: &Surroundings) -> bool {
        match self {
            Self::Own(own) => own == name,
            Self::Selected(selector) if selector.is_empty() => true,
            Self::Selected(selector) => match around.namespaces.get(name) {
                Some(labels) => selector.matches(labels),
                // Every namespace has this label, declared or not.
                None => {
                    let label = (NAMESPACE_NAME_LABEL.to_owned(), name.to_owned());
                    selector.matches(&Labels::from([label]))
                }
            },
        }
    }
}

/// Whether a selector matches unknown labels is unknown: it does not.
fn is_every_pod(pods: Option<&LabelSelector>) -> bool {
    pods.is_none_or(LabelSelector::is_empty)
}

fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    selector.is_none_or(|selector| selector.matches(labels))
}

/// Whether `ip` is in the block. An IPv4 address may be written as an IPv6 address.
pub(crate) fn contains(block: &IpBlock, ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    block.cidr.contains(&ip) && !block.except.iter().any(|except| except.contains(&ip))
}
