//! Service.

use std::net::IpAddr;

use crate::codes;
use crate::decode::{
    Decoder, Fields, choice, dns_name, labels, non_empty, optional_port, port, port_name,
    port_reference, steps, string, strings,
};
use crate::model::{Exposure, PortReference, Resource, Service, ServiceKind, ServicePort};
use crate::node_ports::NODE_PORTS;
use crate::unenforced::parts;
use crate::yaml::{Mark, Node};

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Cluster(Exposure),
    ExternalName,
}

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let service = fields.required("spec", spec);
    fields.finish(&[]);
    Some(Resource::Service(service?))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<Service> {
    let mut spec = Fields::of(d, node)?;
    let service_type = spec
        .optional("type", |d, node| {
            let types = [
                ("ClusterIP", Type::Cluster(Exposure::Internal)),
                ("NodePort", Type::Cluster(Exposure::NodePort)),
                ("LoadBalancer", Type::Cluster(Exposure::LoadBalancer)),
                ("ExternalName", Type::ExternalName),
            ];
            choice(d, node, "a type of Service", &types)
        })
        .unwrap_or(Type::Cluster(Exposure::Internal));
    let selector = spec.optional("selector", labels).unwrap_or_default();
    let cluster_ip = spec.optional("clusterIP", string);
    let cluster_ips = spec.optional("clusterIPs", strings).unwrap_or_default();
    let external_name = spec.optional("externalName", dns_name);
    let kind = match service_type {
        Type::ExternalName if external_name.is_none() && !spec.has("externalName") => {
            spec.missing("externalName");
            None
        }
        Type::ExternalName => external_name.map(|name| ServiceKind::ExternalName(name.value)),
        Type::Cluster(_) if cluster_ip.as_deref() == Some("None") => Some(ServiceKind::Headless),
        Type::Cluster(_) => Some(ServiceKind::ClusterIp),
    };
    let exposure = match service_type {
        Type::Cluster(exposure) => exposure,
        Type::ExternalName => Exposure::Internal,
    };
    if service_type != Type::ExternalName && spec.has("externalName") {
        let message = "only has an effect with `type: ExternalName`".to_owned();
        spec.warn_at("externalName", codes::NOT_HONOURED, message);
    }
    let external = service_type == Type::ExternalName;
    let ports = spec.list("ports", |d, node| port_entry(d, node, external));
    if kind == Some(ServiceKind::ClusterIp) && !spec.has_entries("ports") {
        spec.missing("ports");
    }
    check_ports(&mut spec, &ports);
    check_node_ports(&mut spec, exposure, &ports);
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in cluster_ip.iter().chain(&cluster_ips) {
        // The others are `None` and the empty text.
        if let Ok(address) = address.parse()
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    spec.optional("sessionAffinity", |d, node| {
        let choices = [("None", false), ("ClientIP", true)];
        let is_sticky = choice(d, node, "a session affinity", &choices)?;
        if is_sticky {
            let message = "is not supported by this host; it has no effect";
            d.warning(node.mark, codes::NOT_HONOURED, message);
        }
        Some(())
    });
    spec.unenforced("loadBalancerSourceRanges", parts::SOURCE_RANGES);
    spec.finish(&[
        "ipFamilies",
        "ipFamilyPolicy",
        "internalTrafficPolicy",
        "externalTrafficPolicy",
        "allocateLoadBalancerNodePorts",
        "healthCheckNodePort",
        "externalIPs",
        "loadBalancerClass",
        "loadBalancerIP",
        "publishNotReadyAddresses",
        "sessionAffinityConfig",
        "trafficDistribution",
    ]);
    Some(Service {
        kind: kind?,
        exposure,
        selector,
        addresses,
        ports,
    })
}

fn port_entry(d: &mut Decoder, node: &Node, external: bool) -> Option<ServicePort> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.optional("name", |d, node| {
        let text = non_empty(d, node)?;
        crate::decode::is_dns_label(&text)
            .then_some(())
            .or_else(|| {
                let shown = d.show(&text);
                let message =
                    format!("{shown} is not a port name; use lower-case letters, digits and `-`");
                d.error(node.mark, codes::INVALID_VALUE, message);
                None
            })?;
        Some(text)
    });
    let number = fields.required("port", port);
    let target_port = fields.optional("targetPort", port_reference);
    let app_protocol = fields.optional("appProtocol", non_empty);
    let protocol = fields.optional("protocol", |d, node| {
        choice(
            d,
            node,
            "a protocol",
            &[("TCP", "TCP"), ("UDP", "UDP"), ("SCTP", "SCTP")],
        )
    });
    if let Some(other @ ("UDP" | "SCTP")) = protocol {
        let message = format!("{other} is not served by this host; components speak HTTP");
        fields.warn_at("protocol", codes::NOT_HONOURED, message);
    }
    if app_protocol.is_none() {
        check_port_name(&mut fields, name.as_deref(), external);
    }
    let node_port = optional_port(&mut fields, "nodePort");
    fields.finish(&[]);
    let number = number?;
    let target_port = target_port.unwrap_or(PortReference::Number(number));
    Some(ServicePort {
        at: d.position(node.mark),
        name,
        port: number,
        target_port,
        node_port,
        app_protocol,
    })
}

/// What Istio knows as the beginning of a port's name.
const NAMED_PROTOCOLS: &[&str] = &[
    "http", "http2", "grpc", "https", "tls", "tcp", "udp", "mongo", "mysql", "redis",
];

/// The protocol of a port, which Istio takes from the prefix of its name.
fn check_port_name(fields: &mut Fields<'_, '_>, name: Option<&str>, external: bool) {
    let prefix = name.map(|name| name.split('-').next().unwrap_or(name));
    let known = prefix.is_some_and(|it| NAMED_PROTOCOLS.contains(&it)) && name != Some("tcp");
    if external && !known {
        let message = "with `type: ExternalName`, a cluster may send other connections of this \
                       port here too; begin the name with `http`, `https` or `tls`";
        fields.warn_at("name", codes::EXTERNAL_NAME_PORT, message.to_owned());
        return;
    }
    let (code, message) = match prefix {
        Some("http" | "http2" | "grpc") => return,
        Some(other) if known || name == Some("tcp") => (
            codes::NOT_HONOURED,
            format!("the name says {other}, but this host speaks HTTP to every port"),
        ),
        _ => (
            codes::PORT_NAME,
            "treated as HTTP; in a mesh start the port's name with its protocol, such as `http`, \
             or set appProtocol"
                .to_owned(),
        ),
    };
    let mark = fields.mark_of("name");
    fields.d.under("name", |d| d.note(mark, code, message));
}

fn check_ports(spec: &mut Fields<'_, '_>, ports: &[ServicePort]) {
    for (index, port) in ports.iter().enumerate() {
        let mark = Mark::from(&port.at);
        let report = |spec: &mut Fields<'_, '_>, code, message: String| {
            spec.d
                .within(steps!["ports", index], |d| d.error(mark, code, message));
        };
        let report_name = |spec: &mut Fields<'_, '_>, code, message: String| {
            let path = steps!["ports", index, "name"];
            spec.d.within(path, |d| d.error(mark, code, message));
        };
        if ports.len() > 1 && port.name.is_none() {
            let message = "a Service with several ports needs a `name` for each".to_owned();
            report_name(spec, codes::MISSING_FIELD, message);
        }
        let earlier = &ports[..index];
        if earlier.iter().any(|other| other.port == port.port) {
            report(
                spec,
                codes::DUPLICATE_NAME,
                format!("port {} is listed twice", port.port),
            );
        }
        if let Some(name) = &port.name
            && earlier
                .iter()
                .any(|other| other.name.as_ref() == Some(name))
        {
            let message = format!("the port name `{name}` is listed twice");
            report_name(spec, codes::DUPLICATE_NAME, message);
        }
    }
}

fn check_node_ports(spec: &mut Fields<'_, '_>, exposure: Exposure, ports: &[ServicePort]) {
    for (index, port) in ports.iter().enumerate() {
        let Some(number) = port.node_port else {
            continue;
        };
        let (first, last) = (NODE_PORTS.start(), NODE_PORTS.end());
        let earlier = &ports[..index];
        let message = if exposure == Exposure::Internal {
            "only a Service of type NodePort or LoadBalancer has a nodePort; set `type: NodePort`"
                .to_owned()
        } else if !NODE_PORTS.contains(&number) {
            format!("{number} is not a nodePort; choose one of {first}-{last}, or leave it out")
        } else if earlier.iter().any(|other| other.node_port == Some(number)) {
            format!("nodePort {number} is listed twice")
        } else {
            continue;
        };
        let mark = Mark::from(&port.at);
        spec.d.within(steps!["ports", index, "nodePort"], |d| {
            d.error(mark, codes::INVALID_VALUE, message);
        });
    }
}

/// The `name` of a container's port.
pub(super) fn container_port_name(d: &mut Decoder, node: &Node) -> Option<String> {
    let text = non_empty(d, node)?;
    port_name(d, &text, node)
}
