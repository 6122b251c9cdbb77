//! Admission: LimitRanges and ResourceQuotas are applied to the objects of their namespace.
//!
//! As in a cluster, an absent request is first set to its limit, then LimitRanges fill in
//! what is still absent and check their bounds, and then quotas are added up, object by
//! object in the order of the files. The written form (`Object::raw`) does not change.

mod limit_range;
mod quota;

use std::sync::Arc;

pub use quota::{QuotaUse, quotas};

use crate::model::{Object, PodTemplate, Resource};
use crate::{Code, Diagnostic, Position, Severity};

/// Fills in requests and limits, and reports what is out of bounds. Objects that were
/// admitted before can be admitted again together with others.
pub fn admit(objects: &mut [Arc<Object>]) -> Vec<Diagnostic> {
    let ranges = limit_range::Ranges::of(objects);
    let mut diagnostics = Vec::new();
    for object in objects.iter_mut() {
        if matches!(object.resource, Resource::PersistentVolumeClaim(_)) {
            diagnostics.extend(ranges.check_claim(object));
        }
        if pods(object).is_none() {
            continue;
        }
        let object = Arc::make_mut(object);
        ranges.fill(object);
        diagnostics.extend(ranges.check(object));
    }
    diagnostics.extend(quota::check(objects));
    diagnostics
}

/// The pods of an object.
struct Pods<'a> {
    template: &'a PodTemplate,
    /// How many run at once; none for a CronJob, whose pods are those of its Jobs.
    count: u32,
    /// The path of the template's `spec`.
    place: &'static str,
}

fn pods(object: &Object) -> Option<Pods<'_>> {
    let (template, place) = object.pod_template()?;
    let count = match &object.resource {
        Resource::Job(job) if job.suspend => 0,
        Resource::Job(job) => job.parallelism.min(job.completions.unwrap_or(u32::MAX)),
        Resource::CronJob(_) => 0,
        _ => object.replicas().map_or(1, |replicas| replicas.value),
    };
    Some(Pods {
        template,
        count,
        place,
    })
}

fn template_mut(object: &mut Object) -> Option<&mut PodTemplate> {
    match &mut object.resource {
        Resource::Deployment(deployment) => Some(&mut deployment.template),
        Resource::ReplicaSet(set) => Some(&mut set.template),
        Resource::StatefulSet(set) => Some(&mut set.template),
        Resource::DaemonSet(set) => Some(&mut set.template),
        Resource::Pod(pod) => Some(&mut pod.template),
        Resource::Job(job) => Some(&mut job.template),
        Resource::CronJob(cron_job) => Some(&mut cron_job.job.template),
        _ => None,
    }
}

fn refusal(
    object: &Object,
    at: &Position,
    path: String,
    code: Code,
    message: String,
) -> Diagnostic {
    Diagnostic {
        at: at.clone(),
        severity: Severity::Error,
        object: Some(format!("{}/{}", object.kind, object.metadata.name)),
        path,
        message,
        code,
        unenforced: None,
    }
}
