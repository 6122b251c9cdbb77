//! The gateways, destinations, subsets and delegates of a VirtualService.

mod tls_route;

use super::hosts::{resolve, service_of};
use super::index::{Index, Target, names_in};
use super::report::Report;
use super::visibility::Visibility;
use crate::codes;
use crate::model::{Destination, Object, VirtualService};

pub(super) fn check(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    service: &VirtualService,
) {
    for (at, gateway) in service.gateways.iter().enumerate() {
        gateway_exists(
            index,
            report,
            object,
            gateway,
            format!("spec.gateways[{at}]"),
        );
    }
    tls_route::check(index, report, object, service);
    let visibility = Visibility::of_export_to(&service.export_to, object);
    let destination = |report: &mut Report, to: &Destination, path: &str| {
        if !hidden(index, report, object, &visibility, to, path) {
            destination(index, report, object, to, path);
        }
    };
    let tls = service.tls.iter().map(|rule| &rule.route).enumerate();
    let tcp = service.tcp.iter().map(|rule| &rule.route).enumerate();
    let connections = tls.map(|it| ("tls", it)).chain(tcp.map(|it| ("tcp", it)));
    for (list, (rule_at, routes)) in connections {
        for (at, route) in routes.iter().enumerate() {
            let path = format!("spec.{list}[{rule_at}].route[{at}].destination");
            destination(report, &route.destination, &path);
        }
    }
    for (rule_at, rule) in service.http.iter().enumerate() {
        let rule_path = format!("spec.http[{rule_at}]");
        for (match_at, condition) in rule.matches.iter().enumerate() {
            for (at, gateway) in condition.gateways.iter().enumerate() {
                let path = format!("{rule_path}.match[{match_at}].gateways[{at}]");
                gateway_exists(index, report, object, gateway, path);
            }
        }
        for (at, route) in rule.route.iter().enumerate() {
            let path = format!("{rule_path}.route[{at}].destination");
            destination(report, &route.destination, &path);
        }
        for (at, mirror) in rule.mirrors.iter().enumerate() {
            let path = format!("{rule_path}.mirrors[{at}].destination");
            destination(report, &mirror.destination, &path);
        }
        if let Some(delegate) = &rule.delegate {
            let namespace = delegate
                .namespace
                .as_deref()
                .unwrap_or(&object.metadata.namespace);
            let name = delegate.name.as_str();
            let known = index.virtual_services.contains_key(&(namespace, name))
                || index.is_refused("VirtualService", namespace, name);
            if !known {
                let near = report.near(name, || names_in(&index.virtual_services, namespace));
                let message = format!("there is no VirtualService {namespace}/{name}{near}");
                let path = format!("{rule_path}.delegate.name");
                report.warning(object, &delegate.name.at, path, codes::NOT_FOUND, message);
            }
        }
    }
}

fn gateway_exists(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    gateway: &crate::WithPosition<String>,
    path: String,
) {
    if gateway.value == "mesh" {
        return;
    }
    let (namespace, name) = gateway_key(gateway, object);
    if index.gateways.contains_key(&(namespace, name))
        || index.is_refused("Gateway", namespace, name)
    {
        return;
    }
    // A Gateway of the Gateway API is one too, in the same namespaces.
    if index.gateway_api_gateways.contains_key(&(namespace, name)) {
        let message = format!(
            "Gateway {namespace}/{name} is one of the Gateway API, which a VirtualService does not \
             reach; write an HTTPRoute, or a Gateway of Istio's"
        );
        report.warning(
            object,
            &gateway.at,
            path,
            codes::GATEWAY_OF_OTHER_API,
            message,
        );
        return;
    }
    let elsewhere = index.gateways.keys().find(|(_, other)| *other == name);
    let near = match elsewhere {
        Some((other, _)) => format!("; did you mean `{other}/{name}`?"),
        None => {
            let names = || names_in(&index.gateways, namespace).chain(["mesh"]);
            report.near_or(name, names, "declare it, or correct the name")
        }
    };
    let message = format!("there is no Gateway {namespace}/{name}{near}");
    report.warning(object, &gateway.at, path, codes::NOT_FOUND, message);
}

/// Namespace and name of a gateway that a VirtualService lists.
pub(super) fn gateway_key<'s>(gateway: &'s str, object: &'s Object) -> (&'s str, &'s str) {
    match gateway.split_once('/') {
        Some((".", name)) => (&object.metadata.namespace, name),
        Some((namespace, name)) => (namespace, name),
        None => (&object.metadata.namespace, gateway),
    }
}

fn destination(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    destination: &Destination,
    path: &str,
) {
    let namespace = object.metadata.namespace.as_str();
    let host = &destination.host;
    let target = index.target(host, namespace);
    let ports: Vec<u16> = match target {
        Target::Service(_, service) => service.ports.iter().map(|port| port.port).collect(),
        Target::Entry(entry) => entry.ports.iter().map(|port| port.number).collect(),
        Target::Refused => Vec::new(),
        Target::Missing => {
            let mut near = near_host(index, report, host, namespace);
            if near.is_empty() {
                near.push_str("; declare one, or correct the host");
            }
            let message = format!("there is no Service or ServiceEntry for `{host}`{near}");
            report.warning(
                object,
                &host.at,
                format!("{path}.host"),
                codes::NOT_FOUND,
                message,
            );
            return;
        }
    };
    match &destination.port {
        Some(port) if !ports.is_empty() && !ports.contains(port) => {
            let list = ports
                .iter()
                .map(u16::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let message = format!("`{host}` has no port {port}; it has {list}");
            let path = format!("{path}.port.number");
            report.warning(object, &port.at, path, codes::NOT_FOUND, message);
        }
        None if ports.len() > 1 => {
            let message = format!(
                "`{host}` has {} ports but none is set here, so the caller's port is used; \
                 set port.number",
                ports.len()
            );
            let code = codes::PORT_SELECTOR_REQUIRED;
            report.warning(object, &host.at, format!("{path}.port"), code, message);
        }
        _ => {}
    }
    if let Some(subset) = &destination.subset {
        subset_exists(index, report, object, destination, subset, path);
    }
}

/// Reports a destination that exists, but not for the namespaces that see the VirtualService.
/// Returns whether it is one.
fn hidden(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    visibility: &Visibility<'_>,
    destination: &Destination,
    path: &str,
) -> bool {
    let host = &destination.host;
    if !index.is_hidden(host, &object.metadata.namespace, visibility) {
        return false;
    }
    let message = format!(
        "`{host}` is not visible in the namespace {}; add it to exportTo there",
        object.metadata.namespace
    );
    let path = format!("{path}.host");
    report.warning(object, &host.at, path, codes::NOT_FOUND, message);
    true
}

fn subset_exists(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    destination: &Destination,
    subset: &crate::WithPosition<String>,
    path: &str,
) {
    let namespace = object.metadata.namespace.as_str();
    let host = &destination.host;
    let names: Vec<&str> = index
        .rules_for(host, namespace)
        .flat_map(|(_, rule)| rule.subsets.iter().map(|subset| subset.name.as_str()))
        .collect();
    if names.contains(&subset.as_str()) || index.any_refused("DestinationRule") {
        return;
    }
    let message = if names.is_empty() {
        format!("no DestinationRule defines subsets of `{host}`, so there is no `{subset}`")
    } else {
        let near = report.near(subset, || names.iter().copied());
        let list = names.join(", ");
        format!(
            "no DestinationRule defines the subset `{subset}` of `{host}`{near} (it has {list})"
        )
    };
    report.warning(
        object,
        &subset.at,
        format!("{path}.subset"),
        codes::NOT_FOUND,
        message,
    );
}

/// A suggestion for a host: the full name of the same Service, or a similar name.
pub(super) fn near_host(
    index: &Index<'_>,
    report: &mut Report,
    host: &str,
    namespace: &str,
) -> String {
    let mut labels = host.split('.');
    let (name, home) = (
        labels.next().unwrap_or(host),
        labels.next().unwrap_or(namespace),
    );
    if let Some(((home, name), _)) = index.services.get_key_value(&(home, name))
        && resolve(host, namespace) != format!("{name}.{home}.svc.cluster.local")
    {
        return format!("; did you mean `{name}.{home}.svc.cluster.local`?");
    }
    if !host.contains('.') {
        let elsewhere = index.services.keys().find(|(_, other)| *other == host);
        if let Some((home, name)) = elsewhere {
            return format!("; did you mean `{name}.{home}.svc.cluster.local`?");
        }
        return report.near(host, || names_in(&index.services, namespace));
    }
    // Services are compared only by name: with their long common suffix, all full names would
    // be similar.
    if let Some((name, home)) = service_of(host) {
        let near = report.near(name, || names_in(&index.services, home));
        return near.replace("`?", &format!(".{home}.svc.cluster.local`?"));
    }
    let hosts = index.host_names();
    report.near(host, || hosts.iter().map(String::as_str))
}
