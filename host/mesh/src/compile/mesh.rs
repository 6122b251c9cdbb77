//! The hosts that workloads can call: services, and the VirtualServices for them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use galleria_manifest::model::HttpRoute;

use super::clusters::Clusters;
use super::delegate::BoundVirtualService;
use super::export::View;
use super::inventory::full_name;
use super::registry::{Registry, RegistryService};
use super::rules::{Rules, Scope, plain_rule};
use super::sidecar::ScopedHosts;
use crate::Options;
use crate::decide::condition::Condition;
use crate::decide::host::HostTable;
use crate::decide::rewrite::Rewrite;
use crate::decide::rule::{Block, ClusterChoice};
use crate::decide::snapshot::{HostViews, MeshHosts};
use crate::decide::virtual_host::{RouteTable, VirtualHost};

/// Compiles the hosts of the mesh.
pub(crate) struct MeshCompiler<'a, 'c> {
    pub(crate) bound: &'a [BoundVirtualService<'a>],
    pub(crate) registry: &'a Registry,
    /// Those of Sidecars, by number.
    pub(crate) scopes: &'a [ScopedHosts<'a>],
    pub(crate) clusters: &'c mut Clusters<'a>,
    pub(crate) options: &'a Options,
    pub(crate) rules: Rules<'a>,
    pub(crate) tables: HashMap<(usize, View<'a>), Arc<RouteTable>>,
}

impl<'a> MeshCompiler<'a, '_> {
    pub(crate) fn compile(mut self, namespaces: HashMap<String, u32>) -> MeshHosts {
        let mut by_host: HostTable<Vec<usize>> = HostTable::default();
        let mut hosts: BTreeSet<&'a str> = BTreeSet::new();
        for (number, bound) in self.bound.iter().enumerate() {
            if bound.gateways.iter().any(|gateway| gateway == "mesh") {
                for host in &bound.hosts {
                    by_host.entry(host).or_default().push(number);
                    hosts.insert(host);
                }
            }
        }
        hosts.extend(
            self.registry
                .services
                .iter()
                .map(|service| service.host.as_str()),
        );
        let mut mesh = MeshHosts {
            namespaces,
            ..MeshHosts::default()
        };
        for host in &hosts {
            let views = self.views(host, &by_host, &mut mesh.namespaces);
            mesh.names.entry(host).or_insert(mesh.slots.len());
            mesh.slots.push(views);
        }
        self.add_forms(&hosts, &mut mesh);
        self.add_pods(&mut mesh);
        mesh
    }

    fn views(
        &mut self,
        host: &'a str,
        by_host: &HostTable<Vec<usize>>,
        namespaces: &mut HashMap<String, u32>,
    ) -> HostViews {
        let mut views = HostViews {
            others: self.virtual_host(host, by_host, View::Others),
            special: Vec::new(),
            scoped: HashMap::new(),
        };
        for (number, scope) in (0..).zip(self.scopes) {
            let seen = self.scoped_host(host, by_host, scope);
            views.scoped.extend(seen.map(|host| (number, host)));
        }
        for namespace in self.special(host, by_host) {
            let view = self.virtual_host(host, by_host, View::Namespace(namespace));
            views.special.push((intern(namespaces, namespace), view));
        }
        views
    }

    /// The host as `view` sees it: the oldest VirtualService for the most specific matching
    /// host, or without one the service itself.
    fn virtual_host(
        &mut self,
        host: &'a str,
        by_host: &HostTable<Vec<usize>>,
        view: View<'a>,
    ) -> Option<Arc<VirtualHost>> {
        let service = self.registry.find(host, view);
        let chosen = by_host.find(host, |numbers, _| {
            let mut numbers = numbers.iter().copied();
            numbers.find(|number| {
                self.bound
                    .get(*number)
                    .is_some_and(|it| it.export_to.reaches(view))
            })
        });
        let table = match (chosen, service) {
            (Some(number), _) => self.table(number, view)?,
            (None, Some(number)) => self.plain_table(number, view)?,
            (None, None) => return None,
        };
        let service = service.and_then(|number| self.registry.services.get(number));
        Some(Arc::new(VirtualHost {
            domain: host.to_owned(),
            table,
            https_redirect: false,
            ports: service.map(|it| it.ports.iter().map(|port| port.number).collect()),
            one_label: false,
        }))
    }

    /// The host as the workloads of a Sidecar's scope see it.
    fn scoped_host(
        &mut self,
        host: &'a str,
        by_host: &HostTable<Vec<usize>>,
        scope: &'a ScopedHosts<'a>,
    ) -> Option<Arc<VirtualHost>> {
        let view = View::Namespace(scope.namespace);
        let seen = |service: &RegistryService| scope.sees(&service.namespace, &service.host);
        let service = self.registry.find_where(host, view, seen);
        let chosen = by_host.find(host, |numbers, _| {
            let mut numbers = numbers.iter().copied();
            numbers.find(|number| {
                self.bound.get(*number).is_some_and(|it| {
                    let namespace = &it.object.namespace;
                    let mut hosts = it.hosts.iter();
                    it.export_to.reaches(view) && hosts.any(|host| scope.sees(namespace, host))
                })
            })
        });
        let table = match (chosen, service) {
            (Some(number), _) => self.table(number, view)?,
            (None, Some(number)) => self.plain_table(number, view)?,
            (None, None) => return None,
        };
        let service = service.and_then(|number| self.registry.services.get(number));
        let ports = service.map(|service| {
            let ports = service.ports.iter().map(|port| port.number);
            ports
                .filter(|port| scope.sees_on(&service.namespace, &service.host, *port))
                .collect()
        });
        Some(Arc::new(VirtualHost {
            domain: host.to_owned(),
            table,
            https_redirect: false,
            ports,
            one_label: false,
        }))
    }

    fn table(&mut self, number: usize, view: View<'a>) -> Option<Arc<RouteTable>> {
        if let Some(table) = self.tables.get(&(number, view)) {
            return Some(Arc::clone(table));
        }
        let bound = self.bound.get(number)?;
        let scope = Scope {
            gateway: "mesh",
            visible: view,
            client: view,
        };
        let rules = self.rules.of(number, bound, scope, self.clusters);
        let table = Arc::new(RouteTable::new(rules.to_vec()));
        self.tables.insert((number, view), Arc::clone(&table));
        Some(table)
    }

    fn plain_table(&mut self, number: usize, view: View<'a>) -> Option<Arc<RouteTable>> {
        let service = self.registry.services.get(number)?;
        let target = self.registry.resolve_alias(number, view);
        let mut rules = Vec::new();
        for port in &service.ports {
            let cluster = self.clusters.cluster(target, port.number, None, view);
            let cluster = cluster.map_or_else(
                || ClusterChoice::Missing(format!("outbound|{}||{}", port.number, service.host)),
                ClusterChoice::One,
            );
            rules.push(Arc::new(port_rule(service, port.number, cluster)));
        }
        Some(Arc::new(RouteTable::new(rules)))
    }

    /// The namespaces that may see other rules or policies for `host` than most.
    fn special(&self, host: &'a str, by_host: &HostTable<Vec<usize>>) -> BTreeSet<&'a str> {
        let mut special = BTreeSet::new();
        self.add_special_of_service(host, &mut special);
        by_host.find(host, |numbers, _| {
            for bound in numbers.iter().filter_map(|number| self.bound.get(*number)) {
                special.extend(bound.export_to.special().iter().map(String::as_str));
                for route in &bound.routes {
                    for name in destination_hosts(&route.route) {
                        let namespace = &route.object.namespace;
                        let name = full_name(name, namespace, &self.options.cluster_domain);
                        self.add_special_of_service(&name, &mut special);
                    }
                }
            }
            None::<()>
        });
        special
    }

    fn add_special_of_service(&self, host: &str, special: &mut BTreeSet<&'a str>) {
        let several = self.registry.all_of(host).count() > 1;
        for service in self.registry.all_of(host) {
            special.extend(service.export_to.special().iter().map(String::as_str));
            if several {
                special.insert(&service.namespace);
            }
            special.extend(self.clusters.rules.special(service));
            let alias = service.alias.as_deref().unwrap_or_default();
            for target in self.registry.all_of(alias) {
                special.extend(self.clusters.rules.special(target));
            }
        }
    }

    /// Adds the shorter forms of services' names, and the addresses of ServiceEntries.
    fn add_forms(&self, hosts: &BTreeSet<&'a str>, mesh: &mut MeshHosts) {
        for (slot, host) in hosts.iter().enumerate() {
            if let Some((name, namespace)) = self.service_of(host) {
                add_name_forms(mesh, slot, name, namespace);
            }
            for service in self.registry.all_of(host) {
                for address in &service.addresses {
                    let name = if address.contains(':') {
                        format!("[{address}]")
                    } else {
                        address.clone()
                    };
                    mesh.names.entry(&name).or_insert(slot);
                }
            }
        }
    }

    /// Splits `productservice.shop.svc.cluster.local` into `productservice` and `shop`.
    fn service_of<'h>(&self, host: &'h str) -> Option<(&'h str, &'h str)> {
        let rest = host
            .strip_suffix(self.options.cluster_domain.as_str())?
            .strip_suffix(".svc.")?;
        let (name, namespace) = rest.rsplit_once('.')?;
        (!name.starts_with('*')).then_some((name, namespace))
    }

    /// Adds the pods of headless services by their own names.
    fn add_pods(&mut self, mesh: &mut MeshHosts) {
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
                let Some(host) = self.pod_host(number, service, pod, name) else {
                    continue;
                };
                let slot = mesh.slots.len();
                mesh.names.entry(&host.domain).or_insert(slot);
                let service_name = format!("{name}.{}", service.name);
                add_name_forms(mesh, slot, &service_name, &service.namespace);
                let seen = (0..)
                    .zip(self.scopes)
                    .filter(|(_, scope)| scope.sees(&service.namespace, &service.host));
                let views = HostViews {
                    scoped: seen.map(|(number, _)| (number, host.clone())).collect(),
                    others: Some(host),
                    special: Vec::new(),
                };
                mesh.slots.push(views);
            }
        }
    }

    fn pod_host(
        &mut self,
        number: usize,
        service: &RegistryService,
        pod: &str,
        name: &str,
    ) -> Option<Arc<VirtualHost>> {
        let mut rules = Vec::new();
        for port in &service.ports {
            let cluster = self
                .clusters
                .pod_cluster(number, port.number, pod, View::Others)?;
            rules.push(Arc::new(port_rule(
                service,
                port.number,
                ClusterChoice::One(cluster),
            )));
        }
        Some(Arc::new(VirtualHost {
            domain: format!("{name}.{}", service.host),
            table: Arc::new(RouteTable::new(rules)),
            https_redirect: false,
            ports: Some(service.ports.iter().map(|port| port.number).collect()),
            one_label: false,
        }))
    }
}

fn port_rule(
    service: &RegistryService,
    port: u16,
    cluster: ClusterChoice,
) -> crate::decide::rule::Rule {
    let block = Block {
        at: None,
        conditions: vec![Condition::Port(port)],
    };
    plain_rule(vec![block], &service.host, cluster, Rewrite::default())
}

fn add_name_forms(mesh: &mut MeshHosts, slot: usize, name: &str, namespace: &str) {
    for form in [
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}"),
    ] {
        mesh.names.entry(&form).or_insert(slot);
    }
    let number = intern(&mut mesh.namespaces, namespace);
    mesh.short
        .entry(number)
        .or_default()
        .entry(name.to_owned())
        .or_insert(slot);
}

fn destination_hosts(route: &HttpRoute) -> impl Iterator<Item = &str> {
    let destinations = route.route.iter().map(|it| it.destination.host.as_str());
    destinations.chain(
        route
            .mirrors
            .iter()
            .map(|mirror| mirror.destination.host.as_str()),
    )
}

/// The number of a namespace, assigned if it has none.
pub(crate) fn intern(namespaces: &mut HashMap<String, u32>, namespace: &str) -> u32 {
    if let Some(number) = namespaces.get(namespace) {
        return *number;
    }
    let number = u32::try_from(namespaces.len()).unwrap_or(u32::MAX);
    namespaces.insert(namespace.to_owned(), number);
    number
}
