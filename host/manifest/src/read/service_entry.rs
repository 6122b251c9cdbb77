//! Istio's ServiceEntry.

mod endpoints;

use super::{export_to, gateway};
use crate::WithPosition;
use crate::codes;
use crate::decode::{
    Decoder, Fields, choice, destination_name, ends_with_number, integer, is_dns_label,
    is_partial_wildcard, labels, network, non_empty, port, steps, strings,
};
use crate::model::{Labels, Protocol, Resolution, Resource, ServiceEntry, ServiceEntryPort};
use crate::unenforced::parts;
use crate::yaml::Node;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let entry = fields.required("spec", spec);
    fields.finish(&[]);
    entry.map(Resource::ServiceEntry)
}

fn spec(d: &mut Decoder, node: &Node) -> Option<ServiceEntry> {
    let mut spec = Fields::of(d, node)?;
    let hosts = spec.required_list("hosts", |d, node| {
        let host = destination_name(d, node)?;
        if host.value == "*" {
            let message = "`*` alone would match every destination; name the hosts";
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(host)
    });
    let addresses = spec.list("addresses", network);
    let ports = spec.list("ports", port_entry);
    check_ports(spec.d, &ports);
    if !spec.has("addresses") {
        check_addressless(&mut spec);
    }
    let mesh_internal = spec.optional("location", |d, node| {
        choice(
            d,
            node,
            "a location",
            &[("MESH_EXTERNAL", false), ("MESH_INTERNAL", true)],
        )
    });
    let resolution = spec.optional("resolution", resolution);
    let resolution = resolution.unwrap_or(Resolution::None);
    let workload_selector = spec.optional("workloadSelector", selector);
    let endpoints = endpoints::read(&mut spec, resolution, &ports);
    if spec.has("endpoints") && spec.has("workloadSelector") {
        let message = "`endpoints` and `workloadSelector` are mutually exclusive; keep one";
        spec.error_at(
            "workloadSelector",
            codes::EXCLUSIVE_FIELDS,
            message.to_owned(),
        );
    }
    check_resolution(
        &mut spec,
        resolution,
        hosts.as_deref().unwrap_or_default(),
        &addresses,
    );
    check_dynamic(&mut spec, resolution, hosts.as_deref().unwrap_or_default());
    check_protocols(&mut spec, resolution, hosts.as_deref().unwrap_or_default());
    let misplaced = node.get("ports").is_some_and(has_resolution);
    if misplaced && !spec.has("resolution") {
        let mark = spec.mark;
        let message = "no `resolution` is set here, so it is NONE; one under `ports` has no effect";
        spec.d.warning(mark, codes::UNKNOWN_FIELD, message);
    }
    let export_to = export_to::of_service_entry(&mut spec);
    if let Some(names) = spec.get("subjectAltNames").filter(|it| !it.is_null()) {
        spec.d.under("subjectAltNames", |d| strings(d, names));
    }
    spec.unenforced("subjectAltNames", parts::SUBJECT_ALT_NAMES);
    spec.finish(&[]);
    Some(ServiceEntry {
        hosts: hosts?,
        addresses,
        ports,
        mesh_internal: mesh_internal.unwrap_or(false),
        resolution,
        endpoints,
        workload_selector: workload_selector.unwrap_or_default(),
        export_to,
    })
}

fn selector(d: &mut Decoder, node: &Node) -> Option<Labels> {
    let mut selector = Fields::of(d, node)?;
    let labels = selector.optional("labels", labels);
    selector.finish(&[]);
    Some(labels.unwrap_or_default())
}

fn has_resolution(ports: &Node) -> bool {
    matches!(&ports.value, crate::yaml::Value::Sequence(ports)
        if ports.iter().any(|port| port.get("resolution").is_some()))
}

fn resolution(d: &mut Decoder, node: &Node) -> Option<Resolution> {
    let resolutions = [
        ("NONE", Resolution::None),
        ("STATIC", Resolution::Static),
        ("DNS", Resolution::Dns),
        ("DNS_ROUND_ROBIN", Resolution::DnsRoundRobin),
        ("DYNAMIC_DNS", Resolution::DynamicDns),
    ];
    choice(d, node, "a resolution", &resolutions)
}

fn port_entry(d: &mut Decoder, node: &Node) -> Option<ServiceEntryPort> {
    let mut fields = Fields::of(d, node)?;
    let number = fields.required("number", port);
    let name = fields.required("name", port_name);
    let protocol = fields.optional("protocol", |d, node| {
        // An empty text is as none.
        match node.as_text() {
            Some("") => Some(Protocol::Http),
            _ => gateway::protocol(d, node),
        }
    });
    let protocol_failed = fields.has("protocol") && protocol.is_none();
    let target_port = fields.optional("targetPort", |d, node| {
        let number = integer(0..=65535)(d, node)?;
        u16::try_from(number).ok().filter(|number| *number > 0)
    });
    fields.finish(&[]);
    if protocol_failed {
        return None;
    }
    Some(ServiceEntryPort {
        at: d.position(node.mark),
        number: number?,
        name: name?,
        // A cluster finds out the protocol of each connection; here, all calls are HTTP.
        protocol: protocol.unwrap_or(Protocol::Http),
        target_port,
    })
}

/// The name of a port of Istio's.
pub(super) fn port_name(d: &mut Decoder, node: &Node) -> Option<String> {
    let name = non_empty(d, node)?;
    if is_dns_label(&name.to_ascii_lowercase()) {
        return Some(name);
    }
    let shown = d.show(&name);
    let message = format!("{shown} is not a port name; use letters, digits and `-`, at most 63");
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

/// Each port has its own number and name.
fn check_ports(d: &mut Decoder, ports: &[ServiceEntryPort]) {
    for (index, port) in ports.iter().enumerate() {
        let earlier = &ports[..index];
        let mark = (&port.at).into();
        if earlier.iter().any(|it| it.name == port.name) {
            let message = format!(
                "an earlier port has the name `{}` too; rename one",
                port.name
            );
            d.within(steps!["ports", index, "name"], |d| {
                d.error(mark, codes::INVALID_VALUE, message);
            });
        }
        if earlier.iter().any(|it| it.number == port.number) {
            let message = format!(
                "an earlier port has the number {} too; remove one",
                port.number
            );
            d.within(steps!["ports", index, "number"], |d| {
                d.error(mark, codes::INVALID_VALUE, message);
            });
        }
    }
}

/// Without an address of its own, a cluster cannot tell a connection that is not HTTP from one to
/// another host with the port.
fn check_addressless(spec: &mut Fields<'_, '_>) {
    let Some(crate::yaml::Value::Sequence(ports)) = spec.get("ports").map(|ports| &ports.value)
    else {
        return;
    };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.get("protocol").and_then(Node::as_text).unwrap_or("");
        if !protocol.is_empty() && !protocol.eq_ignore_ascii_case("TCP") {
            continue;
        }
        let message = "a cluster needs `addresses` for a port without a protocol such as HTTP; set \
                       the protocol, or the addresses";
        spec.d.within(steps!["ports", index], |d| {
            d.warning(port.mark, codes::ADDRESSES_REQUIRED, message);
        });
    }
}

/// Checks that the hosts and addresses are allowed with the resolution.
fn check_resolution(
    spec: &mut Fields<'_, '_>,
    resolution: Resolution,
    hosts: &[WithPosition<String>],
    addresses: &[String],
) {
    let by_name = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    if (by_name || resolution == Resolution::DynamicDns)
        && addresses.iter().any(|address| address.contains('/'))
    {
        let message = "a cluster refuses networks with this resolution; here they are the addresses \
                       that the host may have although they are not public";
        spec.warn_at("addresses", codes::EXCLUSIVE_FIELDS, message.to_owned());
    }
    if by_name
        && !spec.has("endpoints")
        && let Some(index) = hosts
            .iter()
            .position(|host| host.starts_with('*') || ends_with_number(host))
    {
        let message = format!(
            "`{}` has no address; list `endpoints`, or use `resolution: NONE` or DYNAMIC_DNS",
            hosts[index]
        );
        let mark = (&hosts[index].at).into();
        spec.d.within(steps!["hosts", index], |d| {
            d.error(mark, codes::INVALID_VALUE, message);
        });
    }
}

/// `DYNAMIC_DNS` resolves the name of each request, for wildcards.
fn check_dynamic(
    spec: &mut Fields<'_, '_>,
    resolution: Resolution,
    hosts: &[WithPosition<String>],
) {
    if resolution != Resolution::DynamicDns {
        for (index, host) in hosts.iter().enumerate() {
            if is_partial_wildcard(host) {
                let message =
                    format!("`{host}` has a star for a part of a label; use `*.` at the front");
                let mark = (&host.at).into();
                spec.d.within(steps!["hosts", index], |d| {
                    d.warning(mark, codes::INVALID_VALUE, message);
                });
            }
        }
        return;
    }
    for (index, host) in hosts.iter().enumerate() {
        if !host.starts_with('*') {
            let message = "the resolution DYNAMIC_DNS is for wildcards; use DNS for one host";
            let mark = (&host.at).into();
            spec.d.within(steps!["hosts", index], |d| {
                d.error(mark, codes::INVALID_VALUE, message);
            });
        }
    }
    for none in ["addresses", "endpoints"] {
        if spec.has(none) {
            let message = "the resolution DYNAMIC_DNS finds the address by the host; remove it";
            spec.error_at(none, codes::EXCLUSIVE_FIELDS, message.to_owned());
        }
    }
}

/// Checks that the protocol shows which of several hosts a connection is for, and that
/// `DYNAMIC_DNS` allows it. The protocols are the words of the manifest, since several are one protocol here.
fn check_protocols(
    spec: &mut Fields<'_, '_>,
    resolution: Resolution,
    hosts: &[WithPosition<String>],
) {
    const NAMED: &[&str] = &[
        "HTTP",
        "HTTP2",
        "HTTP_PROXY",
        "GRPC",
        "GRPC-WEB",
        "HTTPS",
        "TLS",
    ];
    const DYNAMIC: &[&str] = &["HTTP", "HTTP2", "GRPC", "TLS"];
    let (accepted, why) = match resolution {
        Resolution::DynamicDns => (DYNAMIC, "the resolution DYNAMIC_DNS needs"),
        Resolution::None => return,
        _ if hosts.len() > 1 => (NAMED, "an entry with several hosts needs"),
        _ => return,
    };
    let Some(crate::yaml::Value::Sequence(ports)) = spec.get("ports").map(|ports| &ports.value)
    else {
        return;
    };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.get("protocol").and_then(Node::as_text).unwrap_or("");
        if accepted.iter().any(|it| it.eq_ignore_ascii_case(protocol)) {
            continue;
        }
        let message = format!("{why} one of the protocols {}", accepted.join(", "));
        spec.d.within(steps!["ports", index, "protocol"], |d| {
            d.error(port.mark, codes::INVALID_VALUE, message);
        });
    }
}
