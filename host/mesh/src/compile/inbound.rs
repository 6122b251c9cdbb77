//! The ports on which other hosts of the mesh call the pods of this one.
//!
//! The caller's host has decided everything already, as a sidecar of the caller does. A
//! request is sent to the pods of the port, regardless of its host and path.

use std::collections::HashMap;
use std::sync::Arc;

use galleria_manifest::model::Protocol;

use super::clusters::Clusters;
use super::rules::plain_rule;
use crate::decide::host::HostTable;
use crate::decide::listener::{Listener, ListenerPurpose};
use crate::decide::rewrite::Rewrite;
use crate::decide::rule::ClusterChoice;
use crate::decide::virtual_host::VirtualHost;
use crate::inbound::WorkloadIdentity;
use crate::{Cluster, InboundPort, Pod};

/// The listeners and hosts to add to those of the edge.
pub(crate) struct Inbound {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) hosts: HashMap<u16, HostTable<Arc<VirtualHost>>>,
    /// The names of the clusters, whose state must be kept.
    pub(crate) clusters: Vec<String>,
}

pub(crate) fn compile(ports: &[InboundPort], pods: &[Pod], clusters: &Clusters<'_>) -> Inbound {
    let mut inbound = Inbound {
        listeners: Vec::new(),
        hosts: HashMap::new(),
        clusters: Vec::new(),
    };
    for port in ports {
        let cluster = clusters.inbound(port, pods);
        inbound.clusters.push(cluster.name.clone());
        inbound.listeners.push(Listener {
            port: port.port,
            protocol: Protocol::Http,
            gateways: vec![format!("{}/{}", port.namespace, port.name)],
            https_redirect: false,
            purpose: ListenerPurpose::Workload(WorkloadIdentity {
                namespace: port.namespace.clone(),
                name: port.name.clone(),
                service_account: port.service_account.clone(),
            }),
            servers: Vec::new(),
        });
        inbound.hosts.insert(port.port, one_route(cluster));
    }
    inbound
}

/// A table that sends every request to `cluster`.
pub(crate) fn one_route(cluster: Arc<Cluster>) -> HostTable<Arc<VirtualHost>> {
    let chosen = ClusterChoice::One(cluster);
    let rule = plain_rule(Vec::new(), "*", chosen, Rewrite::default());
    let mut table = HostTable::default();
    table
        .entry("*")
        .or_insert_with(|| Arc::new(VirtualHost::with_rule(rule)));
    table
}
