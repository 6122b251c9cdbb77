//! What should run: every workload, Job and CronJob with all it refers to,
//! resolved and checked.
//!
//! A plan is made before anything is started or stopped; with one error in it,
//! nothing changes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use galleria_manifest::model::{
    Container, CronJob, Job, Metadata, Object, ObjectKey, PodTemplate, Resource,
};
use galleria_manifest::{Diagnostic, Position, Presets, Severity, codes};
use galleria_mesh as mesh;
use sha2::{Digest, Sha256};

use super::WorkloadKey;
use super::configuration::Configuration;
use super::controller::deployment::Rollout;
use super::controller::stateful_set::Ordinals;
use super::environment;
use super::field::PodFacts;
use super::image::{Images, Wanted};
use super::pull_secrets;
use super::revisions::TEMPLATE_HASH;
use super::volumes;
use crate::causes::with_causes;
use crate::guest::{Component, Entry, Isolation, NodeMemory, PodMemory};
use crate::settings;
use crate::store::{uid, uid_of};

const ISOLATION: &str = "galleria.dev/isolation";
const INSTANCES: &str = "galleria.dev/max-instances";
const QUEUE: &str = "galleria.dev/max-queue";
const REQUEST_TIMEOUT: &str = "galleria.dev/request-timeout";

/// Where an image stands, below the template.
const IMAGE: &str = "spec.containers[0].image";

/// Bytes for a pod without `limits.memory`: enough for an interpreter.
pub(super) const MEMORY_DEFAULT: u64 = 512 << 20;
const INSTANCES_DEFAULT: usize = 64;
const QUEUE_DEFAULT: usize = 256;

/// Everything that should run.
#[derive(Default)]
pub(crate) struct Plan {
    pub workloads: BTreeMap<ObjectKey, Arc<WorkloadPlan>>,
    pub jobs: BTreeMap<WorkloadKey, Arc<JobPlan>>,
    pub cron_jobs: BTreeMap<WorkloadKey, Arc<CronJobPlan>>,
    /// PodDisruptionBudgets.
    pub budgets: Vec<Arc<Object>>,
}

/// One object with pods that serve requests, ready to be started.
pub(crate) struct WorkloadPlan {
    pub object: Arc<Object>,
    pub controller: Controller,
    pub pods: Arc<PodPlan>,
}

/// What keeps the pods.
pub(crate) enum Controller {
    Deployment {
        rollout: Rollout,
        progress_deadline: Duration,
        revision_history_limit: usize,
    },
    ReplicaSet {
        replicas: usize,
        min_ready: Duration,
    },
    StatefulSet(Ordinals),
    Pod,
}

/// What a pod belongs to (`metadata.ownerReferences`).
#[derive(Clone)]
pub(crate) struct Owner {
    pub kind: &'static str,
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

impl Owner {
    pub(crate) fn of(kind: &'static str, object: &Object) -> Self {
        Self {
            kind,
            name: object.metadata.name.value.clone(),
            uid: uid_of(object),
        }
    }
}

/// One Job, ready to be started.
pub(crate) struct JobPlan {
    pub object: Arc<Object>,
    pub job: Job,
    pub pods: Arc<PodPlan>,
}

/// One CronJob, its Jobs ready to be started.
pub(crate) struct CronJobPlan {
    pub object: Arc<Object>,
    pub cron_job: CronJob,
    pub pods: Arc<PodPlan>,
}

/// One pod template, ready to be started any number of times.
#[derive(Clone)]
pub(crate) struct PodPlan {
    pub identity: Arc<mesh::Workload>,
    /// None for a Pod on its own.
    pub owner: Option<Owner>,
    /// `metadata.uid` of a Pod that was written as such.
    pub uid: Option<String>,
    /// Names what the pods are made from: the same text, the same pods.
    pub revision: String,
    pub component: Arc<Component>,
    pub container: Container,
    pub template: PodTemplate,
    /// `spec.template.spec` as it was written.
    pub spec: serde_json::Value,
    pub configuration: Arc<Configuration>,
    pub volumes: Vec<volumes::Bound>,
    pub isolation: Option<Isolation>,
    pub instances_max: usize,
    pub queue_max: usize,
    /// In place of `--request-timeout`.
    pub request_timeout: Option<Duration>,
    pub memory_limit: u64,
    /// What the pod is sure of; 0 where it asks for nothing.
    pub memory_request: u64,
    /// `limits.cpu` in thousandths of a core; 0 in a manifest is no limit.
    pub cpu_limit: Option<u64>,
    pub grace_period: Duration,
}

impl PodPlan {
    /// The plan of a StatefulSet's pod, with the labels and the claims that
    /// belong to its name.
    pub(crate) fn of_ordinal(&self, pod: &str, ordinal: usize) -> Self {
        let mut plan = self.clone();
        let labels = &mut plan.template.labels;
        labels.insert("statefulset.kubernetes.io/pod-name".into(), pod.into());
        labels.insert("apps.kubernetes.io/pod-index".into(), ordinal.to_string());
        let revision = format!("{}-{}", self.identity.name, self.revision);
        labels.insert("controller-revision-hash".into(), revision);
        for volume in &mut plan.volumes {
            volume.claim_for(pod);
        }
        plan
    }

    /// The name of the ReplicaSet that a cluster would make for this revision.
    pub(crate) fn replica_set_name(&self) -> String {
        format!("{}-{}", self.identity.name, self.revision)
    }

    /// The memory of one of its pods, out of that of all.
    pub(super) fn memory(&self, node: &Arc<NodeMemory>) -> Arc<PodMemory> {
        PodMemory::new(self.memory_limit, self.memory_request, node)
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[error("the manifests have {} problems", .problems.len())]
pub(crate) struct PlanError {
    pub problems: Vec<Diagnostic>,
    /// Of them, what may pass.
    pub unpulled: Vec<Unpulled>,
}

/// An image that its registry does not give now.
#[derive(Debug)]
pub(crate) struct Unpulled {
    /// What has pods of it.
    pub object: Arc<Object>,
    pub image: String,
    pub message: String,
}

/// Makes the plan for `objects`. Compiles components that the cache does not
/// have, which may take seconds: not for an asynchronous task.
///
/// # Errors
/// All problems at once: images that do not resolve, components that cannot
/// run, references to configuration that is not there, bad annotations.
pub(crate) fn plan(
    objects: &[Arc<Object>],
    images: &Images,
    volumes: &volumes::DataFolder,
) -> Result<Plan, PlanError> {
    let configuration = Arc::new(Configuration::of(objects));
    let presets = Presets::of(objects);
    let mut plan = Plan::default();
    let mut problems = Vec::new();
    let unpulled = RefCell::default();
    for object in objects {
        let context = Context {
            unpulled: &unpulled,
            object,
            objects,
            images,
            volumes,
            configuration: &configuration,
            presets: &presets,
        };
        let key = WorkloadKey {
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.value.clone(),
        };
        if let Err(found) = context.add(key, &mut plan) {
            problems.extend(found);
        }
    }
    if problems.is_empty() {
        Ok(plan)
    } else {
        let unpulled = unpulled.into_inner();
        Err(PlanError { problems, unpulled })
    }
}

struct Context<'a> {
    object: &'a Arc<Object>,
    objects: &'a [Arc<Object>],
    images: &'a Images,
    volumes: &'a volumes::DataFolder,
    configuration: &'a Arc<Configuration>,
    presets: &'a Presets<'a>,
    unpulled: &'a RefCell<Vec<Unpulled>>,
}

impl Context<'_> {
    /// Adds the object to the plan where it has pods.
    fn add(&self, key: WorkloadKey, plan: &mut Plan) -> Result<(), Vec<Diagnostic>> {
        if let Some((template, _)) = self.object.serving() {
            let planned = self.workload(template)?;
            plan.workloads.insert(self.object.key(), Arc::new(planned));
        }
        match &self.object.resource {
            Resource::Job(job) => {
                let mut pods = self.pods(&job.template, "spec.template", Entry::Run)?;
                pods.owner = Some(Owner::of("Job", self.object));
                let planned = JobPlan {
                    object: self.object.clone(),
                    job: job.clone(),
                    pods: Arc::new(pods),
                };
                plan.jobs.insert(key, Arc::new(planned));
            }
            Resource::CronJob(cron_job) => {
                let template = &cron_job.job.template;
                let place = "spec.jobTemplate.spec.template";
                let planned = CronJobPlan {
                    object: self.object.clone(),
                    cron_job: cron_job.clone(),
                    pods: Arc::new(self.pods(template, place, Entry::Run)?),
                };
                plan.cron_jobs.insert(key, Arc::new(planned));
            }
            Resource::PodDisruptionBudget(_) => plan.budgets.push(self.object.clone()),
            _ => {}
        }
        Ok(())
    }

    fn workload(&self, template: &PodTemplate) -> Result<WorkloadPlan, Vec<Diagnostic>> {
        let place = match self.object.resource {
            Resource::Pod(_) => "",
            _ => "spec.template",
        };
        let mut pods = self.pods(template, place, Entry::Http)?;
        let owned = |kind| Some(Owner::of(kind, self.object));
        let controller = match &self.object.resource {
            Resource::Deployment(deployment) => {
                let (label, hash) = (TEMPLATE_HASH.to_owned(), pods.revision.clone());
                pods.template.labels.insert(label, hash);
                let set = pods.replica_set_name();
                pods.owner = Some(Owner {
                    kind: "ReplicaSet",
                    uid: uid("ReplicaSet", &self.object.metadata.namespace, &set),
                    name: set,
                });
                Controller::Deployment {
                    rollout: Rollout::of(deployment),
                    progress_deadline: deployment.progress_deadline,
                    revision_history_limit: deployment.revision_history_limit as usize,
                }
            }
            Resource::ReplicaSet(set) => {
                pods.owner = owned("ReplicaSet");
                Controller::ReplicaSet {
                    replicas: set.replicas.value as usize,
                    min_ready: set.min_ready,
                }
            }
            Resource::StatefulSet(set) => {
                pods.owner = owned("StatefulSet");
                Controller::StatefulSet(Ordinals::of(set))
            }
            _ => {
                pods.uid = Some(uid_of(self.object));
                Controller::Pod
            }
        };
        Ok(WorkloadPlan {
            object: self.object.clone(),
            controller,
            pods: Arc::new(pods),
        })
    }

    /// The plan of the pod template that stands at `place` in the object.
    fn pods(
        &self,
        template: &PodTemplate,
        place: &str,
        entry: Entry,
    ) -> Result<PodPlan, Vec<Diagnostic>> {
        let namespace = &self.object.metadata.namespace;
        let preset = self.presets.apply(namespace, template);
        for conflict in &preset.conflicts {
            let (object, at) = (&self.object.metadata.name, &conflict.at);
            tracing::warn!(%namespace, %object, %at, "{}", conflict.message);
        }
        let template = &preset.template;
        let Some(container) = template.spec.containers.first() else {
            return Err(vec![self.problem(
                &template.spec.at,
                below(place, "spec.containers").as_str(),
                "a pod needs a container",
            )]);
        };
        let mut problems = Vec::new();
        let mut note = |at: &Position, path: &str, message: String| {
            problems.push(self.problem(at, &below(place, path), &message));
        };
        let component = self
            .images
            .load(&self.wanted(template, container))
            .map_err(|error| {
                let message = with_causes(&error);
                if error.is_transient() {
                    self.unpulled.borrow_mut().push(Unpulled {
                        object: self.object.clone(),
                        image: container.image.value.clone(),
                        message: message.clone(),
                    });
                }
                note(&container.image.at, IMAGE, message);
            })
            .ok();
        if let Some(Err(error)) = component
            .as_deref()
            .map(|component| component.offers(entry))
        {
            note(&container.image.at, IMAGE, with_causes(&error));
        }
        let identity = identity(&self.object.metadata, template);
        let facts = PodFacts::example(&identity, template, container);
        if let Err(errors) = environment::resolve(container, self.configuration, &facts) {
            for error in errors {
                note(&error.at, "spec.containers[0].env", error.message);
            }
        }
        let bound = self
            .volumes
            .bind(
                &identity.namespace,
                &template.spec,
                container,
                self.configuration,
                volumes::Claims {
                    objects: self.objects,
                    owner: self.object,
                },
                &facts,
            )
            .map_err(|errors| {
                for error in errors {
                    note(&error.at, "spec.volumes", error.message);
                }
            });
        let annotations = Annotations {
            template,
            note: &mut note,
        };
        let settings = annotations.read();
        let (Some(component), Ok(volumes), true) = (component, bound, problems.is_empty()) else {
            return Err(problems);
        };
        let configuration = Arc::new(
            self.configuration
                .referenced_by(&identity.namespace, &template.spec),
        );
        Ok(PodPlan {
            owner: None,
            uid: None,
            revision: revision(self.object, place, &component, &preset.applied),
            memory_limit: container.resources.limits.memory.unwrap_or(MEMORY_DEFAULT),
            memory_request: container.resources.memory_request(),
            cpu_limit: (container.resources.limits.cpu_millis).filter(|limit| *limit > 0),
            grace_period: template.spec.termination_grace_period,
            isolation: settings.isolation,
            instances_max: settings.instances_max,
            queue_max: settings.queue_max,
            request_timeout: settings.request_timeout,
            container: container.clone(),
            template: template.clone(),
            spec: at_place(self.object, place)["spec"].clone(),
            identity: Arc::new(identity),
            component,
            configuration,
            volumes,
        })
    }

    fn wanted<'c>(&'c self, template: &PodTemplate, container: &'c Container) -> Wanted<'c> {
        Wanted {
            image: &container.image,
            policy: container.image_pull_policy,
            pull_secrets: pull_secrets::of(
                &template.spec,
                &self.object.metadata.namespace,
                self.objects,
                self.configuration,
            ),
        }
    }

    fn problem(&self, at: &Position, path: &str, message: &str) -> Diagnostic {
        Diagnostic {
            at: at.clone(),
            severity: Severity::Error,
            object: Some(format!(
                "{}/{}",
                self.object.kind, self.object.metadata.name
            )),
            path: path.into(),
            message: message.into(),
            code: codes::PLAN,
        }
    }
}

/// The pod template's annotations under `galleria.dev/`.
struct Annotations<'a, N> {
    template: &'a PodTemplate,
    note: &'a mut N,
}

struct Settings {
    isolation: Option<Isolation>,
    instances_max: usize,
    queue_max: usize,
    request_timeout: Option<Duration>,
}

impl<N: FnMut(&Position, &str, String)> Annotations<'_, N> {
    fn read(mut self) -> Settings {
        Settings {
            isolation: self.isolation(),
            instances_max: self.count(INSTANCES, INSTANCES_DEFAULT, 1..=1_000),
            queue_max: self.count(QUEUE, QUEUE_DEFAULT, 0..=100_000),
            request_timeout: self.request_timeout(),
        }
    }

    fn isolation(&mut self) -> Option<Isolation> {
        let value = self.template.annotations.get(ISOLATION)?;
        match value.as_str() {
            "request" => Some(Isolation::Request),
            "instance" => Some(Isolation::Instance),
            other => {
                (self.note)(
                    &value.at,
                    "metadata.annotations",
                    format!("`{ISOLATION}` is `{other}`; it must be `request` or `instance`"),
                );
                None
            }
        }
    }

    fn request_timeout(&mut self) -> Option<Duration> {
        let value = self.template.annotations.get(REQUEST_TIMEOUT)?;
        match settings::duration(value) {
            Ok(timeout) => Some(timeout),
            Err(cure) => {
                let message = format!("`{REQUEST_TIMEOUT}` is `{}`; {cure}", value.value);
                (self.note)(&value.at, "metadata.annotations", message);
                None
            }
        }
    }

    fn count(
        &mut self,
        name: &str,
        default: usize,
        range: std::ops::RangeInclusive<usize>,
    ) -> usize {
        let Some(value) = self.template.annotations.get(name) else {
            return default;
        };
        match value.parse() {
            Ok(count) if range.contains(&count) => count,
            _ => {
                let (low, high) = (range.start(), range.end());
                (self.note)(
                    &value.at,
                    "metadata.annotations",
                    format!(
                        "`{name}` is `{}`; it must be a number from {low} to {high}",
                        value.value
                    ),
                );
                default
            }
        }
    }
}

fn identity(metadata: &Metadata, template: &PodTemplate) -> mesh::Workload {
    mesh::Workload::new(
        metadata.namespace.clone(),
        metadata.name.value.clone(),
        template.spec.service_account_name.value.clone(),
        template.labels.clone(),
    )
}

/// Ten hexadecimal digits over everything that a pod is made from: the
/// template with its presets, and the component. Not the values it refers to: pods follow those.
fn revision(object: &Object, place: &str, component: &Component, presets: &[&Object]) -> String {
    let mut digest = Sha256::new();
    digest.update(at_place(object, place).to_string());
    digest.update(component.digest());
    for preset in presets {
        digest.update(preset.raw["spec"].to_string());
    }
    digest
        .finalize()
        .iter()
        .take(5)
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A field's path below a template that stands at `place`: nowhere for a Pod.
fn below(place: &str, path: &str) -> String {
    format!("{place}.{path}").trim_start_matches('.').to_owned()
}

/// What stands at `place`, as it was written.
fn at_place<'a>(object: &'a Object, place: &str) -> &'a serde_json::Value {
    if place.is_empty() {
        return &object.raw;
    }
    place.split('.').fold(&object.raw, |value, key| &value[key])
}
