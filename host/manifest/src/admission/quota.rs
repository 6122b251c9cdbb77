//! ResourceQuotas: sums over all objects of a namespace.

use std::sync::Arc;

use super::{Pods, pods, refusal};
use crate::Diagnostic;
use crate::codes;
use crate::kind;
use crate::model::{Object, ObjectKey, Quantities, Quantity, Resource, ResourceQuota};

/// Resources of pods: the name in a quota, whether it is a limit, and the name in a container.
const POD_RESOURCES: [(&str, bool, &str); 9] = [
    ("cpu", false, "cpu"),
    ("memory", false, "memory"),
    ("ephemeral-storage", false, "ephemeral-storage"),
    ("requests.cpu", false, "cpu"),
    ("requests.memory", false, "memory"),
    ("requests.ephemeral-storage", false, "ephemeral-storage"),
    ("limits.cpu", true, "cpu"),
    ("limits.memory", true, "memory"),
    ("limits.ephemeral-storage", true, "ephemeral-storage"),
];

/// A quota and its use (`status.hard`, `status.used`).
#[derive(Debug, Clone)]
pub struct QuotaUse {
    pub key: ObjectKey,
    pub hard: Quantities,
    pub used: Quantities,
}

/// The use of each ResourceQuota in `objects`.
pub fn quotas(objects: &[Arc<Object>]) -> Vec<QuotaUse> {
    let quotas = found(objects);
    let quota = |(owner, quota): (&Arc<Object>, &ResourceQuota)| {
        let mut used = quota.hard.clone();
        for (resource, used) in &mut used {
            let asked = in_namespace(objects, owner).map(|object| asks(object, resource).millis);
            used.millis = asked.sum();
        }
        QuotaUse {
            key: owner.key(),
            hard: quota.hard.clone(),
            used,
        }
    };
    quotas.map(quota).collect()
}

/// Reports each object that requests more than is left, or does not set a limited resource.
pub(super) fn check(objects: &[Arc<Object>]) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for (owner, quota) in found(objects) {
        for (resource, hard) in &quota.hard {
            let mut used = Quantity { millis: 0 };
            for object in in_namespace(objects, owner) {
                diagnostics.extend(unsaid(owner, object, resource));
                let asked = asks(object, resource);
                if asked.millis > 0 && used.millis + asked.millis > hard.millis {
                    diagnostics.push(exceeded(owner, object, resource, asked, used, *hard));
                } else {
                    used.millis += asked.millis;
                }
            }
        }
    }
    diagnostics
}

fn found(objects: &[Arc<Object>]) -> impl Iterator<Item = (&Arc<Object>, &ResourceQuota)> {
    objects.iter().filter_map(|object| match &object.resource {
        Resource::ResourceQuota(quota) if !quota.is_scoped => Some((object, quota)),
        _ => None,
    })
}

fn in_namespace<'a>(
    objects: &'a [Arc<Object>],
    owner: &'a Object,
) -> impl Iterator<Item = &'a Arc<Object>> {
    let namespace = &owner.metadata.namespace;
    let inside = move |object: &&Arc<Object>| object.metadata.namespace == *namespace;
    objects.iter().filter(inside)
}

/// How much of `resource` an object requests.
fn asks(object: &Object, resource: &str) -> Quantity {
    let count = |count: u64| Quantity {
        millis: i128::from(count) * 1000,
    };
    if let Some(name) = resource.strip_prefix("count/") {
        return count(u64::from(plural(object) == name));
    }
    match (&object.resource, resource) {
        (Resource::PersistentVolumeClaim(claim), "requests.storage") => {
            return count(claim.storage.unwrap_or(0));
        }
        (
            _,
            "configmaps" | "secrets" | "services" | "persistentvolumeclaims" | "resourcequotas",
        ) => {
            return count(u64::from(plural(object) == resource));
        }
        _ => {}
    }
    let Some(pods) = pods(object) else {
        return count(0);
    };
    let of_one = match resource {
        "pods" => Some(count(1)),
        _ => of_pod(&pods, resource),
    };
    Quantity {
        millis: of_one.map_or(0, |one| one.millis) * i128::from(pods.count),
    }
}

/// How much one pod requests of a resource of containers.
fn of_pod(pods: &Pods<'_>, resource: &str) -> Option<Quantity> {
    let (_, limits, name) = POD_RESOURCES
        .iter()
        .find(|(known, ..)| *known == resource)?;
    let resources = &pods.template.spec.containers.first()?.resources;
    let list = if *limits {
        &resources.limits
    } else {
        &resources.requests
    };
    list.get(name)
}

/// With a quota for a resource of containers, every container must set it.
fn unsaid(owner: &Object, object: &Object, resource: &str) -> Option<Diagnostic> {
    let pods = pods(object)?;
    let (_, limits, name) = POD_RESOURCES
        .iter()
        .find(|(known, ..)| *known == resource)?;
    let container = pods.template.spec.containers.first()?;
    if of_pod(&pods, resource).is_some() {
        return None;
    }
    let list = if *limits { "limits" } else { "requests" };
    let quota = &owner.metadata.name;
    Some(refusal(
        object,
        &container.at,
        format!("{}.containers[0].resources.{list}", pods.place),
        codes::RESOURCE_QUOTA,
        format!(
            "{list}.{name} must be set, since the quota `{quota}` limits it; set it, or give the namespace a LimitRange with a default"
        ),
    ))
}

fn exceeded(
    owner: &Object,
    object: &Object,
    resource: &str,
    asked: Quantity,
    used: Quantity,
    hard: Quantity,
) -> Diagnostic {
    let (quota, file) = (&owner.metadata.name, &owner.at);
    let (asked, used, hard) = (
        asked.show(resource),
        used.show(resource),
        hard.show(resource),
    );
    let (at, path, each) = match (object.replicas(), pods(object)) {
        (Some(replicas), Some(pods)) if resource != "pods" => {
            let one = of_pod(&pods, resource).map(|one| one.show(resource));
            let each = one.map(|one| format!(" ({} pods with {one} each)", pods.count));
            (&replicas.at, "spec.replicas", each.unwrap_or_default())
        }
        (Some(replicas), _) => (&replicas.at, "spec.replicas", String::new()),
        _ => (&object.at, "", String::new()),
    };
    refusal(
        object,
        at,
        path.into(),
        codes::RESOURCE_QUOTA,
        format!(
            "exceeds the quota `{quota}` ({file}): asks for {resource} {asked}{each}, {used} of {hard} are used; request less, or raise spec.hard"
        ),
    )
}

/// What `count/…` calls the kind of an object: `deployments.apps`, `services`.
fn plural(object: &Object) -> String {
    let group = kind::canonical_group(&object.api_version, &object.kind);
    if let Some(served) = kind::find(group, &object.kind).filter(|row| row.is_served()) {
        return served.resource();
    }
    let kind = object.kind.to_ascii_lowercase();
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    match group {
        "" => plural,
        group => format!("{plural}.{group}"),
    }
}
