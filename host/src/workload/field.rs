//! Pod fields in environment variables and files: `fieldRef` and `resourceFieldRef`.

use std::fmt::Write;

use galleria_manifest::WithPosition;
use galleria_manifest::model::{Container, Labels, PodTemplate, Quantity};
use galleria_mesh as mesh;

use super::environment::EnvironmentError;

pub(crate) use galleria_manifest::model::NODE_NAME;

/// `status.hostIP` of every pod.
pub(crate) const HOST_ADDRESS: &str = "127.0.0.1";

/// The facts about a pod that can be referenced.
pub(crate) struct PodFacts<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub address: &'a str,
    pub identity: &'a mesh::Workload,
    pub template: &'a PodTemplate,
    pub container: &'a Container,
    pub allocatable: Allocatable,
}

/// The resources of a container that has no limits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allocatable {
    pub cpu_millis: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes.
    pub ephemeral_storage: u64,
}

impl<'a> PodFacts<'a> {
    /// Facts about a pod that does not exist yet, to check references.
    pub(crate) fn example(
        identity: &'a mesh::Workload,
        template: &'a PodTemplate,
        container: &'a Container,
    ) -> Self {
        Self {
            name: "",
            uid: "",
            address: "",
            identity,
            template,
            container,
            allocatable: Allocatable::default(),
        }
    }
}

/// The value of `fieldRef.fieldPath`. A label or annotation that does not exist is empty.
///
/// # Errors
/// The path is not a field of a pod.
pub(super) fn field(
    path: &WithPosition<String>,
    facts: &PodFacts<'_>,
) -> Result<String, EnvironmentError> {
    let keyed = |prefix: &str| {
        path.strip_prefix(prefix)?
            .strip_prefix("['")?
            .strip_suffix("']")
    };
    let labels: &Labels = &facts.template.labels;
    let annotations = &facts.template.annotations;
    if let Some(key) = keyed("metadata.labels") {
        return Ok(labels.get(key).cloned().unwrap_or_default());
    }
    if let Some(key) = keyed("metadata.annotations") {
        let annotation = annotations.get(key).map(|value| value.value.clone());
        return Ok(annotation.unwrap_or_default());
    }
    let value = match path.as_str() {
        "metadata.name" => facts.name,
        "metadata.namespace" => &facts.identity.namespace,
        "metadata.uid" => facts.uid,
        "metadata.labels" => return Ok(lines(labels.iter())),
        "metadata.annotations" => {
            let pairs = annotations.iter().map(|(key, value)| (key, &value.value));
            return Ok(lines(pairs));
        }
        "spec.nodeName" => NODE_NAME,
        "spec.serviceAccountName" => &facts.identity.service_account,
        "status.podIP" | "status.podIPs" => facts.address,
        "status.hostIP" | "status.hostIPs" => HOST_ADDRESS,
        other => {
            return Err(EnvironmentError {
                at: path.at.clone(),
                message: format!("`{other}` is not a field that a pod can reference"),
            });
        }
    };
    Ok(value.to_owned())
}

/// `key="value"` with escapes, one per line, as the kubelet writes a map.
fn lines<'s>(pairs: impl Iterator<Item = (&'s String, &'s String)>) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = write!(text, "{key}={value:?}");
    }
    text
}

/// The value of `resourceFieldRef`, in units of `divisor` (1 if absent), rounded up.
///
/// # Errors
/// The resource is not one of a container.
pub(super) fn resource_field(
    resource: &WithPosition<String>,
    divisor: Option<Quantity>,
    facts: &PodFacts<'_>,
) -> Result<String, EnvironmentError> {
    let resources = &facts.container.resources;
    let (requests, limits) = (&resources.requests, &resources.limits);
    let allocatable = facts.allocatable;
    let millis = |bytes: u64| i128::from(bytes) * 1000;
    // As in Kubernetes: an absent limit is what the node has, an absent request is the
    // limit, or zero.
    let amount = match resource.as_str() {
        "limits.cpu" => i128::from(limits.cpu_millis.unwrap_or(allocatable.cpu_millis)),
        "requests.cpu" => i128::from(requests.cpu_millis.or(limits.cpu_millis).unwrap_or(0)),
        "limits.memory" => millis(limits.memory.unwrap_or(allocatable.memory)),
        "requests.memory" => millis(requests.memory.or(limits.memory).unwrap_or(0)),
        "limits.ephemeral-storage" => {
            let limit = limits.ephemeral_storage;
            millis(limit.unwrap_or(allocatable.ephemeral_storage))
        }
        "requests.ephemeral-storage" => {
            let request = requests.ephemeral_storage.or(limits.ephemeral_storage);
            millis(request.unwrap_or(0))
        }
        other => {
            return Err(EnvironmentError {
                at: resource.at.clone(),
                message: format!("`{other}` is not a resource of a container"),
            });
        }
    };
    let divisor = divisor.map_or(1000, |divisor| divisor.millis).max(1);
    Ok(((amount + divisor - 1) / divisor).to_string())
}
