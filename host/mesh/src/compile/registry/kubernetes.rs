//! Services with the pods that they select.

use std::net::IpAddr;

use galleria_manifest::model::{
    Labels, PortReference, Protocol, Service, ServiceKind, ServicePort,
};

use super::{RegistryEndpoint, RegistryPort, RegistryService, remote, selects};
use crate::compile::export::ExportTo;
use crate::compile::inventory::{Source, full_name};
use crate::{Options, Pod};

pub(super) fn kubernetes_service(
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
        ServiceKind::ExternalName(name) => Some(crate::decide::host::canonical(name).into_owned()),
        ServiceKind::ClusterIp | ServiceKind::Headless => None,
    };
    let ports: Vec<RegistryPort> = source
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
        addresses: source
            .spec
            .addresses
            .iter()
            .map(IpAddr::to_string)
            .collect(),
        networks: Vec::new(),
        headless: source.spec.kind == ServiceKind::Headless,
        host,
    }
}

/// The endpoint of a pod; `None` if the pod has no port with the name in `targetPort`, as
/// in Kubernetes.
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
    Some(RegistryEndpoint::of_pod(pod, number))
}

/// `appProtocol`, or the part of the port's name before the first dash. The default is
/// HTTP.
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
