//! An Ingress' backends.

use super::gateway::server_tls;
use super::index::{Index, names_in};
use super::report::Report;
use crate::codes;
use crate::model::{Ingress, IngressBackend, Object, PortReference};

pub(super) fn check(index: &Index<'_>, report: &mut Report, object: &Object, ingress: &Ingress) {
    if let Some(default) = &ingress.default_backend {
        backend(index, report, object, default, "spec.defaultBackend");
    }
    for (rule_at, rule) in ingress.rules.iter().enumerate() {
        for (at, path) in rule.paths.iter().enumerate() {
            let place = format!("spec.rules[{rule_at}].http.paths[{at}].backend");
            backend(index, report, object, &path.backend, &place);
        }
    }
    for (at, tls) in ingress.tls.iter().enumerate() {
        server_tls(
            index,
            report,
            object,
            &tls.server_tls(),
            &object.metadata.namespace,
            &format!("spec.tls[{at}]"),
        );
    }
}

fn backend(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    backend: &IngressBackend,
    path: &str,
) {
    let namespace = object.metadata.namespace.as_str();
    let name = backend.service_name.as_str();
    let at = &backend.service_name.at;
    let Some((_, service)) = index.services.get(&(namespace, name)) else {
        if !index.is_refused("Service", namespace, name) {
            let names = || names_in(&index.services, namespace);
            let near = report.near_or(name, names, "declare it, or correct the name");
            let message = format!("there is no Service {namespace}/{name}{near}");
            report.warning(object, at, path.to_owned(), codes::BACKEND, message);
        }
        return;
    };
    let found = match &backend.service_port {
        PortReference::Number(number) => service.ports.iter().any(|port| port.port == *number),
        PortReference::Name(name) => service
            .ports
            .iter()
            .any(|port| port.name.as_ref() == Some(name)),
    };
    if !found {
        let list: Vec<String> = service
            .ports
            .iter()
            .map(|port| match &port.name {
                Some(name) => format!("{} ({name})", port.port),
                None => port.port.to_string(),
            })
            .collect();
        let wanted = match &backend.service_port {
            PortReference::Number(number) => number.to_string(),
            PortReference::Name(name) => format!("`{name}`"),
        };
        let message = format!(
            "the Service {namespace}/{name} has no port {wanted}; it has {}",
            list.join(", ")
        );
        report.warning(object, at, path.to_owned(), codes::BACKEND_PORT, message);
    }
}
