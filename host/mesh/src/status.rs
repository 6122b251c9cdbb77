//! The content of a snapshot, for status pages.

use std::sync::Arc;

use crate::{Cluster, ObjectRef};

/// A service, or one host of a ServiceEntry.
#[derive(Debug, Clone)]
pub struct ServiceStatus {
    /// `productservice.shop.svc.cluster.local`, or the ServiceEntry's host.
    pub fqdn: String,
    pub name: String,
    pub namespace: String,
    /// The Service or ServiceEntry.
    pub object: ObjectRef,
    /// Whether the service is outside the mesh.
    pub external: bool,
    pub ports: Vec<u16>,
    /// One cluster for each port and subset.
    pub clusters: Vec<Arc<Cluster>>,
}

/// A VirtualService or Ingress.
#[derive(Debug, Clone)]
pub struct RouteStatus {
    pub object: ObjectRef,
    pub hosts: Vec<String>,
    /// `mesh`, or `namespace/name`.
    pub gateways: Vec<String>,
    pub rules: Vec<RuleStatus>,
}

#[derive(Debug, Clone)]
pub struct RuleStatus {
    pub name: String,
    /// The match in one line: `uri prefix /ui, header user-agent regex .*Firefox.*`.
    pub condition: String,
    /// `forward`, `redirect` or `direct response`.
    pub action: &'static str,
    pub destinations: Vec<DestinationStatus>,
}

#[derive(Debug, Clone)]
pub struct DestinationStatus {
    pub host: String,
    pub subset: Option<String>,
    pub port: Option<u16>,
    /// As declared, or 100 for the only destination.
    pub weight: u32,
}
