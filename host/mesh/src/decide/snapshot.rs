//! The immutable result of a compilation, on which every request is decided.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::host::{Found, HostTable, canonical};
use super::route::Lookup;
use super::virtual_host::VirtualHost;
use crate::{
    Caller, CallerKey, Listener, Options, RequestHead, RouteId, RouteStatus, ServiceStatus, State,
    Workload,
};

/// All listeners, routes and destinations, as one consistent whole.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) listeners: Vec<Listener>,
    /// By declared port.
    pub(crate) edge: HashMap<u16, HostTable<Arc<VirtualHost>>>,
    pub(crate) mesh: MeshHosts,
    pub(crate) callers: Callers,
    pub(crate) passthrough: Arc<VirtualHost>,
    pub(crate) options: Options,
    pub(crate) services: Vec<ServiceStatus>,
    pub(crate) routes: Vec<RouteStatus>,
    pub(crate) route_ids: HashSet<RouteId>,
}

/// The hosts that workloads call, and what each namespace sees of them.
#[derive(Debug, Default)]
pub(crate) struct MeshHosts {
    pub(crate) slots: Vec<HostViews>,
    /// Numbers of slots by full names and their longer forms.
    pub(crate) names: HostTable<usize>,
    /// By namespace and then by the name without it.
    pub(crate) short: HashMap<u32, HashMap<String, usize>>,
    pub(crate) namespaces: HashMap<String, u32>,
}

/// One host as namespaces see it; most see the same.
#[derive(Debug, Default)]
pub(crate) struct HostViews {
    pub(crate) others: Option<Arc<VirtualHost>>,
    /// Namespaces with a view of their own, `None` where they do not see it.
    pub(crate) special: Vec<(u32, Option<Arc<VirtualHost>>)>,
}

/// The workloads that were there when the snapshot was compiled, by their place
/// in memory, which holds as long as they are kept here.
#[derive(Debug)]
pub(crate) struct Callers {
    pub(crate) by_address: HashMap<usize, CallerIdentity>,
    pub(crate) state: Arc<State>,
}

#[derive(Debug)]
pub(crate) struct CallerIdentity {
    /// Kept, so that its place in memory stays its own.
    pub(crate) workload: Arc<Workload>,
    pub(crate) key: CallerKey,
    /// `None` for a namespace that no resource names.
    pub(crate) namespace: Option<u32>,
}

/// Who calls, by which port, as the decision needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Via<'a> {
    pub(crate) caller: CallerKey,
    pub(crate) workload: Option<&'a Workload>,
    pub(crate) namespace: Option<u32>,
    pub(crate) port: u16,
}

impl Snapshot {
    /// One for every distinct port.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Services with their ports, clusters and endpoints, for status pages.
    pub fn services(&self) -> &[ServiceStatus] {
        &self.services
    }

    /// VirtualServices and Ingresses with their rules, for status pages.
    pub fn routes(&self) -> &[RouteStatus] {
        &self.routes
    }

    /// The rules that may take a request.
    pub fn route_ids(&self) -> &HashSet<RouteId> {
        &self.route_ids
    }

    /// The key under which state is kept for a caller.
    pub fn caller_key(&self, caller: Caller<'_>) -> CallerKey {
        match caller {
            Caller::Edge { .. } => CallerKey::EDGE,
            Caller::Workload(workload) => self.identity(workload).0,
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The host of allow-any.
    pub(crate) fn passthrough(&self) -> &Arc<VirtualHost> {
        &self.passthrough
    }

    pub(crate) fn via<'a>(&self, caller: Caller<'a>, request: &RequestHead<'_>) -> Via<'a> {
        match caller {
            Caller::Edge { listener_port } => Via {
                caller: CallerKey::EDGE,
                workload: None,
                namespace: None,
                port: listener_port,
            },
            Caller::Workload(workload) => {
                let (caller, namespace) = self.identity(workload);
                Via {
                    caller,
                    workload: Some(workload),
                    namespace,
                    port: request.port(),
                }
            }
        }
    }

    fn identity(&self, workload: &Arc<Workload>) -> (CallerKey, Option<u32>) {
        let known = self
            .callers
            .by_address
            .get(&(Arc::as_ptr(workload) as usize));
        match known.filter(|known| Arc::ptr_eq(&known.workload, workload)) {
            Some(known) => (known.key, known.namespace),
            None => (
                self.callers.state.caller(workload),
                self.mesh.namespaces.get(&workload.namespace).copied(),
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
        match self.mesh.find(&host, via.namespace) {
            Some(host) if host.serves_port(via.port) => Lookup::Host(host),
            Some(host) => Lookup::NoPort(host),
            None => Lookup::Undeclared,
        }
    }
}

/// An Ingress's star stands for exactly one label.
fn serves<'a>(host: &'a Arc<VirtualHost>, found: Found<'_>) -> Option<&'a Arc<VirtualHost>> {
    match found {
        Found::Wildcard(star) if host.one_label && host.domain != "*" => {
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
    /// What `namespace` sees under `host`, in all the forms of a service's name.
    fn find(&self, host: &str, namespace: Option<u32>) -> Option<&Arc<VirtualHost>> {
        let seen = |slot: &usize| self.slots.get(*slot)?.seen_from(namespace);
        // `service`, and `pod.service` of a headless one.
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
