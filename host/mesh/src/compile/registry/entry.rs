//! ServiceEntries: each host is a service of its own.

use std::net::IpAddr;

use galleria_manifest::model::{Labels, Resolution, ServiceEntry, ServiceEntryPort, WorkloadEntry};
use ipnet::IpNet;

use super::{RegistryEndpoint, RegistryPort, RegistryService, remote, requested, selects};
use crate::compile::export::ExportTo;
use crate::compile::inventory::Source;
use crate::{Options, Pod};

pub(super) fn entry_service(
    source: &Source<'_, ServiceEntry>,
    host: &str,
    pods: &[&Pod],
    options: &Options,
) -> RegistryService {
    let entry = source.spec;
    let selector = &entry.workload_selector;
    let selected = pods
        .iter()
        .copied()
        .filter(|pod| !selector.is_empty() && selects(selector, &pod.labels));
    let pods: Vec<&Pod> = selected.collect();
    let host = crate::decide::host::canonical(host).into_owned();
    let ports = entry.ports.iter().map(|port| RegistryPort {
        number: port.number,
        name: Some(port.name.clone()),
        protocol: port.protocol,
        endpoints: entry_endpoints(entry, &host, port, &pods),
    });
    // The name of a ServiceEntry for a host of the cluster is the service's part of the
    // host.
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
        networks: entry
            .addresses
            .iter()
            .filter_map(|it| network(it))
            .collect(),
        headless: false,
        host,
    }
}

/// An address or a network.
fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).ok()
}

fn entry_endpoints(
    entry: &ServiceEntry,
    host: &str,
    port: &ServiceEntryPort,
    pods: &[&Pod],
) -> Vec<RegistryEndpoint> {
    let number = port.target_port.unwrap_or(port.number);
    let to_host = |host: &str| vec![remote(host, number, Labels::new(), 1)];
    match entry.resolution {
        Resolution::None | Resolution::DynamicDns => vec![requested()],
        Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin
            if !entry.endpoints.is_empty() || !entry.workload_selector.is_empty() =>
        {
            let listed = entry.endpoints.iter();
            let listed = listed.map(|endpoint| entry_endpoint(endpoint, port, number));
            let pods = pods.iter().map(|pod| RegistryEndpoint::of_pod(pod, number));
            listed.chain(pods).collect()
        }
        Resolution::Static => Vec::new(),
        // A wildcard has no address, but the name that a request addresses has.
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
