//! The hosts for clients outside the mesh: Gateways with their VirtualServices, and
//! Ingresses.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use galleria_manifest::model::{Gateway, Protocol, Resource, Server};
use galleria_manifest::{Diagnostic, Severity, codes};

use super::clusters::Clusters;
use super::declared::{Declared, declare};
use super::delegate::BoundVirtualService;
use super::export::View;
use super::ingress::{IngressHosts, ingress_hosts};
use super::inventory::{Inventory, Source};
use super::rules::{Rules, Scope};
use super::tls_route::{is_passed_through, without_rule};
use crate::decide::host::{HostTable, canonical, covers};
use crate::decide::listener::{Listener, ListenerPurpose, ListenerServer, ListenerTls};
use crate::decide::rule::Rule;
use crate::decide::tls_route::TlsRules;
use crate::decide::virtual_host::{RouteTable, VirtualHost};
use crate::{ObjectRef, Options};

/// The sources of a host on one port, before they are compiled.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Parts {
    /// VirtualServices, each with the Gateway that it is bound to, both by index.
    bound: Vec<(usize, usize)>,
    https_redirect: bool,
    ingress: bool,
}

pub(crate) struct EdgeCompiler<'a, 'c> {
    pub(crate) inventory: &'a Inventory<'a>,
    /// `namespace/name` of every Gateway, in the order of the inventory.
    pub(crate) gateway_names: &'a [String],
    pub(crate) bound: &'a [BoundVirtualService<'a>],
    pub(crate) clusters: &'c mut Clusters<'a>,
    pub(crate) options: &'a Options,
    pub(crate) rules: Rules<'a>,
}

/// The edge part of a snapshot.
pub(crate) struct Edge {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) hosts: HashMap<u16, HostTable<Arc<VirtualHost>>>,
    pub(crate) tls_rules: HashMap<u16, TlsRules>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl<'a> EdgeCompiler<'a, '_> {
    pub(crate) fn compile(mut self) -> Edge {
        let mut listeners: BTreeMap<u16, Listener> = BTreeMap::new();
        let mut diagnostics = Vec::new();
        let mut ports: BTreeMap<u16, BTreeMap<String, Parts>> = BTreeMap::new();
        let mut tls_rules: HashMap<u16, TlsRules> = HashMap::new();
        for (number, source) in self.inventory.gateways.iter().enumerate() {
            if !source.is_served_here(self.options) {
                diagnostics.push(served_elsewhere(source));
                continue;
            }
            for (index, server) in source.spec.servers.iter().enumerate() {
                let mut listener = self.listener(source, index, server);
                let is_routed = is_routed(&listener);
                let rules = match is_passed_through(&listener) {
                    true => self.tls_rules(number, source, server),
                    false => Vec::new(),
                };
                if is_passed_through(&listener) && rules.is_empty() {
                    diagnostics.extend(without_rule(source, &listener));
                }
                for own in &mut listener.servers {
                    own.sni_hosts = rules.iter().map(|(name, _)| name.clone()).collect();
                }
                let declared = declare(&mut listeners, listener, &mut diagnostics);
                if declared == Declared::Yes && !rules.is_empty() {
                    let known = tls_rules.entry(server.port.value).or_default();
                    for (name, rule) in rules {
                        known.insert(&name, rule);
                    }
                }
                if declared == Declared::Yes && is_routed {
                    let hosts = ports.entry(server.port.value).or_default();
                    self.add_hosts(hosts, number, source, server);
                }
            }
        }
        let ingress = ingress_hosts(self.inventory, self.clusters, self.options);
        for listener in &ingress.listeners {
            // Rules belong to all Ingresses of a host, whichever declares its certificate.
            if declare(&mut listeners, listener.clone(), &mut diagnostics) == Declared::PortInUse {
                continue;
            }
            let hosts = ports.entry(listener.port).or_default();
            for host in ingress.hosts.keys() {
                hosts.entry(host.clone()).or_default().ingress = true;
            }
        }
        let hosts = ports
            .into_iter()
            .map(|(port, hosts)| (port, self.table(port, hosts, &ingress)));
        let hosts = hosts.collect();
        Edge {
            listeners: listeners.into_values().collect(),
            hosts,
            tls_rules,
            diagnostics,
        }
    }

    /// Adds the names that a server serves: the hosts of each VirtualService that are
    /// within the server's hosts, and with `httpsRedirect` the server's own hosts. A
    /// VirtualService without a rule for the gateway and the port serves none.
    fn add_hosts(
        &mut self,
        hosts: &mut BTreeMap<String, Parts>,
        number: usize,
        source: &Source<'_, Gateway>,
        server: &Server,
    ) {
        let https_redirect = server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
        let Some(gateway) = self.gateway_names.get(number) else {
            return;
        };
        let entries = server.hosts.iter();
        let names: Vec<_> = entries
            .map(|entry| split_host(entry, source.namespace()))
            .collect();
        let view = View::Namespace(source.namespace());
        let mut all: Vec<_> = self.bound.iter().enumerate().collect();
        // Among those of one rank, the rules of older VirtualServices come first.
        all.sort_by_key(|(_, it)| it.export_to.rank(&it.object.namespace, view));
        for (vs, bound) in all {
            let applies =
                bound.gateways.contains(gateway) && self.is_visible(bound, source.namespace());
            if !applies || self.rules_of(vs, number, server.port.value).is_empty() {
                continue;
            }
            let from = |namespace: &Option<&str>| {
                namespace.is_none_or(|namespace| namespace == bound.object.namespace)
            };
            for (_, name) in names.iter().filter(|(namespace, _)| from(namespace)) {
                for host in bound
                    .hosts
                    .iter()
                    .filter_map(|host| intersection(name, host))
                {
                    let parts = hosts.entry(host.to_owned()).or_default();
                    parts.https_redirect |= https_redirect;
                    if !parts.bound.contains(&(vs, number)) {
                        parts.bound.push((vs, number));
                    }
                }
            }
        }
        for (_, name) in names.into_iter().filter(|_| https_redirect) {
            hosts.entry(name).or_default().https_redirect = true;
        }
    }

    /// The rules of a VirtualService at a Gateway, both by index.
    fn rules_of(&mut self, vs: usize, gateway: usize, port: u16) -> Arc<[Arc<Rule>]> {
        let (Some(bound), Some(name)) = (self.bound.get(vs), self.gateway_names.get(gateway))
        else {
            return Arc::default();
        };
        let namespace = name.split_once('/').map_or("", |(namespace, _)| namespace);
        let scope = Scope {
            gateway: name,
            visible: View::Namespace(namespace),
            client: View::Namespace(namespace),
            port: Some(port),
        };
        self.rules.of(vs, bound, scope, self.clusters)
    }

    /// The listener of one server.
    fn listener(&self, source: &Source<'_, Gateway>, index: usize, server: &Server) -> Listener {
        let gateway: ObjectRef = source.reference("Gateway");
        let https_redirect = server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
        let (place, unenforced) = place(source, index, server);
        let secrets = match &source.object.resource {
            Resource::GatewayApiGateway(_) => None,
            _ => self.options.gateway_namespace.as_deref(),
        };
        let tls = server
            .tls
            .as_ref()
            .filter(|_| matches!(server.protocol, Protocol::Https | Protocol::Tls));
        let tls = tls.map(|settings| ListenerTls {
            settings: settings.clone(),
            namespace: secrets.unwrap_or(source.namespace()).to_owned(),
            path: format!("{place}.tls"),
            unenforced,
        });
        let name = server.name.clone();
        let hosts = server.hosts.iter();
        Listener {
            port: server.port.value,
            protocol: server.protocol,
            gateways: vec![gateway.qualified_name()],
            https_redirect,
            purpose: ListenerPurpose::Gateway,
            servers: vec![ListenerServer {
                gateway,
                at: server.at.clone(),
                name: name.or_else(|| Some(server.port_name.clone())),
                hosts: hosts
                    .map(|host| split_host(host, source.namespace()).1)
                    .collect(),
                https_redirect,
                tls,
                sni_hosts: Vec::new(),
            }],
        }
    }

    /// This host's gateway sees what the Gateway's namespace and the
    /// root namespace see.
    pub(super) fn is_visible(&self, bound: &BoundVirtualService<'_>, namespace: &str) -> bool {
        [namespace, &self.options.root_namespace]
            .iter()
            .any(|namespace| bound.export_to.reaches(View::Namespace(namespace)))
    }

    fn table(
        &mut self,
        port: u16,
        hosts: BTreeMap<String, Parts>,
        ingress: &IngressHosts,
    ) -> HostTable<Arc<VirtualHost>> {
        let mut shared: HashMap<Parts, Arc<RouteTable>> = HashMap::new();
        let mut table = HostTable::default();
        for (host, parts) in hosts {
            let routes = match shared.get(&parts) {
                // The rules of Ingresses differ for each host.
                Some(routes) if !parts.ingress => Arc::clone(routes),
                _ => {
                    let rules = self.route_rules(port, &parts, &host, ingress);
                    let routes = Arc::new(RouteTable::merged(rules));
                    shared.insert(parts.clone(), Arc::clone(&routes));
                    routes
                }
            };
            table.entry(&host).or_insert_with(|| {
                Arc::new(VirtualHost {
                    table: routes,
                    https_redirect: parts.https_redirect,
                    ports: None,
                    is_declared: true,
                    others: Vec::new(),
                    next: None,
                    one_label: parts.ingress && parts.bound.is_empty(),
                    domain: host,
                })
            });
        }
        table
    }

    /// The rules of all VirtualServices in order.
    fn route_rules(
        &mut self,
        port: u16,
        parts: &Parts,
        host: &str,
        ingress: &IngressHosts,
    ) -> Vec<Arc<Rule>> {
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        for (vs, gateway) in &parts.bound {
            rules.extend(self.rules_of(*vs, *gateway, port).iter().cloned());
        }
        if parts.ingress {
            rules.extend(ingress.hosts.get(host).into_iter().flatten().cloned());
        }
        rules
    }
}

fn served_elsewhere(source: &Source<'_, Gateway>) -> Diagnostic {
    let selector = source.spec.selector.iter();
    let selector: Vec<_> = selector
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Diagnostic {
        at: source.object.at.clone(),
        severity: Severity::Warning,
        object: Some(format!("Gateway/{}", source.name())),
        path: "spec.selector".to_owned(),
        message: format!(
            "selects another gateway, so this host does not serve it; `--gateway-label {}` \
             would make it this one",
            selector.join(",")
        ),
        code: codes::GATEWAY_ELSEWHERE,
        unenforced: None,
    }
}

/// Whether requests on the listener's server are routed as HTTP.
fn is_routed(listener: &Listener) -> bool {
    match listener.protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => true,
        Protocol::Https => listener.servers.iter().all(ListenerServer::terminates),
        Protocol::Tcp | Protocol::Tls | Protocol::Mongo => false,
    }
}

/// Splits `namespace/name`. `*` is every namespace, `.` the Gateway's own.
pub(super) fn split_host<'h>(entry: &'h str, own: &'h str) -> (Option<&'h str>, String) {
    let (namespace, name) = match entry.split_once('/') {
        None | Some(("*", _)) => (None, entry.split_once('/').map_or(entry, |(_, name)| name)),
        Some((".", name)) => (Some(own), name),
        Some((namespace, name)) => (Some(namespace), name),
    };
    (namespace, canonical(name).into_owned())
}

/// The more specific of two hosts, if one includes the other.
pub(crate) fn intersection<'h>(server: &'h str, virtual_service: &'h str) -> Option<&'h str> {
    if covers(server, virtual_service) {
        Some(virtual_service)
    } else {
        covers(virtual_service, server).then_some(server)
    }
}

/// The place of a server in its object, and why it must not be opened. A listener of the
/// Gateway API is the only server of its Gateway.
fn place(
    source: &Source<'_, Gateway>,
    index: usize,
    server: &Server,
) -> (String, Option<&'static str>) {
    let Resource::GatewayApiGateway(gateway) = &source.object.resource else {
        return (format!("spec.servers[{index}]"), None);
    };
    let mut listeners = gateway.listeners.iter().enumerate();
    let found = listeners.find(|(_, listener)| server.name.as_ref() == Some(&listener.name.value));
    found.map_or_else(
        || (String::new(), None),
        |(index, listener)| (format!("spec.listeners[{index}]"), listener.unenforced),
    )
}
