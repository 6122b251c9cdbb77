//! The pods of headless services, which can be called by their own names.
//!
//! As in Istio, the VirtualService of the service applies to a call to one of its pods. Where
//! it sends the request to the service itself, the request reaches that pod.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{MeshCompiler, add_name_forms};
use crate::compile::registry::RegistryService;
use crate::decide::host::HostTable;
use crate::decide::snapshot::{HostViews, MeshHosts};

impl<'a> MeshCompiler<'a, '_> {
    /// Adds the pods of all headless services.
    pub(super) fn add_pods(&mut self, by_host: &HostTable<Vec<usize>>, mesh: &mut MeshHosts) {
        let registry = self.registry;
        for (number, service) in registry.services.iter().enumerate() {
            if !service.headless {
                continue;
            }
            let endpoints = service.ports.iter().flat_map(|port| &port.endpoints);
            let pods: BTreeSet<&str> = endpoints.map(|it| it.name.as_str()).collect();
            for pod in pods {
                let Some((_, name)) = pod.rsplit_once('/') else {
                    continue;
                };
                let mut views = self.views_of_pod((number, service), pod, by_host, mesh);
                let slot = mesh.slots.len();
                let host = format!("{name}.{}", service.host);
                mesh.names.entry(&host).or_insert(slot);
                let service_name = format!("{name}.{}", service.name);
                add_name_forms(mesh, slot, &service_name, &service.namespace);
                rename(&mut views, &host);
                mesh.slots.push(views);
            }
        }
    }

    /// The views of the service, with the clusters of the pod alone.
    fn views_of_pod(
        &mut self,
        (number, service): (usize, &'a RegistryService),
        pod: &str,
        by_host: &HostTable<Vec<usize>>,
        mesh: &mut MeshHosts,
    ) -> HostViews {
        // Compiled rules contain clusters, so those of the service are not those of the pod.
        let rules = std::mem::take(&mut self.rules);
        let tables = std::mem::take(&mut self.tables);
        self.clusters.addressed = Some((number, pod.to_owned()));
        let views = self.views(&service.host, by_host, &mut mesh.namespaces);
        self.clusters.addressed = None;
        self.rules = rules;
        self.tables = tables;
        views
    }
}

/// Gives the hosts of `views` the name `domain`.
fn rename(views: &mut HostViews, domain: &str) {
    let special = views.special.iter_mut();
    let special = special.filter_map(|(_, host)| host.as_mut());
    let hosts = views.others.iter_mut().chain(special);
    for host in hosts.chain(views.scoped.values_mut()) {
        // Nothing shares it yet.
        if let Some(host) = Arc::get_mut(host) {
            domain.clone_into(&mut host.domain);
        }
    }
}
