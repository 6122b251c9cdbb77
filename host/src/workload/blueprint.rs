//! What a pod's guest is made from: the plan, with the pod's own facts in it.

use std::sync::Arc;

use galleria_manifest::model::PodTemplate;

use super::Platform;
use super::environment::{self, PodFacts};
use super::events::PodEvents;
use super::plan::PodPlan;
use crate::guest::{Blueprint, PodMemory};

/// One pod, as far as its guest can see it.
pub(super) struct PodIdentity<'a> {
    pub name: &'a str,
    pub address: &'a str,
    /// The plan's, with what the pod's owner adds for this pod.
    pub template: &'a PodTemplate,
}

/// Makes the blueprint of one pod.
///
/// # Errors
/// What of its environment cannot be resolved; never a value.
pub(super) fn blueprint(
    plan: &Arc<PodPlan>,
    platform: &Platform,
    pod: &PodIdentity<'_>,
    memory: &Arc<PodMemory>,
) -> Result<Blueprint, String> {
    let facts = PodFacts {
        name: pod.name,
        uid: pod.name,
        address: pod.address,
        identity: &plan.identity,
        template: pod.template,
        container: &plan.container,
    };
    let environment =
        environment::resolve(&plan.container, &plan.configuration, &facts).map_err(|errors| {
            let messages: Vec<_> = errors.into_iter().map(|error| error.message).collect();
            messages.join("; ")
        })?;
    let events = PodEvents::new(
        plan.clone(),
        pod.name.to_owned(),
        platform.metrics.clone(),
        platform.sink.clone(),
    );
    let mounts = plan
        .volumes
        .iter()
        .flat_map(|volume| volume.mounts.iter().cloned())
        .collect();
    Ok(Blueprint {
        component: plan.component.clone(),
        environment,
        arguments: std::iter::once(plan.container.name.value.clone())
            .chain(plan.container.arguments.iter().cloned())
            .collect(),
        mounts,
        isolation: plan.isolation,
        instances_max: plan.instances_max,
        queue_max: plan.queue_max,
        memory: memory.clone(),
        limits: platform.limits,
        events: Arc::new(events),
        door: platform.doors.door(&plan.identity),
        sql: platform.sql.clone(),
    })
}
