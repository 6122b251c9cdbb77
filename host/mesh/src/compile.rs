//! Compiles resources into a snapshot.
//!
//! In order: the resources by kind and age ([`inventory`]), the known hosts ([`registry`]),
//! their policies ([`destination_rule`]), VirtualServices with their delegates
//! ([`delegate`]) and HTTPRoutes ([`gateway_api`]), the rules ([`rules`]) for the edge
//! ([`edge`], [`ingress`]) and for the mesh ([`mesh`]), and the ports for other hosts
//! ([`inbound`]). What workloads accept is compiled by [`inbound_policies`]. Destinations are resolved to [`clusters`].
//!
//! The rule: compilation depends on its arguments alone, and never fails. A resource that
//! does not fit the others is reported, and the rest takes effect.

mod authentication;
mod authorization;
mod clusters;
mod declared;
mod delegate;
mod destination_rule;
mod edge;
mod ejection;
mod export;
mod extension_providers;
mod gateway_api;
mod gateway_topology;
mod inbound;
mod inbound_policies;
mod ingress;
mod inventory;
mod mesh;
mod network_policy;
mod policy_scope;
mod rate_limits;
mod registry;
mod rules;
mod service_ports;
mod sidecar;
mod status;
mod tls_route;
pub(crate) mod trust_domains;
mod unreachable;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use galleria_manifest::Diagnostic;
use galleria_manifest::model::Object;

use self::clusters::{Clusters, PASSTHROUGH};
use self::destination_rule::DestinationRules;
use self::edge::EdgeCompiler;
use self::inbound_policies::PolicyCompiler;
use self::inventory::Inventory;
use self::mesh::{MeshCompiler, intern};
use self::registry::Registry;
use self::rules::{Rules, plain_rule};
use self::service_ports::ServicePorts;
use crate::decide::host::HostTable;
use crate::decide::membership::Membership;
use crate::decide::rewrite::Rewrite;
use crate::decide::rule::ClusterChoice;
use crate::decide::sidecar::SidecarIndex;
use crate::decide::snapshot::{CallerIdentity, Callers, MeshHosts};
use crate::decide::virtual_host::VirtualHost;
use crate::{Listener, Options, Pod, Snapshot, State};

/// A snapshot, and the problems that compilation found.
#[derive(Debug)]
pub struct CompiledMesh {
    pub snapshot: Snapshot,
    /// Problems that only the combination of resources shows: rules that can never match,
    /// delegates that do not fit, and similar.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles `objects` and `pods` into a snapshot. Objects without a timestamp are in order
/// of age. `state` is the same for every compilation of a host.
pub fn compile(
    objects: &[Arc<Object>],
    pods: &[Pod],
    options: &Options,
    state: &Arc<State>,
) -> CompiledMesh {
    let mut diagnostics = Vec::new();
    let mut inventory = Inventory::new(objects);
    let listeners =
        gateway_api::listeners(&inventory.gateway_api_gateways, &inventory.reference_grants);
    let registry = Registry::new(&inventory, pods, options);
    let destination_rules = DestinationRules::new(&inventory, options);
    let mut bound = delegate::bind(&inventory, options, &mut diagnostics);
    for virtual_service in &bound {
        unreachable::find(virtual_service, &mut diagnostics);
    }
    bound.extend(gateway_api::bind(&inventory, &listeners, options));
    let mut namespaces = HashMap::new();
    let network = network_policy::index(&inventory, pods, options);
    let shared = (&registry, state.as_ref());
    let policies = PolicyCompiler::new(&inventory, options, &network, shared, &mut diagnostics);
    let gateway = policies.of_gateway(&listeners);
    let (sidecars, scopes) = sidecar::index(&inventory, objects, pods, options);
    let by_address = known_callers(pods, &policies, &sidecars, state, &mut namespaces);
    let membership = membership(&inventory);
    let mut clusters = Clusters::new(&registry, &destination_rules, options, state);
    let gateway_names = gateway_names(&inventory, &listeners);
    let sources = listeners.iter().map(gateway_api::BoundListener::source);
    inventory.gateways.extend(sources);
    let topologies = gateway_topology::compile(&inventory, options, &mut diagnostics);
    let edge = EdgeCompiler {
        inventory: &inventory,
        gateway_names: &gateway_names,
        bound: &bound,
        clusters: &mut clusters,
        options,
        rules: Rules::default(),
    }
    .compile();
    let mesh: MeshHosts = MeshCompiler {
        bound: &bound,
        registry: &registry,
        scopes: &scopes,
        clusters: &mut clusters,
        options,
        rules: Rules::default(),
        tables: HashMap::new(),
    }
    .compile(namespaces);
    diagnostics.extend(edge.diagnostics);
    ejection::find_powerless(&clusters, &mut diagnostics);
    let passthrough = passthrough(&clusters);
    let edge_ports = (edge.listeners, edge.hosts);
    let shared = (&clusters, options);
    let ports = ports(edge_ports, &inventory, pods, shared, &mut diagnostics);
    keep_state(state, &clusters, &ports.clusters);
    let snapshot = Snapshot {
        listeners: ports.listeners,
        service_ports: ports.of_services,
        edge: ports.hosts,
        tls_rules: edge.tls_rules,
        mesh,
        callers: Callers {
            by_address,
            state: Arc::clone(state),
        },
        membership,
        gateway,
        topologies,
        passthrough,
        sidecars,
        gateway_network: network.of_gateway(),
        network,
        options: options.clone(),
        services: status::services(&clusters),
        routes: status::routes(&bound, &inventory),
        route_ids: status::route_ids(&bound, &inventory),
    };
    CompiledMesh {
        snapshot,
        diagnostics,
    }
}

/// What this host listens on.
struct Ports {
    listeners: Vec<Listener>,
    of_services: HashSet<u16>,
    hosts: HashMap<u16, HostTable<Arc<VirtualHost>>>,
    /// The names of clusters that only they have.
    clusters: Vec<String>,
}

/// Adds the ports for other hosts of the mesh to those of the `edge`, and if this host is a
/// gateway those of Services.
fn ports(
    edge: (Vec<Listener>, HashMap<u16, HostTable<Arc<VirtualHost>>>),
    inventory: &Inventory<'_>,
    pods: &[Pod],
    (clusters, options): (&Clusters<'_>, &Options),
    diagnostics: &mut Vec<Diagnostic>,
) -> Ports {
    let inbound = inbound::compile(&options.inbound, pods, clusters);
    let (of_edge, mut hosts) = edge;
    let mut listeners = match options.gateway {
        true => of_edge,
        false => Vec::new(),
    };
    listeners.extend(inbound.listeners);
    hosts.extend(inbound.hosts);
    let mut services = ServicePorts::default();
    if options.gateway {
        services = service_ports::compile(inventory, clusters, &listeners, diagnostics);
    }
    let of_services = services.listeners.iter().map(|it| it.port).collect();
    listeners.extend(services.listeners);
    hosts.extend(services.hosts);
    Ports {
        listeners,
        of_services,
        hosts,
        clusters: [inbound.clusters, services.clusters].concat(),
    }
}

/// The names of the gateways, by which rules refer to them.
fn gateway_names(
    inventory: &Inventory<'_>,
    listeners: &[gateway_api::BoundListener<'_>],
) -> Vec<String> {
    let names = inventory.gateways.iter();
    let names = names.map(|source| format!("{}/{}", source.namespace(), source.name()));
    let names = names.chain(listeners.iter().map(|listener| listener.name.clone()));
    names.collect()
}

/// Drops the state of clusters that no longer exist.
fn keep_state(state: &State, clusters: &Clusters<'_>, others: &[String]) {
    let made = clusters.made().map(|(_, cluster)| cluster.name.as_str());
    let others = others.iter().map(String::as_str);
    let kept = made.chain(others).chain([PASSTHROUGH]);
    state.retain(&kept.collect::<HashSet<_>>());
}

fn known_callers(
    pods: &[Pod],
    policies: &PolicyCompiler<'_>,
    sidecars: &SidecarIndex,
    state: &State,
    namespaces: &mut HashMap<String, u32>,
) -> HashMap<usize, CallerIdentity> {
    let mut known = HashMap::new();
    for pod in pods {
        let workload = &pod.workload;
        // The pods of a workload share it.
        let address = Arc::as_ptr(workload) as usize;
        known.entry(address).or_insert_with(|| CallerIdentity {
            key: state.caller(workload),
            namespace: Some(intern(namespaces, &workload.namespace)),
            scope: sidecars.scope_of(workload),
            policies: policies.of(pod),
            workload: Arc::clone(workload),
        });
    }
    known
}

fn membership(inventory: &Inventory<'_>) -> Membership {
    let declared = inventory.namespaces.iter();
    Membership::new(declared.map(|it| (&*it.metadata.name.value, &it.metadata.labels)))
}

fn passthrough(clusters: &Clusters<'_>) -> Arc<VirtualHost> {
    let cluster = ClusterChoice::One(clusters.passthrough());
    let mut rule = plain_rule(Vec::new(), "as requested", cluster, Rewrite::default());
    rule.name = "allow_any".into();
    Arc::new(VirtualHost::with_rule(rule))
}
