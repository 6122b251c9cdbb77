//! LimitRanges: defaults for requests and limits, and bounds on them.

use std::collections::HashMap;
use std::sync::Arc;

use super::{pods, refusal, template_mut};
use crate::Diagnostic;
use crate::codes;
use crate::model::{
    LimitRange, LimitRangeItem, LimitRangeType, Object, Quantities, Quantity, Resource,
    ResourceRequirements,
};

/// The LimitRanges, by namespace and in the order of their names.
pub(super) struct Ranges(HashMap<String, Vec<(String, LimitRange)>>);

impl Ranges {
    pub(super) fn of(objects: &[Arc<Object>]) -> Self {
        let mut ranges: HashMap<String, Vec<(String, LimitRange)>> = HashMap::new();
        for object in objects {
            if let Resource::LimitRange(range) = &object.resource {
                let name = object.metadata.name.value.clone();
                let namespace = object.metadata.namespace.clone();
                ranges
                    .entry(namespace)
                    .or_default()
                    .push((name, range.clone()));
            }
        }
        for ranges in ranges.values_mut() {
            ranges.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        Self(ranges)
    }

    /// The items of a namespace for `kind`, each with the name of its LimitRange.
    fn items(
        &self,
        namespace: &str,
        kind: LimitRangeType,
    ) -> impl Iterator<Item = (&str, &LimitRangeItem)> {
        let ranges = self.0.get(namespace).into_iter().flatten();
        ranges.flat_map(move |(name, range)| {
            let items = range.limits.iter().filter(move |item| item.kind == kind);
            items.map(move |item| (name.as_str(), item))
        })
    }

    pub(super) fn fill(&self, object: &mut Object) {
        let namespace = object.metadata.namespace.clone();
        let Some(template) = template_mut(object) else {
            return;
        };
        for container in &mut template.spec.containers {
            container.resources.default_requests();
            for (_, item) in self.items(&namespace, LimitRangeType::Container) {
                let ResourceRequirements { requests, limits } = &mut container.resources;
                for (resource, quantity) in &item.default {
                    limits.set_absent(resource, *quantity);
                }
                for (resource, quantity) in &item.default_request {
                    requests.set_absent(resource, *quantity);
                }
            }
        }
    }

    /// The host runs one container per pod, so the sums of a pod are those of its container.
    pub(super) fn check(&self, object: &Object) -> Vec<Diagnostic> {
        let Some(pods) = pods(object) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for container in pods.template.spec.containers.iter().take(1) {
            let asked = &container.resources;
            let mut messages = over_limit(asked);
            for kind in [LimitRangeType::Container, LimitRangeType::Pod] {
                for (name, item) in self.items(&object.metadata.namespace, kind) {
                    let broken = broken(item, asked).into_iter();
                    messages
                        .extend(broken.map(|what| format!("{what} of the LimitRange `{name}`")));
                }
            }
            let path = format!("{}.containers[0].resources", pods.place);
            found.extend(messages.into_iter().map(|message| {
                let code = codes::LIMIT_RANGE;
                refusal(object, &container.at, path.clone(), code, message)
            }));
        }
        found
    }

    pub(super) fn check_claim(&self, object: &Object) -> Vec<Diagnostic> {
        let Resource::PersistentVolumeClaim(claim) = &object.resource else {
            return Vec::new();
        };
        let Some(bytes) = claim.storage else {
            return Vec::new();
        };
        let asked = Quantity {
            millis: i128::from(bytes) * 1000,
        };
        let namespace = &object.metadata.namespace;
        let mut found = Vec::new();
        for (name, item) in self.items(namespace, LimitRangeType::PersistentVolumeClaim) {
            let bounds = |bounds: &Quantities| bounds.get("storage").copied();
            let message = match (bounds(&item.min), bounds(&item.max)) {
                (Some(min), _) if asked < min => too_small("requests", "storage", asked, min),
                (_, Some(max)) if asked > max => too_large("requests", "storage", asked, max),
                _ => continue,
            };
            found.push(refusal(
                object,
                &object.at,
                "spec.resources.requests".into(),
                codes::LIMIT_RANGE,
                format!("{message} of the LimitRange `{name}`"),
            ));
        }
        found
    }
}

/// A default limit may be lower than a request that the container sets itself.
fn over_limit(asked: &ResourceRequirements) -> Vec<String> {
    let mut messages = Vec::new();
    for resource in ["cpu", "memory", "ephemeral-storage"] {
        let pair = (asked.requests.get(resource), asked.limits.get(resource));
        if let (Some(request), Some(limit)) = pair
            && request > limit
        {
            messages.push(format!(
                "requests.{resource} {} is above the limit {}, which comes from a LimitRange; set limits.{resource} too",
                request.show(resource),
                limit.show(resource)
            ));
        }
    }
    messages
}

/// The bounds of one item that `asked` violates.
fn broken(item: &LimitRangeItem, asked: &ResourceRequirements) -> Vec<String> {
    let mut messages = Vec::new();
    for (resource, min) in &item.min {
        match (asked.requests.get(resource), asked.limits.get(resource)) {
            (None, _) => messages.push(format!(
                "no requests.{resource} is set; it must be at least the min {}",
                min.show(resource)
            )),
            (Some(request), _) if request < *min => {
                messages.push(too_small("requests", resource, request, *min));
            }
            (_, Some(limit)) if limit < *min => {
                messages.push(too_small("limits", resource, limit, *min));
            }
            _ => {}
        }
    }
    for (resource, max) in &item.max {
        match (asked.requests.get(resource), asked.limits.get(resource)) {
            (_, None) => messages.push(format!(
                "no limits.{resource} is set; it must be at most the max {}",
                max.show(resource)
            )),
            (_, Some(limit)) if limit > *max => {
                messages.push(too_large("limits", resource, limit, *max));
            }
            (Some(request), _) if request > *max => {
                messages.push(too_large("requests", resource, request, *max));
            }
            _ => {}
        }
    }
    for (resource, ratio) in &item.max_limit_request_ratio {
        messages.extend(over_ratio(resource, *ratio, asked));
    }
    messages
}

fn over_ratio(resource: &str, ratio: Quantity, asked: &ResourceRequirements) -> Option<String> {
    let (limit, request) = (asked.limits.get(resource), asked.requests.get(resource));
    let (Some(limit), Some(request)) = (limit, request) else {
        return Some(format!(
            "{resource} must have a request and a limit, for the maxLimitRequestRatio {}",
            ratio.show("")
        ));
    };
    let keeps = limit.millis.saturating_mul(1000) <= ratio.millis.saturating_mul(request.millis);
    (!keeps).then(|| {
        format!(
            "limits.{resource} {} is more than {} times requests.{resource} {}, the maxLimitRequestRatio",
            limit.show(resource),
            ratio.show(""),
            request.show(resource)
        )
    })
}

fn too_small(list: &str, resource: &str, asked: Quantity, min: Quantity) -> String {
    let (asked, min) = (asked.show(resource), min.show(resource));
    format!("{list}.{resource} {asked} is below the min {min}")
}

fn too_large(list: &str, resource: &str, asked: Quantity, max: Quantity) -> String {
    let (asked, max) = (asked.show(resource), max.show(resource));
    format!("{list}.{resource} {asked} is above the max {max}")
}
