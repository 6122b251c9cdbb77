//! Workloads: from Deployments to running pods.
//!
//! A plan says which pods there should be; [`Workloads`] makes it so: new pods
//! become ready before the old ones of their Deployment leave, and a pod whose
//! description did not change keeps its instances. A pod is a fault domain of
//! its own: its instances, limits, probes and restarts are nobody else's.

mod backoff;
mod blueprint;
mod configuration;
mod environment;
mod events;
mod field;
mod image;
mod job;
mod plan;
mod pod;
mod probe;
mod recorder;
mod volumes;

pub(crate) use image::Images;
pub(crate) use job::{Board, CronJobStatus, JobStatus, Jobs, PodExit};
use plan::WorkloadPlan;
pub(crate) use plan::{Plan, PlanError, plan};
pub(crate) use pod::{InFlight, Pod};
pub(crate) use recorder::Recorder;
pub(crate) use volumes::DataFolder as VolumeFolder;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use galleria_mesh as mesh;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::guest::{Door, RequestLimits};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::Sink;

/// What pods are made with, the same for all of them.
#[derive(Clone)]
pub(crate) struct Platform {
    pub images: Arc<Images>,
    pub sql: Arc<crate::guest::Databases>,
    pub metrics: Arc<Metrics>,
    pub sink: Sink,
    pub recorder: Arc<Recorder>,
    pub limits: RequestLimits,
    /// The first pause of a pod that keeps crashing.
    pub restart_backoff_initial: Duration,
    pub volumes: VolumeFolder,
    /// Makes the way out for a pod's guests.
    pub doors: Arc<dyn Doors>,
}

/// Gives each workload its door into the mesh.
pub(crate) trait Doors: Send + Sync {
    fn door(&self, workload: &Arc<mesh::Workload>) -> Arc<dyn Door>;
}

/// The pods that run, by workload.
pub(crate) struct Workloads {
    platform: Platform,
    running: BTreeMap<WorkloadKey, Running>,
    /// Pods that left and finish what they have.
    draining: TaskTracker,
    /// Moves when a pod's readiness or phase does.
    readiness: watch::Sender<u64>,
    next_target: usize,
}

/// `namespace/name` of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkloadKey {
    pub namespace: String,
    pub name: String,
}

struct Running {
    plan: Arc<WorkloadPlan>,
    /// Serving now.
    pods: Vec<Arc<Pod>>,
    /// Of a newer description, on their way to replace `pods`.
    incoming: Option<Incoming>,
}

struct Incoming {
    plan: Arc<WorkloadPlan>,
    pods: Vec<Arc<Pod>>,
}

impl Workloads {
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            running: BTreeMap::new(),
            draining: TaskTracker::new(),
            readiness: watch::Sender::new(0),
            next_target: 0,
        }
    }

    /// Changes when a pod's readiness or phase does.
    pub(crate) fn readiness(&self) -> watch::Receiver<u64> {
        self.readiness.subscribe()
    }

    /// Starts towards `plan`: what is new begins to start, what is gone begins
    /// to drain, what changed starts beside what serves.
    pub(crate) fn apply(&mut self, plan: &Plan) {
        let gone: Vec<_> = self
            .running
            .keys()
            .filter(|key| !plan.workloads.contains_key(*key))
            .cloned()
            .collect();
        for key in gone {
            if let Some(running) = self.running.remove(&key) {
                let incoming = running
                    .incoming
                    .into_iter()
                    .flat_map(|incoming| incoming.pods);
                self.drain(running.pods.into_iter().chain(incoming).collect());
            }
        }
        for (key, wanted) in &plan.workloads {
            self.apply_one(key, wanted);
        }
    }

    fn apply_one(&mut self, key: &WorkloadKey, wanted: &Arc<WorkloadPlan>) {
        let Some(mut running) = self.running.remove(key) else {
            let pods = self.start(wanted, wanted.replicas);
            let running = Running {
                plan: wanted.clone(),
                pods,
                incoming: None,
            };
            self.running.insert(key.clone(), running);
            return;
        };
        if running.plan.pods.revision == wanted.pods.revision {
            if let Some(incoming) = running.incoming.take() {
                self.drain(incoming.pods);
            }
            running.plan = wanted.clone();
            reconfigure(&running.pods, wanted);
            self.scale(&mut running.pods, wanted);
        } else if let Some(incoming) = &mut running.incoming
            && incoming.plan.pods.revision == wanted.pods.revision
        {
            incoming.plan = wanted.clone();
            reconfigure(&incoming.pods, wanted);
            self.scale(&mut incoming.pods, wanted);
        } else {
            if let Some(incoming) = running.incoming.take() {
                self.drain(incoming.pods);
            }
            tracing::info!(workload = %wanted.pods.identity.name, revision = %wanted.pods.revision, "rolling out");
            let pods = self.start(wanted, wanted.replicas);
            running.incoming = Some(Incoming {
                plan: wanted.clone(),
                pods,
            });
        }
        self.running.insert(key.clone(), running);
    }

    fn scale(&mut self, pods: &mut Vec<Arc<Pod>>, wanted: &Arc<WorkloadPlan>) {
        if pods.len() > wanted.replicas {
            let surplus = pods.split_off(wanted.replicas);
            self.drain(surplus);
        } else {
            let missing = wanted.replicas - pods.len();
            pods.extend(self.start(wanted, missing));
        }
    }

    /// Puts newer pods in the place of older ones where all of them are ready.
    /// Returns whether anything changed.
    pub(crate) fn promote(&mut self) -> bool {
        let mut replaced = Vec::new();
        for running in self.running.values_mut() {
            let ready = running
                .incoming
                .as_ref()
                .is_some_and(|incoming| incoming.pods.iter().all(|pod| pod.is_ready()));
            if !ready {
                continue;
            }
            if let Some(incoming) = running.incoming.take() {
                tracing::info!(workload = %incoming.plan.pods.identity.name, revision = %incoming.plan.pods.revision, "rolled out");
                running.plan = incoming.plan;
                replaced.extend(std::mem::replace(&mut running.pods, incoming.pods));
            }
        }
        let changed = !replaced.is_empty();
        self.drain(replaced);
        changed
    }

    /// The pods that may be endpoints, newer ones included: those are not ready
    /// until they may be.
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        let incoming = |running: &Running| running.incoming.as_ref().map(|it| it.pods.clone());
        self.running
            .values()
            .flat_map(|running| {
                running
                    .pods
                    .iter()
                    .cloned()
                    .chain(incoming(running).into_iter().flatten())
            })
            .collect()
    }

    /// Whether every workload has all of its pods ready.
    pub(crate) fn all_ready(&self) -> bool {
        self.running
            .values()
            .all(|running| running.pods.iter().all(|pod| pod.is_ready()))
    }

    /// What `status` of each Deployment says.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (&WorkloadKey, serde_json::Value)> {
        self.running.iter().map(|(key, running)| {
            let ready = running.pods.iter().filter(|pod| pod.is_ready()).count();
            let incoming = running
                .incoming
                .as_ref()
                .map_or(0, |incoming| incoming.pods.len());
            let status = serde_json::json!({
                "replicas": running.pods.len() + incoming,
                "readyReplicas": ready,
                "updatedReplicas": if incoming > 0 { incoming } else { running.pods.len() },
            });
            (key, status)
        })
    }

    /// The longest that a pod may take to finish.
    pub(crate) fn grace_period(&self) -> Duration {
        let periods = self
            .running
            .values()
            .map(|running| running.plan.pods.grace_period);
        periods.max().unwrap_or_default()
    }

    /// Stops every pod and waits until the last request has left.
    pub(crate) async fn stop(&mut self) {
        for (_, running) in std::mem::take(&mut self.running) {
            let incoming = running
                .incoming
                .into_iter()
                .flat_map(|incoming| incoming.pods);
            self.drain(running.pods.into_iter().chain(incoming).collect());
        }
        self.draining.close();
        self.draining.wait().await;
    }

    fn start(&mut self, plan: &Arc<WorkloadPlan>, count: usize) -> Vec<Arc<Pod>> {
        (0..count)
            .map(|_| {
                self.next_target += 1;
                Pod::start(
                    &self.platform,
                    plan.pods.clone(),
                    self.next_target,
                    self.readiness.clone(),
                )
            })
            .collect()
    }

    fn drain(&self, pods: Vec<Arc<Pod>>) {
        for pod in pods {
            pod.terminate();
            let platform = self.platform.clone();
            self.draining
                .spawn(async move { pod.drained(&platform).await });
        }
    }
}

/// Gives pods that stay the ConfigMaps and Secrets of today.
fn reconfigure(pods: &[Arc<Pod>], plan: &WorkloadPlan) {
    for pod in pods {
        pod.reconfigure(&plan.pods.configuration);
    }
}
