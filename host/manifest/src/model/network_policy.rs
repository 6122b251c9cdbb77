//! NetworkPolicy.

use ipnet::IpNet;

use super::{LabelSelector, Labels};
use crate::WithPosition;

/// The label by which every namespace can be selected; its value is the namespace's name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The labels of the host's own gateway, which are those of Istio's ingress gateway. It
/// belongs to the root namespace.
pub fn gateway_labels() -> Labels {
    let labels = [("app", "istio-ingressgateway"), ("istio", "ingressgateway")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    labels.into_iter().collect()
}

/// Which connections the selected pods accept and open. A direction that a policy governs
/// is closed, except for what one of its rules, or of another policy, allows.
#[derive(Debug, Clone)]
pub struct NetworkPolicy {
    /// The pods of the policy's namespace that it governs.
    pub pod_selector: WithPosition<LabelSelector>,
    /// `None` if `policyTypes` leaves the direction open.
    pub ingress: Option<Vec<NetworkPolicyRule>>,
    /// `None` if `policyTypes` leaves the direction open.
    pub egress: Option<Vec<NetworkPolicyRule>>,
}

/// Both lists must match.
#[derive(Debug, Clone)]
pub struct NetworkPolicyRule {
    /// `from` or `to`; empty means everything.
    pub peers: Vec<NetworkPolicyPeer>,
    /// Empty means every port.
    pub ports: Vec<NetworkPolicyPort>,
}

#[derive(Debug, Clone)]
pub enum NetworkPolicyPeer {
    Pods(PodPeer),
    Block(IpBlock),
}

/// Pods; both selectors must match.
#[derive(Debug, Clone)]
pub struct PodPeer {
    /// `None` means every pod.
    pub pod_selector: Option<WithPosition<LabelSelector>>,
    /// `None` means the namespace of the policy.
    pub namespace_selector: Option<WithPosition<LabelSelector>>,
}

/// A network of addresses outside the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IpBlock {
    pub cidr: IpNet,
    /// Parts of `cidr`.
    pub except: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicyPort {
    /// `TCP` by default.
    pub protocol: TransportProtocol,
    pub port: PolicyPort,
}

/// A port of the pods, not of their Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyPort {
    Any,
    /// `port` to `endPort`, both included.
    Range(u16, u16),
    /// The name of a container's port.
    Name(WithPosition<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportProtocol {
    Tcp,
    Udp,
    Sctp,
}

impl TransportProtocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}
