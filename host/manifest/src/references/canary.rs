//! The Deployments and the VirtualService of a Canary.

use std::collections::HashSet;
use std::sync::Arc;

use super::index::{Index, Target};
use super::report::Report;
use crate::codes;
use crate::model::{Canary, Destination, Object, ObjectKey};

pub(super) fn check(index: &Index<'_>, report: &mut Report, object: &Object, spec: &Canary) {
    let namespace = object.metadata.namespace.as_str();
    let code = codes::CANARY_SHIFTS_NOTHING;
    let name = &spec.target.value;
    let deployments = index.workloads_in(namespace).map(|(workload, _)| workload);
    let deployments = deployments.filter(|workload| workload.kind == "Deployment");
    let names: Vec<&str> = deployments
        .map(|workload| workload.metadata.name.value.as_str())
        .collect();
    if !names.contains(&name.as_str()) {
        if !index.is_refused("Deployment", namespace, name) {
            let near = report.near(name, || names.into_iter());
            let message = format!(
                "there is no Deployment `{name}` in the namespace {namespace}{near}; no traffic is shifted"
            );
            let path = "spec.targetRef.name".to_owned();
            report.warning(object, &spec.target.at, path, code, message);
        }
        return;
    }
    let route = &spec.route.value;
    let Some((_, service)) = index.virtual_services.get(&(namespace, route.as_str())) else {
        if !index.is_refused("VirtualService", namespace, route) {
            let names = super::index::names_in(&index.virtual_services, namespace);
            let near = report.near(route, || names);
            let message = format!(
                "there is no VirtualService `{route}` in the namespace {namespace}{near}; no traffic \
                 is shifted"
            );
            let path = "spec.service.name".to_owned();
            report.warning(object, &spec.route.at, path, code, message);
        }
        return;
    };
    let leads_there = |destination: &Destination| {
        let found = deployments_of(index, namespace, destination);
        found.len() == 1 && found.iter().all(|key| key.name == *name)
    };
    let divides = service.http.iter().any(|rule| {
        let mut destinations = rule.route.iter().map(|it| leads_there(&it.destination));
        rule.route.len() > 1 && destinations.any(|it| it)
    });
    if !divides {
        let message = format!(
            "no rule of the VirtualService `{route}` splits requests between `{name}` and another \
             version; give one a second destination whose subset selects only `{name}`, with a \
             `weight`"
        );
        let path = "spec.service.name".to_owned();
        report.warning(object, &spec.route.at, path, code, message);
    }
}

/// The Deployments with the pods of `destination` in a route of `namespace`.
pub fn deployments_behind(
    objects: &[Arc<Object>],
    namespace: &str,
    destination: &Destination,
) -> Vec<ObjectKey> {
    let refused = HashSet::new();
    deployments_of(&Index::new(objects, &refused, None), namespace, destination)
}

fn deployments_of(index: &Index<'_>, namespace: &str, to: &Destination) -> Vec<ObjectKey> {
    let Target::Service(service, spec) = index.target(&to.host, namespace) else {
        return Vec::new();
    };
    let mut wanted = spec.selector.clone();
    if let Some(subset) = &to.subset {
        let mut rules = index.rules_for(&to.host, namespace);
        let found = rules.find_map(|(_, rule)| rule.subsets.iter().find(|it| it.name == *subset));
        let Some(found) = found else {
            return Vec::new();
        };
        wanted.extend(found.labels.clone());
    }
    let selected = index.selected(&service.metadata.namespace, &wanted);
    let deployments = selected.iter().filter(|(it, _)| it.kind == "Deployment");
    deployments.map(|(object, _)| object.key()).collect()
}
