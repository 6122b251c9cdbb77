//! Resolves destinations to clusters. Each cluster is created once per snapshot.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use galleria_manifest::model::{Destination, Protocol, TrafficPolicy};
use ipnet::IpNet;

use super::destination_rule::DestinationRules;
use super::export::View;
use super::inventory::full_name;
use super::registry::{ANY_PORT, Registry, RegistryEndpoint, RegistryPort, requested, selects};
use crate::decide::rule::ClusterChoice;
use crate::traffic::admit::Limits;
use crate::traffic::balance::Balancer;
use crate::{Cluster, Endpoint, EndpointId, InboundPort, ObjectRef, Options, Pod, State, Target};

/// Istio's `connectTimeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Envoy's idle timeout of upstream connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Envoy's name of the cluster for undeclared destinations.
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";

/// The clusters of a snapshot, created when a destination needs them.
pub(crate) struct Clusters<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) rules: &'a DestinationRules,
    options: &'a Options,
    state: &'a Arc<State>,
    callers_known: usize,
    /// While the rules of one pod of a headless service are compiled: the service, and the
    /// pod's `namespace/name`. The service's clusters have only this pod.
    pub(crate) addressed: Option<(usize, String)>,
    made: HashMap<ClusterKey, Arc<Cluster>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClusterKey {
    service: usize,
    port: u16,
    subset: Option<String>,
    rule: Option<usize>,
    pod: Option<String>,
}

/// The service of a cluster.
#[derive(Clone, Copy)]
struct Identity<'a> {
    host: &'a str,
    name: &'a str,
    namespace: &'a str,
    external: bool,
    /// Networks that its manifest declares.
    networks: &'a [IpNet],
}

impl<'a> Clusters<'a> {
    pub(crate) fn new(
        registry: &'a Registry,
        rules: &'a DestinationRules,
        options: &'a Options,
        state: &'a Arc<State>,
    ) -> Self {
        let callers_known = state.callers_known();
        Self {
            registry,
            rules,
            options,
            state,
            callers_known,
            addressed: None,
            made: HashMap::new(),
        }
    }

    /// The cluster of a route's destination. `visible` finds the service, and `client` the
    /// DestinationRule.
    pub(crate) fn destination(
        &mut self,
        destination: &Destination,
        namespace: &str,
        visible: View<'_>,
        client: View<'_>,
    ) -> ClusterChoice {
        let host = full_name(&destination.host, namespace, &self.options.cluster_domain);
        let subset = destination.subset.as_ref().map(|subset| subset.as_str());
        let port = destination.port.as_ref().map(|port| port.value);
        let missing = cluster_name(port, subset, &host);
        let Some(number) = self.registry.find(&host, visible) else {
            return ClusterChoice::Missing(missing);
        };
        let number = self.registry.resolve_alias(number, visible);
        let Some(service) = self.registry.services.get(number) else {
            return ClusterChoice::Missing(missing);
        };
        let only = match service.ports.as_slice() {
            [only] => Some(only.number),
            _ => None,
        };
        if let Some(port) = port.or(only) {
            let cluster = self.cluster(number, port, subset, client);
            return cluster.map_or(ClusterChoice::Missing(missing), ClusterChoice::One);
        }
        let ports = service.ports.iter().map(|port| port.number);
        let any = service.alias.is_some().then_some(ANY_PORT);
        let ports: Vec<u16> = ports.chain(any).collect();
        let clusters = ports
            .into_iter()
            .filter_map(|port| Some((port, self.cluster(number, port, subset, client)?)));
        let clusters: Vec<_> = clusters.collect();
        ClusterChoice::ByPort(clusters, missing)
    }

    /// The cluster of a service's port, or of a subset of it; `None` if the service does
    /// not have the port, or no DestinationRule has the subset.
    pub(crate) fn cluster(
        &mut self,
        number: usize,
        port: u16,
        subset: Option<&str>,
        client: View<'_>,
    ) -> Option<Arc<Cluster>> {
        let service = self.registry.services.get(number)?;
        let rule = self.rules.find(service, client);
        let addressed = self.addressed.clone();
        let pod = addressed.filter(|(headless, _)| *headless == number);
        self.make(number, port, subset, rule, pod.map(|(_, pod)| pod))
    }

    fn make(
        &mut self,
        number: usize,
        port: u16,
        subset: Option<&str>,
        rule: Option<usize>,
        pod: Option<String>,
    ) -> Option<Arc<Cluster>> {
        let key = ClusterKey {
            service: number,
            port,
            subset: subset.map(str::to_owned),
            rule,
            pod: pod.clone(),
        };
        if let Some(cluster) = self.made.get(&key) {
            return Some(Arc::clone(cluster));
        }
        let service = self.registry.services.get(number)?;
        let registry_port = service.port(port)?;
        let rule = rule.and_then(|rule| self.rules.rules.get(rule));
        let subset_spec = match subset {
            Some(name) => Some(rule?.subset(name)?),
            None => None,
        };
        let policy = rule.map_or_else(TrafficPolicy::default, |rule| {
            rule.policy_for(subset_spec, port)
        });
        let selected = registry_port.endpoints.iter().filter(|endpoint| {
            match &pod {
                // A call by name reaches this pod, whatever the subset selects.
                Some(pod) => endpoint.name == *pod,
                None => subset_spec.is_none_or(|subset| selects(&subset.labels, &endpoint.labels)),
            }
        });
        let identity = Identity {
            host: &service.host,
            name: &service.name,
            namespace: &service.namespace,
            external: service.external,
            networks: &service.networks,
        };
        let mut cluster = self.new_cluster(
            identity,
            &registry_port,
            subset,
            selected.cloned().collect(),
            &policy,
            rule.map(|rule| rule.object.clone()),
        );
        if let Some(pod) = pod {
            cluster.name = format!("{}|{pod}", cluster.name);
        }
        let cluster = Arc::new(cluster);
        self.made.insert(key, Arc::clone(&cluster));
        Some(cluster)
    }

    fn new_cluster(
        &self,
        service: Identity<'_>,
        port: &RegistryPort,
        subset: Option<&str>,
        endpoints: Vec<RegistryEndpoint>,
        policy: &TrafficPolicy,
        destination_rule: Option<ObjectRef>,
    ) -> Cluster {
        let endpoints = endpoints.into_iter().zip(0..).map(|(endpoint, number)| {
            Arc::new(Endpoint {
                id: EndpointId(number),
                name: endpoint.name,
                workload: endpoint.workload,
                target: endpoint.target,
                pod_port: endpoint.pod_port,
                labels: endpoint.labels,
                weight: endpoint.weight,
                ready: endpoint.ready,
            })
        });
        let endpoints: Vec<Arc<Endpoint>> = endpoints.collect();
        let pool = policy.connection_pool.as_ref();
        Cluster {
            name: cluster_name(
                (port.number != ANY_PORT).then_some(port.number),
                subset,
                service.host,
            ),
            service_fqdn: service.host.to_owned(),
            service_name: service.name.to_owned(),
            service_namespace: service.namespace.to_owned(),
            subset: subset.map(str::to_owned),
            port: port.number,
            protocol: port.protocol,
            external: service.external,
            inbound: false,
            declared_networks: self.declared(service.networks),
            destination_rule,
            tls: policy.tls.clone(),
            connect_timeout: pool
                .and_then(|pool| pool.connect_timeout)
                .unwrap_or(CONNECT_TIMEOUT),
            idle_timeout: pool
                .and_then(|pool| pool.idle_timeout)
                .unwrap_or(IDLE_TIMEOUT),
            balancer: Balancer::new(policy.load_balancer.as_ref(), &endpoints),
            limits: Limits::new(pool, port.protocol),
            outlier_detection: policy.outlier_detection.clone(),
            endpoints,
            state: Arc::clone(self.state),
            callers_known: self.callers_known,
            clients: OnceLock::new(),
            late_clients: Mutex::default(),
        }
    }

    fn declared(&self, networks: &[IpNet]) -> Arc<[IpNet]> {
        let everywhere = &self.options.private_networks;
        networks.iter().chain(everywhere).copied().collect()
    }

    /// The cluster of undeclared destinations.
    pub(crate) fn passthrough(&self) -> Arc<Cluster> {
        let name = PASSTHROUGH;
        let identity = Identity {
            host: name,
            name,
            namespace: "",
            external: true,
            networks: &[],
        };
        let port = RegistryPort {
            number: ANY_PORT,
            name: None,
            protocol: Protocol::Http,
            endpoints: Vec::new(),
        };
        let policy = TrafficPolicy::default();
        let mut cluster = self.new_cluster(identity, &port, None, vec![requested()], &policy, None);
        cluster.name = name.into();
        Arc::new(cluster)
    }

    /// The cluster of the pods behind a port for other hosts.
    pub(crate) fn inbound(&self, inbound: &InboundPort, pods: &[Pod]) -> Arc<Cluster> {
        let own = pods.iter().filter(|pod| {
            pod.workload.namespace == inbound.namespace && pod.workload.name == inbound.name
        });
        let endpoints = own.map(|pod| RegistryEndpoint::of_pod(pod, inbound.port));
        let endpoints: Vec<_> = endpoints
            .filter(|endpoint| matches!(endpoint.target, Target::Pod { .. }))
            .collect();
        // Metrics show the service through which callers know the pods.
        let service = self.registry.services.iter().find(|service| {
            let mut known = service.ports.iter().flat_map(|port| &port.endpoints);
            known.any(|known| endpoints.iter().any(|own| own.target == known.target))
        });
        let identity = Identity {
            host: service.map_or(&inbound.name, |service| &service.host),
            name: service.map_or(&inbound.name, |service| &service.name),
            namespace: &inbound.namespace,
            external: false,
            networks: &[],
        };
        let name = format!("inbound|{}||", inbound.port);
        Arc::new(self.without_policy(name, identity, inbound.port, endpoints))
    }

    /// The cluster of the pods of this process behind a Service's port, for clients that
    /// call it without a gateway. `None` if there is no such port.
    pub(crate) fn of_clients(&self, service: &ObjectRef, port: u16) -> Option<Arc<Cluster>> {
        let mut services = self.registry.services.iter();
        let service = services.find(|it| it.object == *service)?;
        let known = service.ports.iter().find(|it| it.number == port)?;
        let here = known.endpoints.iter();
        let here = here.filter(|it| matches!(it.target, Target::Pod { .. }));
        let identity = Identity {
            host: &service.host,
            name: &service.name,
            namespace: &service.namespace,
            external: false,
            networks: &[],
        };
        let name = format!("inbound|{port}||{}", service.host);
        let endpoints = here.cloned().collect();
        Some(Arc::new(
            self.without_policy(name, identity, port, endpoints),
        ))
    }

    /// A cluster for which no caller's DestinationRule counts.
    fn without_policy(
        &self,
        name: String,
        identity: Identity<'_>,
        port: u16,
        endpoints: Vec<RegistryEndpoint>,
    ) -> Cluster {
        let port = RegistryPort {
            number: port,
            name: None,
            protocol: Protocol::Http,
            endpoints: Vec::new(),
        };
        let policy = TrafficPolicy::default();
        let mut cluster = self.new_cluster(identity, &port, None, endpoints, &policy, None);
        cluster.name = name;
        cluster.inbound = true;
        cluster
    }

    pub(crate) fn made(&self) -> impl Iterator<Item = (usize, &Arc<Cluster>)> {
        self.made
            .iter()
            .map(|(key, cluster)| (key.service, cluster))
    }
}

/// Envoy's name for an outbound cluster.
fn cluster_name(port: Option<u16>, subset: Option<&str>, host: &str) -> String {
    let port = port.map(|port| port.to_string()).unwrap_or_default();
    format!("outbound|{port}|{}|{host}", subset.unwrap_or_default())
}
