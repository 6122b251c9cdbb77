//! The service registry: Services with their pods, and the hosts of ServiceEntries.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use galleria_manifest::model::{
    Labels, PortReference, Protocol, Resolution, Service, ServiceEntry, ServiceEntryPort,
    ServiceKind, ServicePort, WorkloadEntry,
};

use super::export::{ExportTo, View};
use super::inventory::{Inventory, Source, full_name};
use crate::virtual_host::selects;
use crate::{ObjectRef, Options, Pod, Target, Workload};

/// Every host that something declares.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) services: Vec<RegistryService>,
    by_host: HashMap<String, Vec<usize>>,
}

/// A Service, or one host of a ServiceEntry.
#[derive(Debug)]
pub(crate) struct RegistryService {
    /// In full and in lower case; may be a wildcard.
    pub(crate) host: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) object: ObjectRef,
    pub(crate) export_to: ExportTo,
    pub(crate) ports: Vec<RegistryPort>,
    pub(crate) external: bool,
    /// An ExternalName: the service that it stands for, where that is one.
    pub(crate) alias: Option<String>,
    /// IP addresses by which it may be called too.
    pub(crate) addresses: Vec<String>,
    /// Its pods can be called by `pod.service` as well.
    pub(crate) headless: bool,
}

#[derive(Debug)]
pub(crate) struct RegistryPort {
    pub(crate) number: u16,
    pub(crate) name: Option<String>,
    pub(crate) protocol: Protocol,
    pub(crate) endpoints: Vec<RegistryEndpoint>,
}

#[derive(Debug, Clone)]
pub(crate) struct RegistryEndpoint {
    pub(crate) name: String,
    pub(crate) workload: Option<Arc<Workload>>,
    pub(crate) target: Target,
    pub(crate) labels: Labels,
    pub(crate) weight: u32,
    pub(crate) ready: Option<Arc<AtomicBool>>,
}

impl Registry {
    pub(crate) fn new(inventory: &Inventory<'_>, pods: &[Pod], options: &Options) -> Self {
        let mut pods_of: HashMap<&str, Vec<&Pod>> = HashMap::new();
        for pod in pods {
            pods_of
                .entry(&pod.workload.namespace)
                .or_default()
                .push(pod);
        }
        let mut registry = Self::default();
        for source in &inventory.services {
            let pods = pods_of
                .get(source.namespace())
                .map_or(&[][..], Vec::as_slice);
            registry.add(kubernetes_service(source, pods, options));
        }
        for source in &inventory.service_entries {
            for host in &source.spec.hosts {
                registry.add(entry_service(source, host, options));
            }
        }
        registry
    }

    /// Entries of one namespace for one host are one service: the later adds
    /// the ports that the earlier does not have.
    fn add(&mut self, service: RegistryService) {
        let same_host = self.by_host.entry(service.host.clone()).or_default();
        let earlier = same_host.iter().find_map(|number| {
            self.services
                .get(*number)
                .filter(|known| known.namespace == service.namespace)?;
            Some(*number)
        });
        if let Some(earlier) = earlier.and_then(|number| self.services.get_mut(number)) {
            for port in service.ports {
                if earlier
                    .ports
                    .iter()
                    .all(|known| known.number != port.number)
                {
                    earlier.ports.push(port);
                }
            }
            return;
        }
        same_host.push(self.services.len());
        self.services.push(service);
    }

    /// The service that a host means to `view`: one of its own namespace, or
    /// else the oldest that it can see.
    pub(crate) fn find(&self, host: &str, view: View<'_>) -> Option<usize> {
        let visible = |number: &&usize| {
            self.services
                .get(**number)
                .is_some_and(|service| service.export_to.reaches(view))
        };
        let numbers = self.by_host.get(host)?;
        let own = numbers.iter().filter(visible).find(|number| {
            let namespace = self
                .services
                .get(**number)
                .map(|service| service.namespace.as_str());
            namespace.is_some_and(|namespace| view == View::Namespace(namespace))
        });
        own.or_else(|| numbers.iter().find(visible)).copied()
    }

    pub(crate) fn all_of(&self, host: &str) -> impl Iterator<Item = &RegistryService> {
        let numbers = self.by_host.get(host).map_or(&[][..], Vec::as_slice);
        numbers
            .iter()
            .filter_map(|number| self.services.get(*number))
    }

    /// Follows an ExternalName to the service that it stands for.
    pub(crate) fn resolve_alias(&self, number: usize, view: View<'_>) -> usize {
        let alias = self
            .services
            .get(number)
            .and_then(|service| service.alias.as_deref());
        alias
            .and_then(|host| self.find(host, view))
            .unwrap_or(number)
    }
}

fn kubernetes_service(
    source: &Source<'_, Service>,
    pods: &[&Pod],
    options: &Options,
) -> RegistryService {
    let namespace = source.namespace();
    let host = full_name(source.name(), namespace, &options.cluster_domain);
    let selected: Vec<&Pod> = pods
        .iter()
        .copied()
        .filter(|pod| {
            !source.spec.selector.is_empty() && selects(&source.spec.selector, &pod.labels)
        })
        .collect();
    let external_name = match &source.spec.kind {
        ServiceKind::ExternalName(name) => Some(crate::route::canonical(name).into_owned()),
        ServiceKind::ClusterIp | ServiceKind::Headless => None,
    };
    let mut ports: Vec<RegistryPort> = source
        .spec
        .ports
        .iter()
        .map(|port| RegistryPort {
            number: port.port,
            name: port.name.clone(),
            protocol: service_protocol(port),
            endpoints: match &external_name {
                Some(name) => vec![remote(name, port.port, Labels::new(), 1)],
                None => selected
                    .iter()
                    .filter_map(|pod| pod_endpoint(pod, port))
                    .collect(),
            },
        })
        .collect();
    if let Some(name) = &external_name
        && ports.is_empty()
    {
        // An ExternalName needs no ports; it is called as HTTP or HTTPS.
        ports = [(80, Protocol::Http), (443, Protocol::Https)]
            .into_iter()
            .map(|(number, protocol)| RegistryPort {
                number,
                name: None,
                protocol,
                endpoints: vec![remote(name, number, Labels::new(), 1)],
            })
            .collect();
    }
    let export_to = source
        .object
        .metadata
        .annotations
        .get("networking.istio.io/exportTo");
    RegistryService {
        name: source.name().to_owned(),
        namespace: namespace.to_owned(),
        object: source.reference("Service"),
        export_to: export_to.map_or(ExportTo::All, |text| {
            ExportTo::from_annotation(text, namespace)
        }),
        ports,
        external: external_name.is_some(),
        alias: external_name,
        addresses: Vec::new(),
        headless: source.spec.kind == ServiceKind::Headless,
        host,
    }
}

/// A pod whose ports do not have the name that `targetPort` asks for is no
/// endpoint, as in Kubernetes.
fn pod_endpoint(pod: &Pod, port: &ServicePort) -> Option<RegistryEndpoint> {
    let number = match &port.target_port {
        PortReference::Number(number) => *number,
        PortReference::Name(name) => {
            pod.ports
                .iter()
                .find(|port| port.name.as_ref() == Some(name))?
                .container_port
        }
    };
    Some(RegistryEndpoint {
        name: format!("{}/{}", pod.workload.namespace, pod.name),
        workload: Some(Arc::clone(&pod.workload)),
        target: Target::Pod {
            target: pod.target,
            port: number,
        },
        labels: pod.labels.clone(),
        weight: 1,
        ready: Some(Arc::clone(&pod.ready)),
    })
}

/// `appProtocol`, or the port name's part before the first dash. Everything
/// here is HTTP, so what is not known is HTTP too.
fn service_protocol(port: &ServicePort) -> Protocol {
    let name = port
        .app_protocol
        .as_deref()
        .or(port.name.as_deref())
        .unwrap_or("http");
    let name = name.rsplit('/').next().unwrap_or(name);
    match name.split('-').next().unwrap_or(name) {
        "http2" | "h2c" => Protocol::Http2,
        "grpc" => Protocol::Grpc,
        "https" => Protocol::Https,
        "tls" => Protocol::Tls,
        "mongo" => Protocol::Mongo,
        "tcp" | "mysql" | "redis" => Protocol::Tcp,
        _ => Protocol::Http,
    }
}

fn entry_service(
    source: &Source<'_, ServiceEntry>,
    host: &str,
    options: &Options,
) -> RegistryService {
    let entry = source.spec;
    let host = crate::route::canonical(host).into_owned();
    let ports = entry.ports.iter().map(|port| RegistryPort {
        number: port.number,
        name: Some(port.name.clone()),
        protocol: port.protocol,
        endpoints: entry_endpoints(entry, &host, port),
    });
    // A ServiceEntry for a name of the cluster is known by the service's part of it.
    let suffix = format!(".svc.{}", options.cluster_domain);
    let name = host
        .strip_suffix(&suffix)
        .and_then(|name| name.split('.').next());
    RegistryService {
        name: name.unwrap_or(&host).to_owned(),
        namespace: source.namespace().to_owned(),
        object: source.reference("ServiceEntry"),
        export_to: ExportTo::new(&entry.export_to, source.namespace()),
        ports: ports.collect(),
        external: !entry.mesh_internal,
        alias: None,
        addresses: entry
            .addresses
            .iter()
            .filter(|address| !address.contains('/'))
            .cloned()
            .collect(),
        headless: false,
        host,
    }
}

fn entry_endpoints(
    entry: &ServiceEntry,
    host: &str,
    port: &ServiceEntryPort,
) -> Vec<RegistryEndpoint> {
    let number = port.target_port.unwrap_or(port.number);
    let to_host = |host: &str| vec![remote(host, number, Labels::new(), 1)];
    match entry.resolution {
        Resolution::None | Resolution::DynamicDns => vec![requested()],
        Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin
            if !entry.endpoints.is_empty() =>
        {
            entry
                .endpoints
                .iter()
                .map(|endpoint| entry_endpoint(endpoint, port, number))
                .collect()
        }
        Resolution::Static => Vec::new(),
        // A wildcard has no address of its own; the name that is called has.
        Resolution::Dns | Resolution::DnsRoundRobin if host.starts_with('*') => vec![requested()],
        Resolution::Dns | Resolution::DnsRoundRobin => to_host(host),
    }
}

fn entry_endpoint(
    endpoint: &WorkloadEntry,
    port: &ServiceEntryPort,
    number: u16,
) -> RegistryEndpoint {
    let named = endpoint.ports.iter().find(|(name, _)| *name == port.name);
    let number = named.map_or(number, |(_, number)| *number);
    remote(
        &endpoint.address,
        number,
        endpoint.labels.clone(),
        endpoint.weight,
    )
}

fn remote(host: &str, port: u16, labels: Labels, weight: u32) -> RegistryEndpoint {
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    RegistryEndpoint {
        name: format!("{host}:{port}"),
        workload: None,
        target: Target::Remote { host, port },
        labels,
        weight: weight.max(1),
        ready: None,
    }
}

pub(crate) fn requested() -> RegistryEndpoint {
    RegistryEndpoint {
        name: "as requested".into(),
        workload: None,
        target: Target::Requested,
        labels: Labels::new(),
        weight: 1,
        ready: None,
    }
}
