//! The hosts that workloads can call: services, and the VirtualServices for them.

mod headless;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use galleria_manifest::model::HttpRoute;

use super::clusters::Clusters;
use super::delegate::BoundVirtualService;
use super::export::View;
use super::inventory::full_name;
use super::registry::{ANY_PORT, Registry, RegistryService};
use super::rules::{Rules, Scope, plain_rule};
use super::sidecar::ScopedHosts;
use crate::Options;
use crate::decide::condition::Condition;
use crate::decide::host::{HostMatch, HostTable, covers};
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
        self.add_pods(&by_host, &mut mesh);
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

    /// The host as `view` sees it: the VirtualServices for the most specific matching host, or
    /// without one the service itself.
    fn virtual_host(
        &mut self,
        host: &'a str,
        by_host: &HostTable<Vec<usize>>,
        view: View<'a>,
    ) -> Option<Arc<VirtualHost>> {
        let service = self.registry.find(host, view);
        let chosen = self.chosen(host, by_host, view, service.is_some(), |_| true);
        let ports = match service {
            Some(number) => self.registry.ports(number, view),
            None => {
                let seen = |service: &RegistryService| service.export_to.reaches(view);
                let owner = |host: &str| {
                    let all = self.chosen(host, by_host, view, true, |_| true);
                    all.first().copied()
                };
                let ports = self.undeclared_ports(host, &chosen, seen, owner);
                return self.undeclared_host(host, ports, view);
            }
        };
        self.host_of(host, &chosen, service, ports, view)
    }

    /// The VirtualServices for a host that `view` sees, in the order in which they count: all
    /// that name it, or else the first of those with the longest wildcard.
    fn chosen(
        &self,
        host: &str,
        by_host: &HostTable<Vec<usize>>,
        view: View<'_>,
        is_declared: bool,
        seen: impl Fn(&BoundVirtualService<'_>) -> bool,
    ) -> Vec<usize> {
        let chosen = by_host.find(host, |numbers, found| {
            let known = numbers
                .iter()
                .filter_map(|number| Some((*number, self.bound.get(*number)?)));
            let visible = known.filter(|(_, it)| it.export_to.reaches(view) && seen(it));
            let mut visible: Vec<_> = visible.collect();
            visible.sort_by_key(|(_, it)| it.export_to.rank(&it.object.namespace, view));
            // A wildcard names itself, but not a service.
            if found != HostMatch::Exact && (is_declared || found != HostMatch::Wildcard("*")) {
                visible.truncate(1);
            }
            (!visible.is_empty()).then_some(visible)
        });
        let chosen = chosen.unwrap_or_default().into_iter();
        chosen.map(|(number, _)| number).collect()
    }

    /// The routes of a host: those of the VirtualServices, and where these have no rules those
    /// of the service. Without `ports`, every port is accepted.
    fn host_of(
        &mut self,
        host: &str,
        chosen: &[usize],
        service: Option<usize>,
        ports: Option<Vec<u16>>,
        view: View<'a>,
    ) -> Option<Arc<VirtualHost>> {
        let mut tables = Vec::new();
        let mut is_certain = false;
        for number in chosen {
            let table = self.table(*number, view)?;
            is_certain = table.always_applies();
            tables.push(table);
            if is_certain {
                break;
            }
        }
        if let Some(service) = service.filter(|_| !is_certain) {
            tables.extend(self.plain_table(service, view));
        }
        let mut tables = tables.into_iter();
        Some(Arc::new(VirtualHost {
            domain: host.to_owned(),
            table: tables.next()?,
            https_redirect: false,
            ports,
            is_declared: service.is_some(),
            others: tables.collect(),
            next: None,
            one_label: false,
        }))
    }

    /// A host that no service declares: each of its VirtualServices has ports of its own.
    fn undeclared_host(
        &mut self,
        host: &str,
        ports: Vec<(usize, Vec<u16>)>,
        view: View<'a>,
    ) -> Option<Arc<VirtualHost>> {
        let mut next = None;
        for (number, ports) in ports.into_iter().rev() {
            let mut first = self.host_of(host, &[number], None, Some(ports), view)?;
            if let Some(first) = Arc::get_mut(&mut first) {
                first.next = next;
            }
            next = Some(first);
        }
        next
    }

    /// The ports on which the rules of each VirtualService apply to a host that no service
    /// declares: those of the services that it also names, and 80 if any service has that port.
    /// A wildcard names the services of which its VirtualService is the `owner`: the first of
    /// those with the most specific host. A wildcard that matches a service reaches no other
    /// names.
    fn undeclared_ports(
        &self,
        host: &str,
        virtual_services: &[usize],
        seen: impl Fn(&RegistryService) -> bool,
        owner: impl Fn(&str) -> Option<usize>,
    ) -> Vec<(usize, Vec<u16>)> {
        let mut found = Vec::new();
        for number in virtual_services {
            let Some(bound) = self.bound.get(*number) else {
                continue;
            };
            if !bound.hosts.iter().any(|it| it == host) {
                // A wildcard is a host of its own.
                continue;
            }
            let is_named = |service: &RegistryService| {
                let covers = |pattern: &&String| covers(pattern, &service.host);
                let mut patterns = bound.hosts.iter().filter(covers).peekable();
                patterns.peek().is_some()
                    && (patterns.any(|it| *it == service.host)
                        || owner(&service.host) == Some(*number))
            };
            let mut ports = BTreeSet::new();
            for service in &self.registry.services {
                let is_named = seen(service) && is_named(service);
                let numbers = service.ports.iter().map(|port| port.number);
                ports.extend(numbers.filter(|port| *port == 80 || is_named));
            }
            if host.starts_with('*') {
                let services = self.registry.services.iter();
                let covered = services.filter(|it| seen(it) && covers(host, &it.host));
                for port in covered.flat_map(|it| &it.ports) {
                    ports.remove(&port.number);
                }
            }
            if !ports.is_empty() {
                found.push((*number, ports.into_iter().collect()));
            }
        }
        found
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
        let sees_rules = |it: &BoundVirtualService<'_>| {
            let namespace = &it.object.namespace;
            let mut hosts = it.hosts.iter();
            hosts.any(|host| scope.sees_rules(namespace, host))
        };
        let chosen = self.chosen(host, by_host, view, service.is_some(), sees_rules);
        let ports = match service {
            None => {
                let owner = |host: &str| {
                    let all = self.chosen(host, by_host, view, true, sees_rules);
                    all.first().copied()
                };
                let ports = self.undeclared_ports(host, &chosen, seen, owner);
                return self.undeclared_host(host, ports, view);
            }
            Some(number) => {
                let service = self.registry.services.get(number)?;
                let ports = self.registry.ports(number, view);
                scope.ports(&service.namespace, &service.host, ports)
            }
        };
        self.host_of(host, &chosen, service, ports, view)
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
            port: None,
        };
        let rules = self.rules.of(number, bound, scope, self.clusters);
        let table = Arc::new(RouteTable::new(rules.to_vec()));
        self.tables.insert((number, view), Arc::clone(&table));
        Some(table)
    }

    fn plain_table(&mut self, number: usize, view: View<'a>) -> Option<Arc<RouteTable>> {
        let service = self.registry.services.get(number)?;
        let target = self.registry.resolve_alias(number, view);
        let resolved = self.registry.services.get(target)?;
        let mut rules = Vec::new();
        for port in &resolved.ports {
            let cluster = self.clusters.cluster(target, port.number, None, view)?;
            let rule = port_rule(service, port.number, ClusterChoice::One(cluster));
            rules.push(Arc::new(rule));
        }
        if resolved.alias.is_some() {
            let cluster = self.clusters.cluster(target, ANY_PORT, None, view)?;
            let cluster = ClusterChoice::One(cluster);
            let rule = plain_rule(Vec::new(), &service.host, cluster, Rewrite::default());
            rules.push(Arc::new(rule));
        }
        Some(Arc::new(RouteTable::new(rules)))
    }

    /// The namespaces that may see other rules or policies for `host` than most.
    fn special(&self, host: &'a str, by_host: &HostTable<Vec<usize>>) -> BTreeSet<&'a str> {
        let mut special = BTreeSet::new();
        self.add_special_of_service(host, &mut special);
        let is_declared = self.registry.all_of(host).next().is_some();
        by_host.find(host, |numbers, _| {
            for bound in numbers.iter().filter_map(|number| self.bound.get(*number)) {
                special.extend(bound.export_to.special().iter().map(String::as_str));
                if !is_declared {
                    // Which services it also names decides its ports.
                    special.extend(self.special_of_named(bound));
                }
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

    /// The namespaces that see other services than most among those that a VirtualService names.
    fn special_of_named(&self, bound: &BoundVirtualService<'_>) -> impl Iterator<Item = &'a str> {
        let services = self.registry.services.iter();
        let named = services.filter(|service| {
            let mut hosts = bound.hosts.iter();
            !service.export_to.special().is_empty() && hosts.any(|it| covers(it, &service.host))
        });
        let special: Vec<_> = named.flat_map(|it| it.export_to.special()).collect();
        special.into_iter().map(String::as_str)
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
