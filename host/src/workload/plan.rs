//! What to run: every workload, Job and CronJob, with everything that it refers to
//! resolved and checked.
//!
//! The host makes a plan before it starts or stops anything. If the plan has an error,
//! nothing changes.

mod model;
mod pods;
mod problem;
mod revision;

pub(super) use model::{Controller, Owner};
pub(crate) use model::{CronJobPlan, JobPlan, Plan, PodPlan, WorkloadPlan};
pub(super) use pods::MEMORY_DEFAULT;
pub(crate) use problem::{PlanError, UnavailableImage};

use std::sync::Arc;

use galleria_manifest::Diagnostic;
use galleria_manifest::Presets;
use galleria_manifest::model::{Object, Resource};

use super::WorkloadKey;
use super::configuration::Configuration;
use super::controller::deployment::Rollout;
use super::controller::stateful_set::Ordinals;
use super::image::Images;
use super::revisions::TEMPLATE_HASH;
use super::volumes::DataFolder;
use crate::guest::Entry;
use crate::store::{uid, uid_of};
use pods::PodPlanner;

/// Makes the plan for `objects`. Compiles components that the cache does not have,
/// which may take seconds: do not call it from an asynchronous task.
///
/// # Errors
/// All problems at once: images that do not resolve, components that cannot run,
/// references to configuration that does not exist.
pub(crate) fn plan(
    objects: &[Arc<Object>],
    images: &Images,
    volumes: &DataFolder,
    trust_domain: &Arc<str>,
) -> Result<Plan, PlanError> {
    let planner = PodPlanner {
        objects,
        images,
        volumes,
        trust_domain,
        configuration: Configuration::of(objects),
        presets: Presets::of(objects),
    };
    let mut plan = Plan::default();
    let mut error = PlanError::default();
    for object in objects {
        if let Err(found) = add(object, &planner, &mut plan, &mut error.unavailable) {
            error.problems.extend(found);
        }
    }
    if error.problems.is_empty() {
        Ok(plan)
    } else {
        Err(error)
    }
}

/// Adds what `object` contributes to the plan, if anything.
fn add(
    object: &Arc<Object>,
    planner: &PodPlanner<'_>,
    plan: &mut Plan,
    unavailable: &mut Vec<UnavailableImage>,
) -> Result<(), Vec<Diagnostic>> {
    let Some((template, spec)) = object.pod_template() else {
        match &object.resource {
            Resource::PodDisruptionBudget(_) => plan.budgets.push(object.clone()),
            Resource::Node(node) => plan.node = node.clone(),
            _ => {}
        }
        return Ok(());
    };
    let key = WorkloadKey {
        namespace: object.metadata.namespace.clone(),
        name: object.metadata.name.value.clone(),
    };
    let mut pods = |entry| planner.plan(object, template, spec, entry, unavailable);
    match &object.resource {
        Resource::Job(job) => {
            let mut pods = pods(Entry::Run)?;
            pods.owner = Some(Owner::of("Job", object));
            let planned = JobPlan {
                object: object.clone(),
                job: job.clone(),
                pods: Arc::new(pods),
            };
            plan.jobs.insert(key, Arc::new(planned));
        }
        Resource::CronJob(cron_job) => {
            let planned = CronJobPlan {
                object: object.clone(),
                cron_job: cron_job.clone(),
                pods: Arc::new(pods(Entry::Run)?),
            };
            plan.cron_jobs.insert(key, Arc::new(planned));
        }
        _ => {
            let planned = Arc::new(workload(object, pods(Entry::Http)?));
            plan.workloads.insert(object.key(), planned);
        }
    }
    Ok(())
}

/// The plan of an object whose pods serve requests.
fn workload(object: &Arc<Object>, mut pods: PodPlan) -> WorkloadPlan {
    let controller = match &object.resource {
        Resource::Deployment(deployment) => {
            let (label, hash) = (TEMPLATE_HASH.to_owned(), pods.revision.clone());
            pods.template.labels.insert(label, hash);
            let set = pods.replica_set_name();
            pods.owner = Some(Owner {
                kind: "ReplicaSet",
                uid: uid("ReplicaSet", &object.metadata.namespace, &set),
                name: set,
            });
            Controller::Deployment {
                rollout: Rollout::of(deployment),
                progress_deadline: deployment.progress_deadline,
                revision_history_limit: deployment.revision_history_limit as usize,
            }
        }
        Resource::ReplicaSet(set) => {
            pods.owner = Some(Owner::of("ReplicaSet", object));
            Controller::ReplicaSet {
                replicas: set.replicas.value as usize,
                min_ready: set.min_ready,
            }
        }
        Resource::DaemonSet(set) => {
            pods.owner = Some(Owner::of("DaemonSet", object));
            Controller::DaemonSet {
                min_ready: set.min_ready,
                on_delete: set.on_delete,
            }
        }
        Resource::StatefulSet(set) => {
            pods.owner = Some(Owner::of("StatefulSet", object));
            Controller::StatefulSet(Ordinals::of(set))
        }
        _ => {
            pods.uid = Some(uid_of(object));
            Controller::Pod
        }
    };
    WorkloadPlan {
        object: object.clone(),
        controller,
        pods: Arc::new(pods),
    }
}
