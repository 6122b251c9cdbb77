//! Sidecars: which hosts each of them lets a workload see.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use galleria_manifest::model::{
    HostNamespace, Object, OutboundTrafficMode, Sidecar, SidecarEgress, SidecarHost,
};

use super::inventory::{Inventory, Source};
use crate::decide::host::covers;
use crate::decide::sidecar::{IndexedSidecar, SidecarIndex, SidecarScope};
use crate::{Options, OutboundPolicy, Pod};

/// What the workloads of one namespace see through one Sidecar.
#[derive(Debug)]
pub(crate) struct ScopedHosts<'a> {
    pub(crate) namespace: &'a str,
    egress: &'a [SidecarEgress],
}

/// The index of all Sidecars, and the hosts of each scope, by its number.
pub(crate) fn index<'a>(
    inventory: &Inventory<'a>,
    objects: &'a [Arc<Object>],
    pods: &'a [Pod],
    options: &Options,
) -> (SidecarIndex, Vec<ScopedHosts<'a>>) {
    let mut index = SidecarIndex {
        root_namespace: options.root_namespace.clone(),
        ..SidecarIndex::default()
    };
    let mut hosts = Vec::new();
    if inventory.sidecars.is_empty() {
        return (index, hosts);
    }
    let of_objects = objects.iter().map(|it| it.metadata.namespace.as_str());
    let of_pods = pods.iter().map(|pod| pod.workload.namespace.as_str());
    let namespaces: BTreeSet<&str> = of_objects.chain(of_pods).collect();
    for source in &inventory.sidecars {
        let is_for_all =
            source.namespace() == options.root_namespace && source.spec.workload_selector.is_none();
        let own = namespaces
            .iter()
            .filter(|namespace| is_for_all || **namespace == source.namespace());
        let mut scopes = HashMap::new();
        for namespace in own {
            let number = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
            scopes.insert((*namespace).to_owned(), number);
            hosts.push(ScopedHosts {
                namespace,
                egress: &source.spec.egress,
            });
            index.scopes.push(scope(source));
        }
        index.sidecars.push(IndexedSidecar {
            object: source.reference("Sidecar"),
            labels: source
                .spec
                .workload_selector
                .as_ref()
                .map(|it| it.value.clone()),
            scopes,
        });
    }
    (index, hosts)
}

fn scope(source: &Source<'_, Sidecar>) -> SidecarScope {
    SidecarScope {
        object: source.reference("Sidecar"),
        outbound_policy: source.spec.outbound_traffic_policy.map(|mode| match mode {
            OutboundTrafficMode::RegistryOnly => OutboundPolicy::RegistryOnly,
            OutboundTrafficMode::AllowAny => OutboundPolicy::AllowAny,
        }),
    }
}

impl ScopedHosts<'_> {
    /// Whether the workloads see `host` of a resource of `namespace`, on any port.
    pub(crate) fn sees(&self, namespace: &str, host: &str) -> bool {
        let mut egress = self.egress.iter();
        self.egress.is_empty() || egress.any(|it| self.names(it, namespace, host))
    }

    /// Whether a VirtualService of `namespace` for `host` applies. Unlike a service, it may
    /// also be for more than the workloads see.
    pub(crate) fn sees_rules(&self, namespace: &str, host: &str) -> bool {
        let overlaps = |it: &str| covers(it, host) || covers(host, it);
        let mut egress = self.egress.iter();
        self.egress.is_empty() || egress.any(|it| self.imports(it, namespace, host, overlaps))
    }

    /// Whether they see it on `port`. Entries with the port are the only ones for it; if
    /// there are none, those without a port are.
    pub(crate) fn sees_on(&self, namespace: &str, host: &str, port: u16) -> bool {
        let is_named = self.egress.iter().any(|it| it.port == Some(port));
        let wanted = is_named.then_some(port);
        let mut egress = self.egress.iter().filter(|it| it.port == wanted);
        self.egress.is_empty() || egress.any(|it| self.names(it, namespace, host))
    }

    /// Those of `ports` on which they see a host; `None` means every port.
    pub(crate) fn ports(
        &self,
        namespace: &str,
        host: &str,
        ports: Option<Vec<u16>>,
    ) -> Option<Vec<u16>> {
        let named = || self.egress.iter().filter_map(|it| it.port);
        let ports = match ports {
            Some(ports) => ports,
            None if named().next().is_none() => return None,
            None => named().chain([80, 443]).collect(),
        };
        let seen = ports.into_iter();
        Some(
            seen.filter(|port| self.sees_on(namespace, host, *port))
                .collect(),
        )
    }

    fn names(&self, egress: &SidecarEgress, namespace: &str, host: &str) -> bool {
        self.imports(egress, namespace, host, |it| covers(it, host))
    }

    /// Whether an entry imports the host, by `matches`, and none excludes it.
    fn imports(
        &self,
        egress: &SidecarEgress,
        namespace: &str,
        host: &str,
        matches: impl Fn(&str) -> bool,
    ) -> bool {
        let has_namespace = |entry: &&SidecarHost| match &entry.namespace {
            HostNamespace::Any => true,
            HostNamespace::Own => namespace == self.namespace,
            HostNamespace::Named(name) => namespace == name,
        };
        let mut is_imported = false;
        for entry in egress.hosts.iter().filter(has_namespace) {
            if !entry.excluded {
                is_imported |= matches(&entry.host);
            } else if covers(&entry.host, host) {
                return false;
            }
        }
        is_imported
    }
}
