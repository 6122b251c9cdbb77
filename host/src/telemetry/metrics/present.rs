//! The objects that exist now; the series of all others end.

use std::collections::HashSet;

use galleria_mesh::{RouteId, Snapshot, Workload};

use super::CallEdge;

/// See the module's documentation.
pub(crate) struct Present<'a> {
    /// Namespace and name of every workload in the manifests, even without pods.
    workloads: HashSet<(&'a str, &'a str)>,
    with_pods: HashSet<(&'a str, &'a str)>,
    /// The pods' label values in metrics.
    pods: HashSet<[&'a str; 7]>,
    services: HashSet<&'a str>,
    routes: &'a HashSet<RouteId>,
}

impl<'a> Present<'a> {
    /// `workloads` are those of the manifests, `pods` those of all existing pods, in this
    /// host and in others.
    pub(crate) fn new(
        workloads: impl Iterator<Item = (&'a str, &'a str)>,
        pods: impl Iterator<Item = &'a Workload> + Clone,
        snapshot: &'a Snapshot,
    ) -> Self {
        let services = snapshot.services().iter();
        Self {
            workloads: workloads.collect(),
            with_pods: pods
                .clone()
                .map(|it| (it.namespace.as_str(), it.name.as_str()))
                .collect(),
            pods: pods.map(names).collect(),
            services: services.map(|it| it.fqdn.as_str()).collect(),
            routes: snapshot.route_ids(),
        }
    }

    pub(crate) fn has_workload(&self, namespace: &str, name: &str) -> bool {
        let key = (namespace, name);
        self.workloads.contains(&key) || self.with_pods.contains(&key)
    }

    pub(super) fn has_route(&self, route: &RouteId) -> bool {
        self.routes.contains(route)
    }

    pub(super) fn has_service(&self, fqdn: &str) -> bool {
        self.services.contains(fqdn)
    }

    /// Whether both ends and the service still exist.
    pub(super) fn has_edge(&self, edge: &CallEdge) -> bool {
        let ends = [&edge.source, &edge.destination];
        let ends = ends.into_iter().flatten().all(|it| self.has(it));
        // A passthrough call has no service, and the service of a forwarded call is known
        // only to the host that forwarded it.
        let service = edge.service.as_ref().is_none_or(|service| {
            !edge.source_decides()
                || service.namespace.is_empty()
                || self.services.contains(service.fqdn.as_str())
        });
        ends && service
    }

    /// A version without pods no longer exists; a workload without pods does.
    fn has(&self, workload: &Workload) -> bool {
        let key = (workload.namespace.as_str(), workload.name.as_str());
        if self.with_pods.contains(&key) {
            return self.pods.contains(&names(workload));
        }
        self.workloads.contains(&key)
    }
}

fn names(workload: &Workload) -> [&str; 7] {
    [
        &workload.namespace,
        &workload.name,
        &workload.service_account,
        &workload.app,
        &workload.version,
        &workload.canonical_service,
        &workload.canonical_revision,
    ]
}
