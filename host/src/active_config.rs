//! The active configuration: the snapshot that decides on requests, and its pods.
//!
//! It is replaced as a whole behind an atomic pointer. A request keeps the configuration
//! that it started with; the next request uses the new one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use galleria_mesh as mesh;
use galleria_mesh::inbound::{InboundPolicies, Peer, WorkloadIdentity};
use tokio::sync::watch;

use crate::telemetry::metrics::ServiceNames;
use crate::workload::Pod;

/// The configuration at one moment.
pub(crate) struct ActiveConfig {
    pub snapshot: mesh::Snapshot,
    pods: HashMap<usize, Arc<Pod>>,
    /// One shared allocation per service, so that metrics compare names by pointer.
    names: HashMap<String, Arc<ServiceNames>>,
    workloads: HashMap<WorkloadIdentity, Arc<mesh::Workload>>,
    pub since: Instant,
}

impl ActiveConfig {
    pub(crate) fn new(snapshot: mesh::Snapshot, pods: Vec<Arc<Pod>>) -> Self {
        let names = snapshot
            .services()
            .iter()
            .map(|service| {
                let names = ServiceNames {
                    fqdn: service.fqdn.clone(),
                    name: service.name.clone(),
                    namespace: service.namespace.clone(),
                };
                (service.fqdn.clone(), Arc::new(names))
            })
            .collect();
        let workloads = snapshot.workloads();
        let workloads = workloads.map(|it| (WorkloadIdentity::from(&**it), it.clone()));
        let workloads = workloads.collect();
        let pods = pods.into_iter().map(|pod| (pod.target, pod)).collect();
        Self {
            snapshot,
            pods,
            names,
            workloads,
            since: Instant::now(),
        }
    }

    pub(crate) fn pod(&self, target: usize) -> Option<&Arc<Pod>> {
        self.pods.get(&target)
    }

    /// A peer that another host names, as the workload that this host knows.
    pub(crate) fn resolve(&self, peer: Peer) -> Peer {
        let known = match &peer {
            Peer::Named(identity) => self.workloads.get(identity),
            Peer::Client { .. }
            | Peer::Workload(_)
            | Peer::Account { .. }
            | Peer::Forwarded(_)
            | Peer::Unknown => None,
        };
        known.map_or(peer, |workload| Peer::Workload(workload.clone()))
    }

    /// The policies for requests to a workload of this host; None if no policy selects it.
    pub(crate) fn policies(&self, workload: &WorkloadIdentity) -> Option<&Arc<InboundPolicies>> {
        let workload = self.workloads.get(workload)?;
        self.snapshot.inbound_policies(workload)
    }

    /// The cluster that has replaced `cluster` of an earlier snapshot.
    pub(crate) fn successor_of(&self, cluster: &mesh::Cluster) -> Option<&Arc<mesh::Cluster>> {
        let services = self.snapshot.services().iter();
        services
            .filter(|service| service.fqdn == cluster.service_fqdn)
            .flat_map(|service| &service.clusters)
            .find(|candidate| candidate.name == cluster.name)
    }

    pub(crate) fn service_names(&self, cluster: &mesh::Cluster) -> Arc<ServiceNames> {
        self.names
            .get(&cluster.service_fqdn)
            .cloned()
            .unwrap_or_else(|| {
                Arc::new(ServiceNames {
                    fqdn: cluster.service_fqdn.clone(),
                    name: cluster.service_name.clone(),
                    namespace: cluster.service_namespace.clone(),
                })
            })
    }
}

/// The pointer to the active configuration.
pub(crate) struct ConfigHandle {
    live: ArcSwap<ActiveConfig>,
    changes: watch::Sender<u64>,
}

impl ConfigHandle {
    pub(crate) fn new(live: ActiveConfig) -> Self {
        Self {
            live: ArcSwap::from_pointee(live),
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn load(&self) -> Arc<ActiveConfig> {
        self.live.load_full()
    }

    pub(crate) fn replace(&self, live: ActiveConfig) {
        self.live.store(Arc::new(live));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Changes whenever the configuration is replaced.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
