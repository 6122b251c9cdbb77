//! What policies of authentication are for: workloads by their labels, and Services.

use super::index::{Index, ROOT_NAMESPACE, Target};
use super::report::Report;
use crate::codes;
use crate::model::{Labels, LegacyAuthentication, Object, PolicyScope, PolicyTargetKind};

pub(super) fn scope(index: &Index<'_>, report: &mut Report, object: &Object, scope: &PolicyScope) {
    match scope {
        PolicyScope::All => {}
        PolicyScope::Labels(labels) => selector(index, report, object, labels),
        PolicyScope::Targets(targets) => {
            let services = targets
                .iter()
                .filter(|target| target.kind == PolicyTargetKind::Service);
            for target in services {
                service(index, report, object, &target.name.value, "spec.targetRefs");
            }
        }
    }
}

/// A policy of the root namespace can select the gateway and the workloads of every
/// namespace.
pub(super) fn selector(index: &Index<'_>, report: &mut Report, object: &Object, labels: &Labels) {
    let namespace = object.metadata.namespace.as_str();
    if labels.is_empty() || namespace == ROOT_NAMESPACE || index.any_serving_refused() {
        return;
    }
    let has = |template: &Labels| {
        let mut labels = labels.iter();
        labels.all(|(key, value)| template.get(key) == Some(value))
    };
    if index
        .workloads_in(namespace)
        .any(|(_, template)| has(&template.labels))
    {
        return;
    }
    let message = format!("selects no workload of the namespace {namespace}, so it has no effect");
    let path = "spec.selector".to_owned();
    let code = codes::NO_MATCHING_WORKLOADS;
    report.warning(object, &object.at, path, code, message);
}

pub(super) fn legacy(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    policy: &LegacyAuthentication,
) {
    for target in &policy.targets {
        service(index, report, object, &target.name.value, "spec.targets");
    }
}

fn service(index: &Index<'_>, report: &mut Report, object: &Object, name: &str, path: &str) {
    let namespace = object.metadata.namespace.as_str();
    if !matches!(index.target(name, namespace), Target::Missing) {
        return;
    }
    let message = format!("the Service `{name}` does not exist, so the policy is not for it");
    let code = codes::NOT_FOUND;
    report.warning(object, &object.at, path.to_owned(), code, message);
}
