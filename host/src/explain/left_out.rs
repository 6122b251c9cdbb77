//! Pods of a service that are not in the subset, and the label that is missing.

use std::sync::Arc;

use galleria_manifest::model::{DestinationRule, Labels, Object, Resource, Service};
use galleria_mesh::{DestinationStep, Place};
use serde::Serialize;

use super::Subject;

/// A pod that would be an endpoint if it had the labels of the subset.
#[derive(Debug, Serialize)]
pub(super) struct LeftOut {
    pub(super) name: String,
    pub(super) eligible: bool,
    pub(super) reason: String,
    pub(super) workload: String,
    pub(super) at: Place,
}

/// The pods of the service that are not in the subset of `destination`.
pub(super) fn left_out(subject: &Subject<'_>, destination: &DestinationStep) -> Vec<LeftOut> {
    let objects = subject.objects;
    let selectors = subset(objects, destination).zip(service(objects, destination));
    let Some((wanted, (namespace, service))) = selectors else {
        return Vec::new();
    };
    let of_namespace = subject
        .pods
        .iter()
        .filter(|pod| pod.workload.namespace == namespace);
    let found = of_namespace.filter_map(|pod| {
        let labels = &pod.labels;
        if missing(&service.selector, labels).is_some() || service.selector.is_empty() {
            return None;
        }
        let (key, value) = missing(wanted, labels)?;
        let own = match labels.get(key) {
            Some(own) => format!("its label {key} is {own}"),
            None => format!("it has no label {key}"),
        };
        let workload = &pod.workload.name;
        let object = objects.iter().find(|object| {
            object.serving().is_some()
                && object.metadata.namespace == namespace
                && object.metadata.name.value == *workload
        })?;
        Some(LeftOut {
            name: format!("{namespace}/{}", pod.name),
            eligible: false,
            reason: format!("not in the subset: {own}, not {value}"),
            workload: format!("{namespace}/{workload}"),
            at: Place::from(&object.at),
        })
    });
    found.collect()
}

/// The labels of the destination's subset.
fn subset<'a>(objects: &'a [Arc<Object>], destination: &DestinationStep) -> Option<&'a Labels> {
    let name = destination.subset.as_deref()?;
    let rule = destination.destination_rule.as_ref()?;
    let rule: &DestinationRule = objects.iter().find_map(|object| {
        let named =
            object.metadata.namespace == rule.namespace && object.metadata.name.value == rule.name;
        match &object.resource {
            Resource::DestinationRule(found) if named => Some(found),
            _ => None,
        }
    })?;
    let subset = rule
        .subsets
        .iter()
        .find(|subset| subset.name.value == name)?;
    Some(&subset.labels)
}

/// The destination's Service and its namespace, found by the name of the cluster.
fn service<'a>(
    objects: &'a [Arc<Object>],
    destination: &'a DestinationStep,
) -> Option<(&'a str, &'a Service)> {
    let host = destination.cluster.rsplit('|').next()?;
    let (name, rest) = host.split_once('.')?;
    let (namespace, _) = rest.split_once(".svc.")?;
    let service = objects.iter().find_map(|object| {
        let named = object.metadata.namespace == namespace && object.metadata.name.value == name;
        match &object.resource {
            Resource::Service(found) if named => Some(found),
            _ => None,
        }
    })?;
    Some((namespace, service))
}

/// The first label of `selector` that `labels` does not have.
fn missing<'a>(selector: &'a Labels, labels: &Labels) -> Option<(&'a String, &'a String)> {
    selector
        .iter()
        .find(|(key, value)| labels.get(*key) != Some(*value))
}
