//! Istio's ServiceEntry.

use super::{gateway, virtual_service};
use crate::codes;
use crate::decode::{
    Decoder, Fields, choice, did_you_mean, dns_name, integer, labels, located_string, map,
    non_empty, port, steps, strings,
};
use crate::model::{Labels, Resolution, Resource, ServiceEntry, ServiceEntryPort, WorkloadEntry};
use crate::unenforced::parts;
use crate::yaml::{Mark, Node};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let entry = fields.required("spec", spec);
    fields.finish(&[]);
    entry.map(Resource::ServiceEntry)
}

fn spec(d: &mut Decoder, node: &Node) -> Option<ServiceEntry> {
    let mut spec = Fields::of(d, node)?;
    let hosts = spec.required_list("hosts", |d, node| {
        let host = dns_name(d, node)?;
        if host.value == "*" {
            let message = "`*` alone would match every destination; name the hosts";
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(host)
    });
    let addresses = spec.optional("addresses", strings).unwrap_or_default();
    let ports = spec.list("ports", port_entry);
    if ports.is_empty() && !spec.has("ports") {
        spec.missing("ports");
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
    let endpoints = spec.list("endpoints", endpoint);
    let workload_selector = spec.optional("workloadSelector", selector);
    check_endpoint_ports(&mut spec, &ports, &endpoints);
    if resolution == Some(Resolution::Static)
        && !spec.has("endpoints")
        && !spec.has("workloadSelector")
    {
        spec.missing("endpoints");
    }
    let misplaced = node.get("ports").is_some_and(has_resolution);
    if misplaced && !spec.has("resolution") {
        let mark = spec.mark;
        let message = "no `resolution` is set here, so it is NONE; one under `ports` has no effect";
        spec.d.warning(mark, codes::UNKNOWN_FIELD, message);
    }
    let export_to = spec.list("exportTo", virtual_service::export);
    spec.unenforced("subjectAltNames", parts::SUBJECT_ALT_NAMES);
    spec.finish(&[]);
    Some(ServiceEntry {
        hosts: hosts?,
        addresses,
        ports,
        mesh_internal: mesh_internal.unwrap_or(false),
        resolution: resolution.unwrap_or(Resolution::None),
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
    let name = fields.required("name", non_empty);
    let protocol = fields.required("protocol", gateway::protocol);
    let target_port = fields.optional("targetPort", port);
    fields.finish(&[]);
    Some(ServiceEntryPort {
        number: number?,
        name: name?,
        protocol: protocol?,
        target_port,
    })
}

fn endpoint(d: &mut Decoder, node: &Node) -> Option<WorkloadEntry> {
    let mut fields = Fields::of(d, node)?;
    let address = fields.required("address", located_string);
    let ports = fields
        .optional("ports", |d, node| {
            let ports = map(d, node, |d, _, value| port(d, value))?;
            Some(ports.into_iter().collect::<Vec<_>>())
        })
        .unwrap_or_default();
    let labels = fields.optional("labels", labels).unwrap_or_default();
    let weight = fields
        .optional("weight", integer(1..=1_000_000))
        .unwrap_or(1);
    fields.finish(&["locality", "network", "serviceAccount"]);
    Some(WorkloadEntry {
        at: d.position(node.mark),
        address: address?,
        ports,
        labels,
        weight,
    })
}

/// The ports of endpoints must be ports of the entry.
fn check_endpoint_ports(
    spec: &mut Fields<'_, '_>,
    ports: &[ServiceEntryPort],
    endpoints: &[WorkloadEntry],
) {
    let names = || ports.iter().map(|port| port.name.as_str());
    for (index, endpoint) in endpoints.iter().enumerate() {
        for (name, number) in &endpoint.ports {
            if ports.is_empty() || names().any(|known| known == name) {
                continue;
            }
            let hint = did_you_mean(name, names());
            let list = names().collect::<Vec<_>>().join(", ");
            let message = format!(
                "the entry has no port named `{name}`{hint} (it has {list}); port {number} is not used"
            );
            let mark = Mark::from(&endpoint.at);
            spec.d.within(steps!["endpoints", index, "ports"], |d| {
                d.warning(mark, codes::SERVICE_PORT, message);
            });
        }
    }
}
