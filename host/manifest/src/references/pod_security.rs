//! The Pod Security Standards that a namespace enforces by its label.
//!
//! Of all that `baseline` and `restricted` forbid, a component can only mount a folder of the
//! machine: it has no privileges, no namespaces, no capabilities and no ports of the host.

use std::collections::HashMap;
use std::sync::Arc;

use super::report::Report;
use crate::codes;
use crate::model::{Object, Resource, VolumeSource};

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const FORBIDDING: [&str; 2] = ["baseline", "restricted"];

pub(super) fn check(objects: &[Arc<Object>], report: &mut Report) {
    let namespaces = objects
        .iter()
        .filter(|object| matches!(object.resource, Resource::Namespace(_)));
    let levels: HashMap<&str, &str> = namespaces
        .filter_map(|object| {
            let level = object.metadata.labels.get(ENFORCE)?.as_str();
            let name = object.metadata.name.value.as_str();
            FORBIDDING.contains(&level).then_some((name, level))
        })
        .collect();
    for object in objects {
        let namespace = object.metadata.namespace.as_str();
        let (Some(level), Some((template, place))) = (levels.get(namespace), object.pod_template())
        else {
            continue;
        };
        for (at, volume) in template.spec.volumes.iter().enumerate() {
            let VolumeSource::HostPath { path, .. } = &volume.source else {
                continue;
            };
            let message = format!(
                "the namespace `{namespace}` enforces the Pod Security Standard {level}, which \
                 forbids hostPath; use a persistentVolumeClaim, or change its label {ENFORCE}"
            );
            let field = format!("{place}.volumes[{at}].hostPath.path");
            report.error(object, &path.at, field, codes::POD_SECURITY, message);
        }
    }
}
