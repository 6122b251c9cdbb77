//! The ports of Services of type NodePort and LoadBalancer, for clients outside the mesh.
//!
//! As in a cluster, they lead to a ready pod of the Service: no route and no DestinationRule
//! applies, since these belong to gateways and to callers in the mesh. What the pod accepts is
//! decided as for any client that no gateway vouches for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use galleria_manifest::Diagnostic;
use galleria_manifest::model::{Exposure, Protocol, Service, ServicePort};

use super::clusters::Clusters;
use super::inbound::one_route;
use super::inventory::Inventory;
use crate::decide::host::HostTable;
use crate::decide::listener::{ExposedPort, Listener, ListenerPurpose};
use crate::decide::virtual_host::VirtualHost;

/// How many ports a host opens for Services: each needs a file descriptor, which connections of
/// all tenants need too.
const PORTS_MAX: usize = 256;

/// What to add to the listeners and hosts of the edge.
#[derive(Default)]
pub(crate) struct ServicePorts {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) hosts: HashMap<u16, HostTable<Arc<VirtualHost>>>,
    /// The names of the clusters, whose state must be kept.
    pub(crate) clusters: Vec<String>,
}

/// The ports that are in none of `others`. Of two Services with one port, one from a file has
/// it, or else the older: no later Service takes a port away.
pub(crate) fn compile(
    inventory: &Inventory<'_>,
    clusters: &Clusters<'_>,
    others: &[Listener],
    diagnostics: &mut Vec<Diagnostic>,
) -> ServicePorts {
    let mut found = ServicePorts::default();
    let owners = others.iter().map(|it| (it.port, it.gateways.join(", ")));
    let mut owners: BTreeMap<u16, String> = owners.collect();
    let mut services: Vec<_> = inventory.services.iter().collect();
    services.sort_by_key(|source| source.object.metadata.creation_timestamp.is_some());
    for source in services {
        let reference = source.reference("Service");
        for (index, port) in source.spec.ports.iter().enumerate() {
            let exposed = ExposedPort {
                service: reference.clone(),
                at: port.at.clone(),
                index,
            };
            let mut cluster = None;
            for number in numbers(source.spec, port) {
                if let Some(owner) = owners.get(&number) {
                    let reason = format!("{owner} has it; choose another one");
                    diagnostics.push(exposed.warning(number, &reason));
                    continue;
                }
                if found.listeners.len() == PORTS_MAX {
                    let reason =
                        format!("{PORTS_MAX} ports of Services are open, which is the limit");
                    diagnostics.push(exposed.warning(number, &reason));
                    continue;
                }
                let Some(cluster) = cluster
                    .get_or_insert_with(|| clusters.of_clients(&reference, port.port))
                    .clone()
                else {
                    continue;
                };
                owners.insert(number, reference.qualified_name());
                found.clusters.push(cluster.name.clone());
                found.hosts.insert(number, one_route(cluster));
                found.listeners.push(Listener {
                    port: number,
                    protocol: Protocol::Http,
                    gateways: vec![reference.qualified_name()],
                    https_redirect: false,
                    purpose: ListenerPurpose::Service(exposed.clone()),
                    servers: Vec::new(),
                });
            }
        }
    }
    found
}

/// The ports for clients outside the mesh by which a Service's port is reached.
fn numbers(service: &Service, port: &ServicePort) -> Vec<u16> {
    let balanced = (service.exposure == Exposure::LoadBalancer).then_some(port.port);
    port.node_port.into_iter().chain(balanced).collect()
}
