//! The endpoints of a ServiceEntry.

use crate::codes;
use crate::decode::{
    Decoder, Fields, did_you_mean, ends_with_number, integer, is_dns_subdomain, labels,
    located_string, map, port, steps, string,
};
use crate::model::{Resolution, ServiceEntryPort, WorkloadEntry};
use crate::yaml::{Mark, Node};

/// `endpoints`, as far as they fit the resolution.
pub(super) fn read(
    spec: &mut Fields<'_, '_>,
    resolution: Resolution,
    ports: &[ServiceEntryPort],
) -> Vec<WorkloadEntry> {
    let endpoints = spec.list("endpoints", endpoint);
    check_ports(spec.d, ports, &endpoints);
    match resolution {
        Resolution::None if !endpoints.is_empty() && !spec.has("resolution") => {
            let message = "a cluster refuses endpoints without `resolution`, which is NONE then; \
                           they have no effect here; set STATIC or DNS";
            spec.warn_at("endpoints", codes::MISSING_FIELD, message.to_owned());
        }
        Resolution::None if !endpoints.is_empty() => {
            let message = "the resolution NONE connects to the address that was asked for, so it \
                           has no endpoints; use STATIC or DNS";
            spec.error_at("endpoints", codes::EXCLUSIVE_FIELDS, message.to_owned());
        }
        Resolution::DnsRoundRobin if endpoints.len() > 1 => {
            let message = "the resolution DNS_ROUND_ROBIN has at most one endpoint; use DNS";
            spec.error_at("endpoints", codes::EXCLUSIVE_FIELDS, message.to_owned());
        }
        _ => {}
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        check_address(spec.d, resolution, index, &endpoint.address);
    }
    endpoints
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
    let weight = fields.optional("weight", integer(0..=1_000_000));
    for name in ["locality", "network", "serviceAccount"] {
        fields.without_effect(name, string);
    }
    fields.finish(&[]);
    Some(WorkloadEntry {
        at: d.position(node.mark),
        address: address?,
        ports,
        labels,
        // 0 is as none.
        weight: weight.unwrap_or(1).max(1),
    })
}

fn check_address(
    d: &mut Decoder,
    resolution: Resolution,
    index: usize,
    address: &crate::WithPosition<String>,
) {
    let is_ip = address.parse::<std::net::IpAddr>().is_ok();
    let name = address.trim_end_matches('.').to_ascii_lowercase();
    let is_name = is_dns_subdomain(&name) && !ends_with_number(&name);
    let shown = d.show(address);
    let message = match resolution {
        Resolution::Static if !is_ip => {
            format!("{shown} is not an IP address; use one, or `resolution: DNS`")
        }
        Resolution::Dns | Resolution::DnsRoundRobin if !is_ip && !is_name => {
            format!("{shown} is neither an IP address nor a host name")
        }
        _ => return,
    };
    let mark = Mark::from(&address.at);
    d.within(steps!["endpoints", index, "address"], |d| {
        d.error(mark, codes::INVALID_VALUE, message);
    });
}

/// The ports of endpoints must be ports of the entry. Others have no effect here.
fn check_ports(d: &mut Decoder, ports: &[ServiceEntryPort], endpoints: &[WorkloadEntry]) {
    let names = || ports.iter().map(|port| port.name.as_str());
    for (index, endpoint) in endpoints.iter().enumerate() {
        for (name, number) in &endpoint.ports {
            if names().any(|known| known == name) {
                continue;
            }
            let hint = did_you_mean(name, names());
            let list = names().collect::<Vec<_>>().join(", ");
            let known = match list.as_str() {
                "" => "none",
                list => list,
            };
            let message = format!(
                "the entry has no port named `{name}`{hint} (it has {known}); port {number} is not \
                 used, and a cluster refuses the entry"
            );
            let mark = Mark::from(&endpoint.at);
            d.within(steps!["endpoints", index, "ports"], |d| {
                d.warning(mark, codes::SERVICE_PORT, message);
            });
        }
    }
}
