//! The selector and the target ports of a Service.

use super::index::Index;
use super::report::Report;
use crate::codes;
use crate::model::{Object, PodTemplate, PortReference, Service, ServiceKind};

pub(super) fn check(index: &Index<'_>, report: &mut Report, object: &Object, service: &Service) {
    if matches!(service.kind, ServiceKind::ExternalName(_)) {
        return;
    }
    let namespace = object.metadata.namespace.as_str();
    let code = codes::SERVICE_SELECTS_NOTHING;
    let path = || "spec.selector".to_owned();
    if service.selector.is_empty() {
        let message = "selects no workload, and manually set endpoints are left to the cluster; \
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
            "no workload of the namespace {namespace} has pods with {}{hint}; requests get 503",
            labels.join(", ")
        );
        // The selected workload may be one that was refused.
        if !index.any_serving_refused() {
            report.warning(object, &object.at, path(), code, message);
        }
        return;
    }
    target_ports(report, object, service, &selected);
}

/// The workload with most of the labels, and the labels that differ.
fn nearest_workload(index: &Index<'_>, namespace: &str, service: &Service) -> String {
    let differing = |template: &PodTemplate| {
        service
            .selector
            .iter()
            .filter(|(key, value)| template.labels.get(*key) != Some(value))
            .map(|(key, _)| key.clone())
            .collect::<Vec<_>>()
    };
    let nearest = index
        .workloads_in(namespace)
        .map(|(object, template)| (differing(template), object, template))
        .filter(|(keys, _, template)| {
            keys.iter().all(|key| template.labels.contains_key(key))
                || keys.len() < service.selector.len()
        })
        .min_by_key(|(keys, ..)| keys.len());
    let Some((keys, object, template)) = nearest else {
        return String::new();
    };
    let labels: Vec<String> = keys
        .iter()
        .map(|key| match template.labels.get(key) {
            Some(value) => format!("`{key}: {value}`"),
            None => format!("no `{key}`"),
        })
        .collect();
    format!(
        " (those of {}/{} have {})",
        object.kind,
        object.metadata.name,
        labels.join(", ")
    )
}

/// A target port by name must be a port of the pods.
fn target_ports(
    report: &mut Report,
    object: &Object,
    service: &Service,
    selected: &[(&Object, &PodTemplate)],
) {
    for (at, port) in service.ports.iter().enumerate() {
        let PortReference::Name(name) = &port.target_port else {
            continue;
        };
        let names = |template: &PodTemplate| -> Vec<String> {
            let ports = template.spec.containers.iter().flat_map(|c| &c.ports);
            ports.filter_map(|port| port.name.clone()).collect()
        };
        let lacking: Vec<&Object> = selected
            .iter()
            .filter(|(_, template)| !names(template).contains(name))
            .map(|(object, _)| *object)
            .collect();
        let Some(first) = lacking.first() else {
            continue;
        };
        let path = format!("spec.ports[{at}].targetPort");
        let place = format!("{}/{}", first.kind, first.metadata.name);
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
