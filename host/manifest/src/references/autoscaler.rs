//! The target of a HorizontalPodAutoscaler.

use super::index::Index;
use super::report::Report;
use crate::codes;
use crate::model::{
    HorizontalPodAutoscaler, Object, PodTemplate, ResourceTarget, ScaledResource, ScalingMetric,
};

pub(super) fn check(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    spec: &HorizontalPodAutoscaler,
) {
    let namespace = object.metadata.namespace.as_str();
    let (kind, name) = (&spec.target_kind.value, &spec.target_name.value);
    let of_kind = |it: &(&Object, &PodTemplate)| it.0.kind == *kind;
    let targets: Vec<_> = index.workloads_in(namespace).filter(of_kind).collect();
    let found = targets.iter().find(|it| it.0.metadata.name.value == *name);
    match found {
        Some((_, template)) => unmeasured(report, object, spec, template),
        None if index.is_refused(kind, namespace, name) => {}
        None => {
            let names = targets.iter().map(|it| it.0.metadata.name.value.as_str());
            let near = report.near(name, || names);
            let message = format!(
                "there is no {kind} `{name}` in the namespace {namespace}{near}; nothing is scaled"
            );
            let path = "spec.scaleTargetRef.name".to_owned();
            let code = codes::SCALES_NOTHING;
            report.warning(object, &spec.target_name.at, path, code, message);
        }
    }
}

/// Reports a percentage of a request that the pods do not have.
fn unmeasured(
    report: &mut Report,
    object: &Object,
    spec: &HorizontalPodAutoscaler,
    template: &PodTemplate,
) {
    for metric in &spec.metrics {
        let ScalingMetric::Resource {
            resource,
            target: ResourceTarget::Utilization(_),
        } = metric
        else {
            continue;
        };
        let requests = |of: &crate::model::Container| match resource {
            ScaledResource::Cpu => of.resources.requests.cpu_millis.is_some(),
            ScaledResource::Memory => of.resources.requests.memory.is_some(),
        };
        if !template.spec.containers.iter().all(requests) {
            let name = match resource {
                ScaledResource::Cpu => "cpu",
                ScaledResource::Memory => "memory",
            };
            let message = format!(
                "{} `{}` has no resources.requests.{name}, so a percentage of it is undefined; \
                 the metric has no effect",
                spec.target_kind.value, spec.target_name.value
            );
            let path = "spec.metrics".to_owned();
            let code = codes::SCALES_NOTHING;
            report.warning(object, &spec.target_name.at, path, code, message);
        }
    }
}
