//! The service registry: Services with their pods, and the hosts of ServiceEntries.

mod entry;
mod kubernetes;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use galleria_manifest::model::{Labels, Protocol};
use ipnet::IpNet;

use super::export::{ExportTo, View};
use super::inventory::Inventory;
use crate::{Location, ObjectRef, Options, Pod, Target, Workload};
use entry::entry_service;
use kubernetes::kubernetes_service;

/// The maximum number of ExternalNames that refer to each other.
const ALIASES_MAX: usize = 8;

/// The port number that matches every port that an ExternalName does not list.
pub(crate) const ANY_PORT: u16 = 0;

/// All declared hosts.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) services: Vec<RegistryService>,
    by_host: HashMap<String, Vec<usize>>,
}

/// A Service, or one host of a ServiceEntry.
#[derive(Debug)]
pub(crate) struct RegistryService {
    /// The full name in lower case. It can be a wildcard.
    pub(crate) host: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) object: ObjectRef,
    pub(crate) export_to: ExportTo,
    pub(crate) ports: Vec<RegistryPort>,
    pub(crate) external: bool,
    /// The name that an ExternalName refers to, which can be another service.
    pub(crate) alias: Option<String>,
    /// IP addresses by which it can be called too, without brackets.
    pub(crate) addresses: Vec<String>,
    /// Networks in `addresses`.
    pub(crate) networks: Vec<IpNet>,
    /// Whether its pods can be called as `pod.service`.
    pub(crate) headless: bool,
}

#[derive(Debug, Clone)]
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
    /// The pod's own port.
    pub(crate) pod_port: Option<u16>,
    pub(crate) labels: Labels,
    pub(crate) weight: u32,
    pub(crate) ready: Option<Arc<AtomicBool>>,
}

impl RegistryEndpoint {
    /// `port` is a port of the pod.
    pub(crate) fn of_pod(pod: &Pod, port: u16) -> Self {
        let target = match &pod.location {
            Location::Here(target) => Target::Pod {
                target: *target,
                port,
            },
            Location::Peer { host, port: other } => Target::Peer {
                host: host.clone(),
                port: other.unwrap_or(port),
            },
        };
        Self {
            name: format!("{}/{}", pod.workload.namespace, pod.name),
            workload: Some(Arc::clone(&pod.workload)),
            target,
            pod_port: Some(port),
            labels: pod.labels.clone(),
            weight: 1,
            ready: Some(Arc::clone(&pod.ready)),
        }
    }
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
            let pods = pods_of
                .get(source.namespace())
                .map_or(&[][..], Vec::as_slice);
            for host in &source.spec.hosts {
                registry.add(entry_service(source, host, pods, options));
            }
        }
        registry
    }

    /// Entries of one namespace for the same host are one service: the later adds the ports
    /// that the earlier does not have.
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
            earlier.networks.extend(service.networks);
            return;
        }
        same_host.push(self.services.len());
        self.services.push(service);
    }

    /// The service that `host` refers to in `view`: one of the view's own namespace, or
    /// else the oldest visible one.
    pub(crate) fn find(&self, host: &str, view: View<'_>) -> Option<usize> {
        self.find_where(host, view, |_| true)
    }

    /// As [`Registry::find`], among the services for which `seen` holds.
    pub(crate) fn find_where(
        &self,
        host: &str,
        view: View<'_>,
        seen: impl Fn(&RegistryService) -> bool,
    ) -> Option<usize> {
        let visible = |number: &&usize| {
            self.services
                .get(**number)
                .is_some_and(|service| service.export_to.reaches(view) && seen(service))
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

    /// Follows an ExternalName to the service that it refers to. A circle refers to nothing.
    pub(crate) fn resolve_alias(&self, number: usize, view: View<'_>) -> usize {
        let mut at = number;
        for _ in 0..ALIASES_MAX {
            let alias = self.services.get(at).and_then(|it| it.alias.as_deref());
            match alias.and_then(|host| self.find(host, view)) {
                Some(next) => at = next,
                None => return at,
            }
        }
        number
    }

    /// The ports on which a service can be called; `None` for every port. An ExternalName
    /// has those of the service that it refers to, whatever it lists itself.
    pub(crate) fn ports(&self, number: usize, view: View<'_>) -> Option<Vec<u16>> {
        let target = self.services.get(self.resolve_alias(number, view))?;
        let ports = target.ports.iter().map(|port| port.number);
        target.alias.is_none().then(|| ports.collect())
    }
}

impl RegistryService {
    /// A port of the service. An ExternalName to a host outside has every port:
    /// [`ANY_PORT`] is the one that a request addresses.
    pub(crate) fn port(&self, number: u16) -> Option<Cow<'_, RegistryPort>> {
        let declared = self.ports.iter().find(|port| port.number == number);
        if let Some(declared) = declared {
            return Some(Cow::Borrowed(declared));
        }
        let host = self.alias.as_deref()?;
        let protocol = match number {
            443 => Protocol::Https,
            _ => Protocol::Http,
        };
        let mut endpoint = remote(host, number, Labels::new(), 1);
        if number == ANY_PORT {
            endpoint.name = host.to_owned();
            endpoint.target = Target::AnyPort {
                host: host.to_owned(),
            };
        }
        Some(Cow::Owned(RegistryPort {
            number,
            name: None,
            protocol,
            endpoints: vec![endpoint],
        }))
    }
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
        pod_port: None,
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
        pod_port: None,
        labels: Labels::new(),
        weight: 1,
        ready: None,
    }
}

/// Whether `labels` contains all labels of `selector`.
pub(crate) fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}
