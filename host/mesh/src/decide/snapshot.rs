//! The immutable result of a compilation. Every request is decided on one snapshot.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::gateway_topology::GatewayTopologies;
use super::host::{HostMatch, HostTable, canonical};
use super::membership::Membership;
use super::route::Lookup;
use super::sidecar::{SidecarIndex, SidecarScope};
use super::tls_route::TlsRules;
use super::virtual_host::VirtualHost;
use crate::inbound::network::NetworkPolicies;
use crate::inbound::network::index::NetworkPolicyIndex;
use crate::inbound::policies::GatewayPolicies;
use crate::inbound::{InboundPolicies, RequestPrincipal};
use crate::rate_limit::RateLimits;
use crate::{
    Caller, CallerKey, Listener, ObjectRef, Options, OutboundPolicy, RequestHead, RouteId,
    RouteStatus, ServiceStatus, State, Workload,
};

/// A consistent set of all listeners, routes and destinations.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) listeners: Vec<Listener>,
    /// The listeners of Services.
    pub(crate) service_ports: HashSet<u16>,
    /// By declared port.
    pub(crate) edge: HashMap<u16, HostTable<Arc<VirtualHost>>>,
    /// By declared port, for connections that are not decrypted.
    pub(crate) tls_rules: HashMap<u16, TlsRules>,
    pub(crate) mesh: MeshHosts,
    pub(crate) callers: Callers,
    pub(crate) membership: Membership,
    pub(crate) gateway: GatewayPolicies,
    pub(crate) topologies: GatewayTopologies,
    pub(crate) passthrough: Arc<VirtualHost>,
    pub(crate) sidecars: SidecarIndex,
    pub(crate) network: NetworkPolicyIndex,
    /// Those of the host's own gateway.
    pub(crate) gateway_network: NetworkPolicies,
    pub(crate) options: Options,
    pub(crate) services: Vec<ServiceStatus>,
    pub(crate) routes: Vec<RouteStatus>,
    pub(crate) route_ids: HashSet<RouteId>,
}

/// The hosts that workloads call, and which namespace sees which rules.
#[derive(Debug, Default)]
pub(crate) struct MeshHosts {
    pub(crate) slots: Vec<HostViews>,
    /// Indices into `slots`, by the full name and its longer forms.
    pub(crate) names: HostTable<usize>,
    /// Indices into `slots`, by namespace and then by the name without it.
    pub(crate) short: HashMap<u32, HashMap<String, usize>>,
    pub(crate) namespaces: HashMap<String, u32>,
}

/// The rules of one host for each namespace. Most namespaces see the same rules.
#[derive(Debug, Default)]
pub(crate) struct HostViews {
    pub(crate) others: Option<Arc<VirtualHost>>,
    /// Namespaces with a view of their own; `None` if the host is not visible to them.
    pub(crate) special: Vec<(u32, Option<Arc<VirtualHost>>)>,
    /// By the number of a Sidecar's scope, if the host is visible in it.
    pub(crate) scoped: HashMap<u32, Arc<VirtualHost>>,
}

/// The workloads that existed when the snapshot was compiled, by their address in memory.
/// It is unique because the workloads are kept alive here.
#[derive(Debug)]
pub(crate) struct Callers {
    pub(crate) by_address: HashMap<usize, CallerIdentity>,
    pub(crate) state: Arc<State>,
}

#[derive(Debug)]
pub(crate) struct CallerIdentity {
    /// Keeps the workload alive, so that its address stays unique.
    pub(crate) workload: Arc<Workload>,
    pub(crate) key: CallerKey,
    /// `None` if no resource names the namespace.
    pub(crate) namespace: Option<u32>,
    /// That of its Sidecar.
    pub(crate) scope: Option<u32>,
    /// What the workload accepts; `None` if no policy selects it.
    pub(crate) policies: Option<Arc<InboundPolicies>>,
}

/// The caller and the port of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Via<'a> {
    pub(crate) caller: CallerKey,
    pub(crate) workload: Option<&'a Workload>,
    pub(crate) namespace: Option<u32>,
    /// That of the caller's Sidecar.
    pub(crate) scope: Option<u32>,
    pub(crate) port: u16,
    /// The verified token, at a gateway.
    pub(crate) principal: Option<&'a RequestPrincipal>,
}

impl Snapshot {
    /// One listener per port.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Whether a listener is that of a Service, and not that of a Gateway or an Ingress.
    pub fn is_service_port(&self, port: u16) -> bool {
        self.service_ports.contains(&port)
    }

    /// Services with their ports, clusters and endpoints, for status pages.
    pub fn services(&self) -> &[ServiceStatus] {
        &self.services
    }

    /// VirtualServices and Ingresses with their rules, for status pages.
    pub fn routes(&self) -> &[RouteStatus] {
        &self.routes
    }

    /// The names of all rules that can match a request.
    pub fn route_ids(&self) -> &HashSet<RouteId> {
        &self.route_ids
    }

    /// The workloads that have pods, wherever these run.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        let callers = self.callers.by_address.values();
        callers.map(|caller| &caller.workload)
    }

    /// The key of a caller's state.
    pub fn caller_key(&self, caller: Caller<'_>) -> CallerKey {
        match caller {
            Caller::Edge { .. } => CallerKey::EDGE,
            Caller::Workload(workload) => self.identity(workload).0,
        }
    }

    /// The policies for requests to `workload`; `None` if no policy selects it.
    pub fn inbound_policies(&self, workload: &Arc<Workload>) -> Option<&Arc<InboundPolicies>> {
        let callers = &self.callers.by_address;
        let known = callers.get(&(Arc::as_ptr(workload) as usize));
        // An equal workload has the same policies. A pod of another snapshot must not be
        // open only because its workload is at another address.
        let known = known.or_else(|| callers.values().find(|it| it.workload == *workload));
        known?.policies.as_ref()
    }

    /// Whether the calls of `workload` prove its identity: unless a label says that it has no
    /// sidecar.
    pub fn is_member(&self, workload: &Workload) -> bool {
        self.membership.includes(workload)
    }

    /// The NetworkPolicies that govern `workload`, which may have no pods in this snapshot,
    /// as those of Jobs.
    pub fn network_policies(&self, workload: &Arc<Workload>) -> NetworkPolicies {
        if self.network.is_empty() {
            return NetworkPolicies::default();
        }
        let known = self
            .callers
            .by_address
            .get(&(Arc::as_ptr(workload) as usize));
        match known {
            None => self.network.of(workload),
            Some(known) => {
                let policies = known.policies.as_ref();
                policies.map_or_else(NetworkPolicies::default, |it| it.network.clone())
            }
        }
    }

    /// The NetworkPolicies that govern the host's own gateway.
    pub fn gateway_network_policies(&self) -> &NetworkPolicies {
        &self.gateway_network
    }

    /// The policies of the gateway for requests of clients; `None` if no policy selects it.
    /// `port` is the listener's, as declared, and `host` the requested one without a port.
    pub fn gateway_policies(&self, port: u16, host: &str) -> Option<&Arc<InboundPolicies>> {
        self.gateway.of(port, host)
    }

    /// The rate limits of the gateway.
    pub fn gateway_rate_limits(&self) -> &RateLimits {
        &self.gateway.rate_limits
    }

    /// The gateway as the destination that its policies select.
    pub fn gateway_workload(&self) -> &Arc<Workload> {
        &self.gateway.workload
    }

    /// Whether a Service or a ServiceEntry declares the requested host for the caller.
    pub fn declares(&self, caller: Caller<'_>, request: &RequestHead<'_>) -> bool {
        let via = self.via(caller, request);
        !matches!(self.lookup(&via, request), Lookup::Undeclared)
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The host of every undeclared destination under [`crate::OutboundPolicy::AllowAny`].
    pub(crate) fn passthrough(&self) -> &Arc<VirtualHost> {
        &self.passthrough
    }

    pub(crate) fn via<'a>(&self, caller: Caller<'a>, request: &RequestHead<'_>) -> Via<'a> {
        match caller {
            Caller::Edge { listener_port } => Via {
                caller: CallerKey::EDGE,
                workload: None,
                namespace: None,
                scope: None,
                port: listener_port,
                principal: None,
            },
            Caller::Workload(workload) => {
                let (caller, namespace, scope) = self.identity(workload);
                Via {
                    caller,
                    workload: Some(workload),
                    namespace,
                    scope,
                    port: request.port(),
                    principal: None,
                }
            }
        }
    }

    /// The key, the namespace and the Sidecar's scope of a workload.
    fn identity(&self, workload: &Arc<Workload>) -> (CallerKey, Option<u32>, Option<u32>) {
        let known = self
            .callers
            .by_address
            .get(&(Arc::as_ptr(workload) as usize));
        match known.filter(|known| Arc::ptr_eq(&known.workload, workload)) {
            Some(known) => (known.key, known.namespace, known.scope),
            None => (
                self.callers.state.caller(workload),
                self.mesh.namespaces.get(&workload.namespace).copied(),
                self.sidecars.scope_of(workload),
            ),
        }
    }

    pub(crate) fn lookup(&self, via: &Via<'_>, request: &RequestHead<'_>) -> Lookup<'_> {
        let host = canonical(request.host());
        if via.workload.is_none() {
            let table = self.edge.get(&via.port);
            return match table.and_then(|table| table.find(&host, serves)) {
                Some(host) => Lookup::Host(host),
                None => Lookup::NotServed,
            };
        }
        // What only VirtualServices name exists where one of them has a rule.
        let exists = |host: &VirtualHost| {
            let applies = || host.serves_port(via.port) && host.applies(&via.context(request));
            host.is_declared || applies()
        };
        match self.mesh.find(&host, via, exists) {
            Some(host) if host.serves_port(via.port) => Lookup::Host(host),
            Some(host) => Lookup::NoPort(host),
            None => Lookup::Undeclared,
        }
    }

    /// The policy for undeclared destinations: that of the caller's Sidecar, or of the mesh.
    pub(crate) fn outbound_policy(&self, via: &Via<'_>) -> OutboundPolicy {
        let of_scope = self.scope(via).and_then(|scope| scope.outbound_policy);
        of_scope.unwrap_or(self.options.outbound_policy)
    }

    /// The Sidecar that hides a host which others of the caller's namespace see.
    pub(crate) fn hiding(&self, via: &Via<'_>, request: &RequestHead<'_>) -> Option<&ObjectRef> {
        let scope = self.scope(via)?;
        let all = Via {
            scope: None,
            ..*via
        };
        let host = canonical(request.host());
        let found = self.mesh.find(&host, &all, |_| true);
        found.map(|_| &scope.object)
    }

    fn scope(&self, via: &Via<'_>) -> Option<&SidecarScope> {
        self.sidecars.scope(via.scope?)
    }
}

/// The star of an Ingress matches exactly one label.
fn serves<'a>(host: &'a Arc<VirtualHost>, found: HostMatch<'_>) -> Option<&'a Arc<VirtualHost>> {
    match found {
        HostMatch::Wildcard(star) if host.one_label && host.domain != "*" => {
            (!star.is_empty() && !star.contains('.')).then_some(host)
        }
        _ => Some(host),
    }
}

impl VirtualHost {
    fn serves_port(&self, port: u16) -> bool {
        self.ports
            .as_ref()
            .is_none_or(|ports| ports.contains(&port))
    }
}

impl MeshHosts {
    /// The rules of `host` for the caller, if they exist. `host` can be any form of a service's
    /// name.
    fn find(
        &self,
        host: &str,
        via: &Via<'_>,
        exists: impl Fn(&VirtualHost) -> bool,
    ) -> Option<&Arc<VirtualHost>> {
        let namespace = via.namespace;
        let seen = |slot: &usize| {
            let slot = self.slots.get(*slot)?;
            let seen = match via.scope {
                None => slot.seen_from(namespace),
                Some(scope) => slot.scoped.get(&scope),
            };
            // Only what is declared has shorter names.
            let is_named = |it: &VirtualHost| {
                it.is_declared || it.domain.starts_with('*') || it.domain == host
            };
            let named = seen.filter(|it| is_named(it));
            std::iter::successors(named, |it| it.next.as_ref()).find(|it| exists(it))
        };
        // `service`, or `pod.service` for a headless service.
        let is_short = host.bytes().filter(|byte| *byte == b'.').count() <= 1;
        let short = namespace.filter(|_| is_short);
        let short = short.and_then(|namespace| self.short.get(&namespace)?.get(host));
        short
            .and_then(seen)
            .or_else(|| self.names.find(host, |slot, _| seen(slot)))
    }
}

impl HostViews {
    fn seen_from(&self, namespace: Option<u32>) -> Option<&Arc<VirtualHost>> {
        let own = namespace.and_then(|namespace| {
            self.special
                .iter()
                .find(|(special, _)| *special == namespace)
        });
        match own {
            Some((_, view)) => view.as_ref(),
            None => self.others.as_ref(),
        }
    }
}
