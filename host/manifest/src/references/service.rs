//! A Service's selector and target ports.

use super::index::Index;
use super::report::Report;
use crate::codes;
use crate::model::{Deployment, Object, PortReference, Service, ServiceKind};

pub(super) fn check(index: &Index<'_>, report: &mut Report, object: &Object, service: &Service) {
    if matches!(service.kind, ServiceKind::ExternalName(_)) {
        return;
    }
    let namespace = object.metadata.namespace.as_str();
    let code = codes::SERVICE_SELECTS_NOTHING;
    let path = || "spec.selector".to_owned();
    if service.selector.is_empty() {
        let message = "selects no workload, and endpoints set by hand are left to the cluster; \
                       use a ServiceEntry for what runs elsewhere";
        report.warning(object, &object.at, path(), code, message.to_owned());
        return;
    }
    let selected = index.selected(namespace, &service.selector);
    if selected.is_empty() {
        let hint = match report.may_suggest() {
            true => nearest_workload(index, namespace, service),
            false => String::new(),
        };
        let labels: Vec<String> = service
            .selector
            .iter()
            .map(|(key, value)| format!("{key}: {value}"))
            .collect();
        let message = format!(
            "no Deployment of the namespace {namespace} has pods with {}{hint}; requests get 503",
            labels.join(", ")
        );
        // A Deployment that was refused may be the one.
        if !index.any_refused("Deployment") {
            report.warning(object, &object.at, path(), code, message);
        }
        return;
    }
    target_ports(report, object, service, &selected);
}

/// The Deployment that carries most of the labels, and where it differs.
fn nearest_workload(index: &Index<'_>, namespace: &str, service: &Service) -> String {
    let differing = |deployment: &Deployment| {
        service
            .selector
            .iter()
            .filter(|(key, value)| deployment.template.labels.get(*key) != Some(value))
            .map(|(key, _)| key.clone())
            .collect::<Vec<_>>()
    };
    let nearest = index
        .deployments_in(namespace)
        .map(|(object, deployment)| (differing(deployment), object, deployment))
        .filter(|(keys, _, deployment)| {
            keys.iter()
                .all(|key| deployment.template.labels.contains_key(key))
                || keys.len() < service.selector.len()
        })
        .min_by_key(|(keys, ..)| keys.len());
    let Some((keys, object, deployment)) = nearest else {
        return String::new();
    };
    let labels: Vec<String> = keys
        .iter()
        .map(|key| match deployment.template.labels.get(key) {
            Some(value) => format!("`{key}: {value}`"),
            None => format!("no `{key}`"),
        })
        .collect();
    format!(
        " (those of Deployment/{} have {})",
        object.metadata.name,
        labels.join(", ")
    )
}

/// A target port by name must be one of the pods' ports.
fn target_ports(
    report: &mut Report,
    object: &Object,
    service: &Service,
    selected: &[(&Object, &Deployment)],
) {
    for (at, port) in service.ports.iter().enumerate() {
        let PortReference::Name(name) = &port.target_port else {
            continue;
        };
        let names = |deployment: &Deployment| -> Vec<String> {
            let ports = deployment
                .template
                .spec
                .containers
                .iter()
                .flat_map(|c| &c.ports);
            ports.filter_map(|port| port.name.clone()).collect()
        };
        let lacking: Vec<&Object> = selected
            .iter()
            .filter(|(_, deployment)| !names(deployment).contains(name))
            .map(|(object, _)| *object)
            .collect();
        let Some(first) = lacking.first() else {
            continue;
        };
        let path = format!("spec.ports[{at}].targetPort");
        let place = format!("Deployment/{}", first.metadata.name);
        if lacking.len() == selected.len() {
            let known: Vec<String> = selected.iter().flat_map(|(_, d)| names(d)).collect();
            let near = report.near(name, || known.iter().map(String::as_str));
            let message = format!("no container port of {place} is named `{name}`{near}");
            report.error(object, &port.at, path, codes::SERVICE_PORT, message);
        } else {
            let message =
                format!("no container port of {place} is named `{name}`; its pods get no requests");
            report.warning(object, &port.at, path, codes::SERVICE_PORT, message);
        }
    }
}
