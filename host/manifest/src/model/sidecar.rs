//! Istio's Sidecar: which destinations a workload sees.

use super::Labels;
use crate::{Position, WithPosition};

#[derive(Debug, Clone)]
pub struct Sidecar {
    /// `None` means every workload of the namespace; in the root namespace, of all
    /// namespaces.
    pub workload_selector: Option<WithPosition<Labels>>,
    /// Empty means everything.
    pub egress: Vec<SidecarEgress>,
    /// `None` means that of the mesh.
    pub outbound_traffic_policy: Option<OutboundTrafficMode>,
}

#[derive(Debug, Clone)]
pub struct SidecarEgress {
    pub at: Position,
    /// `None` means every port that no other entry names.
    pub port: Option<u16>,
    pub hosts: Vec<SidecarHost>,
}

/// `NAMESPACE/HOST`
#[derive(Debug, Clone)]
pub struct SidecarHost {
    pub at: Position,
    /// `~` before the namespace: the host is not seen, whatever other entries of the listener
    /// say. A `~` alone is before `*`.
    pub excluded: bool,
    pub namespace: HostNamespace,
    /// In lower case. It can be a wildcard.
    pub host: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostNamespace {
    /// `*`
    Any,
    /// `.`: that of the workload.
    Own,
    Named(String),
}

/// `outboundTrafficPolicy.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundTrafficMode {
    RegistryOnly,
    AllowAny,
}
