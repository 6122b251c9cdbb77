//! The hosts of VirtualServices: whether a gateway serves them, and whether two have the same
//! host.

use std::collections::{BTreeMap, HashMap};

use super::hosts::resolve;
use super::index::Index;
use super::report::Report;
use super::virtual_service::gateway_key;
use super::visibility::Visibility;
use crate::codes;
use crate::model::{Destination, Object, VirtualService};

pub(super) fn check(index: &Index<'_>, report: &mut Report) {
    subsets_at_gateways(index, report);
    overlapping_wildcards(index, report);
    let mut claimed: HashMap<String, Vec<(&Object, Visibility<'_>)>> = HashMap::new();
    for (object, service) in &index.virtual_services_in_order {
        hosts_are_served(index, report, object, service);
        if !is_in_mesh(service) {
            continue;
        }
        for (at, host) in service.hosts.iter().enumerate() {
            let full = resolve(host, &object.metadata.namespace);
            let own = Visibility::of_export_to(&service.export_to, object);
            let others = claimed.entry(full).or_default();
            let found = others.iter().find(|(_, other)| other.meets(&own));
            let Some((first, _)) = found else {
                others.push((object, own));
                continue;
            };
            if std::ptr::eq(*first, *object) {
                continue;
            }
            let message = format!(
                "VirtualService/{} at {} also declares this host in the mesh; the older one \
                 wins, and this one is ignored for it",
                first.metadata.name, first.at
            );
            let path = format!("spec.hosts[{at}]");
            report.warning(object, &host.at, path, codes::CONFLICTING_HOSTS, message);
        }
    }
}

fn is_in_mesh(service: &VirtualService) -> bool {
    let mut gateways = service.gateways.iter();
    gateways.any(|gateway| gateway.value == "mesh")
}

/// Reports hosts of VirtualServices for some namespaces that are also hosts of one for all: by a
/// wildcard of one of them.
fn overlapping_wildcards(index: &Index<'_>, report: &mut Report) {
    let services = index.virtual_services_in_order.iter();
    let services = services.filter(|(_, service)| is_in_mesh(service));
    let visible = services.map(|(object, service)| {
        let visibility = Visibility::of_export_to(&service.export_to, object);
        (*object, *service, visibility)
    });
    let (for_all, for_some): (Vec<_>, Vec<_>) = visible.partition(|it| it.2 == Visibility::All);
    let mut public: BTreeMap<String, (&Object, String)> = BTreeMap::new();
    for (object, service, _) in &for_all {
        for host in &service.hosts {
            let full = resolve(host, &object.metadata.namespace);
            public.entry(reversed(&full)).or_insert((object, full));
        }
    }
    for (object, service, visibility) in &for_some {
        if *visibility == Visibility::Namespaces(Vec::new()) {
            continue;
        }
        for (at, host) in service.hosts.iter().enumerate() {
            let full = resolve(host, &object.metadata.namespace);
            let Some((other, other_host)) = overlapping(&public, &full) else {
                continue;
            };
            let message = format!(
                "VirtualService/{} at {} has the host `{other_host}` for all namespaces; for \
                 names that are in both, only the rules of the more specific host apply",
                other.metadata.name, other.at
            );
            let path = format!("spec.hosts[{at}]");
            report.warning(object, &host.at, path, codes::CONFLICTING_HOSTS, message);
        }
    }
}

/// A host of `public` that is not `full`, and that some name is within too.
fn overlapping<'p, 'o>(
    public: &'p BTreeMap<String, (&'o Object, String)>,
    full: &str,
) -> Option<&'p (&'o Object, String)> {
    let wider = full
        .match_indices('.')
        .map(|(at, _)| format!("*{}", &full[at..]));
    let mut wider = wider.chain(["*".to_owned()]).filter(|it| it != full);
    let found = wider.find_map(|pattern| public.get(&reversed(&pattern)));
    if found.is_some() {
        return found;
    }
    let within = reversed(full.strip_prefix('*')?);
    let mut narrower = public.range(within.clone()..).take(2);
    let narrower = narrower.find(|(_, (_, host))| host != full);
    narrower
        .filter(|(key, _)| key.starts_with(&within))
        .map(|(_, value)| value)
}

/// With what wildcards have in common at the beginning.
fn reversed(host: &str) -> String {
    host.chars().rev().collect()
}

/// A VirtualService for a gateway sends to a Service as a whole what one of the mesh splits by
/// subsets: the rules of the mesh do not apply a second time.
fn subsets_at_gateways(index: &Index<'_>, report: &mut Report) {
    let mut split: HashMap<String, &Object> = HashMap::new();
    for (object, service) in &index.virtual_services_in_order {
        let namespace = object.metadata.namespace.as_str();
        for destination in destinations(service).filter(|it| it.1.subset.is_some()) {
            if service
                .hosts
                .iter()
                .any(|host| host.value == destination.1.host.value)
            {
                split.insert(resolve(&destination.1.host, namespace), object);
            }
        }
    }
    for (object, service) in &index.virtual_services_in_order {
        if service.gateways.iter().all(|it| it.value == "mesh") {
            continue;
        }
        for (path, destination) in destinations(service).filter(|it| it.1.subset.is_none()) {
            let full = resolve(&destination.host, &object.metadata.namespace);
            let Some(other) = split.get(&full) else {
                continue;
            };
            if std::ptr::eq(*other, *object) {
                continue;
            }
            let message = format!(
                "the subsets of VirtualService/{} at {} do not apply to what comes through a \
                 gateway; name them here, or list the gateway there",
                other.metadata.name, other.at
            );
            let code = codes::SUBSET_NOT_AT_GATEWAY;
            report.warning(object, &destination.host.at, path, code, message);
        }
    }
}

fn destinations(service: &VirtualService) -> impl Iterator<Item = (String, &Destination)> {
    let rules = service.http.iter().enumerate();
    rules.flat_map(|(rule_at, rule)| {
        let routes = rule.route.iter().enumerate();
        routes.map(move |(at, route)| {
            let path = format!("spec.http[{rule_at}].route[{at}].destination");
            (path, &route.destination)
        })
    })
}

/// Each host must match a server of a listed gateway, and each gateway must serve a host.
fn hosts_are_served(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    service: &VirtualService,
) {
    let mut server_hosts: Vec<&str> = Vec::new();
    let mut are_known = !is_in_mesh(service);
    for (at, gateway) in service.gateways.iter().enumerate() {
        if gateway.value == "mesh" {
            continue;
        }
        let key = gateway_key(gateway, object);
        // A missing gateway is already reported; its hosts are unknown.
        let Some((home, gateway)) = index.gateways.get(&key) else {
            are_known = false;
            continue;
        };
        let hosts = gateway.servers.iter().flat_map(|server| &server.hosts);
        let admitted = hosts.filter_map(|host| admits(host, home, object));
        let admitted: Vec<&str> = admitted.collect();
        let serves = |host: &str| admitted.iter().any(|served| overlap(served, host));
        if !service.hosts.is_empty() && !service.hosts.iter().any(|host| serves(host)) {
            are_known = false;
            let message = format!(
                "the Gateway {}/{} serves none of the hosts; it serves {}",
                key.0,
                key.1,
                listed(&admitted)
            );
            let path = format!("spec.gateways[{at}]");
            let place = &service.gateways[at].at;
            report.warning(object, place, path, codes::HOST_NOT_IN_GATEWAY, message);
        }
        server_hosts.extend(admitted);
    }
    if !are_known {
        return;
    }
    for (at, host) in service.hosts.iter().enumerate() {
        if server_hosts.iter().any(|served| overlap(served, host)) {
            continue;
        }
        let served = listed(&server_hosts);
        let message = format!("no listed gateway serves `{host}`; they serve {served}");
        let path = format!("spec.hosts[{at}]");
        report.warning(object, &host.at, path, codes::HOST_NOT_IN_GATEWAY, message);
    }
}

fn listed(hosts: &[&str]) -> String {
    match hosts {
        [] => "no host of this namespace".to_owned(),
        hosts => hosts.join(", "),
    }
}

/// The name of a server's host, if VirtualServices in the namespace of `object` may use it.
fn admits<'h>(host: &'h str, gateway: &Object, object: &Object) -> Option<&'h str> {
    let Some((namespace, name)) = host.split_once('/') else {
        return Some(host);
    };
    let admitted = match namespace {
        "*" => true,
        "." => gateway.metadata.namespace == object.metadata.namespace,
        namespace => namespace == object.metadata.namespace,
    };
    admitted.then_some(name)
}

/// Whether a host name exists that matches both patterns.
fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    match (one.strip_prefix('*'), other.strip_prefix('*')) {
        (None, None) => one == other,
        (Some(suffix), None) => other.ends_with(suffix),
        (None, Some(suffix)) => one.ends_with(suffix),
        (Some(one), Some(other)) => one.ends_with(other) || other.ends_with(one),
    }
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn wildcards_overlap_by_their_suffixes() {
        assert!(overlap("*", "shop.example.com"));
        assert!(overlap("*.example.com", "shop.example.com"));
        assert!(!overlap("*.example.com", "example.com"));
        assert!(overlap("*.com", "*.example.com"));
        assert!(!overlap("a.example.com", "b.example.com"));
    }
}
