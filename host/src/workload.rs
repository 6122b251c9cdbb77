//! Workloads: from Deployments and similar objects to running pods.
//!
//! A plan says which pods should run. [`Workloads`] starts and stops pods as the
//! controllers in `controller.rs` decide, step by step, as pods become ready and time
//! passes. A pod whose template did not change keeps its instances. Each pod is a fault
//! domain: instances, limits, probes and restarts are not shared between pods.

mod backoff;
mod budgets;
mod configuration;
mod controller;
mod environment;
mod events;
mod failure_log;
mod field;
mod guest_setup;
mod image;
mod job;
mod kubelet;
mod log;
mod plan;
mod pod;
mod probe;
mod pull_secrets;
mod registry;
mod revisions;
mod running;
mod scheduling;
mod status;
mod volumes;

pub(crate) use backoff::Backoff;
pub(crate) use controller::autoscaler::{Autoscaler, Decision, MetricReading, ScalingLimit};
pub(crate) use failure_log::FailureLog;
pub(crate) use field::{HOST_ADDRESS, NODE_NAME};
pub(crate) use image::{ImagePolicies, Images};
pub(crate) use job::{Board, CronJobStatus, JobStatus, Jobs, PodExit};
pub(crate) use log::{LogLine, Logs, PodLog};
use plan::PodPlan;
pub(crate) use plan::{Plan, PlanError, UnavailableImage, plan};
pub(crate) use pod::{InFlight, Pod};
pub(crate) use registry::PodRegistry;
pub(crate) use volumes::DataFolder as VolumeFolder;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_manifest::model::{Node, ObjectKey};
use galleria_mesh as mesh;
use tokio::sync::watch;

use crate::guest::{NodeMemory, Outbound};
use crate::settings::guest::RequestLimits;
use crate::store::{HostObject, Recorder};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::Sink;
use budgets::Budgets;
use kubelet::Kubelet;
use running::Running;

/// What all pods share.
#[derive(Clone)]
pub(crate) struct Platform {
    pub images: Arc<Images>,
    pub sql: Arc<crate::guest::Databases>,
    pub metrics: Arc<Metrics>,
    pub sink: Sink,
    /// Whether log lines of guests are written as text instead of JSON.
    pub readable: bool,
    pub recorder: Arc<Recorder>,
    pub logs: Arc<Logs>,
    pub limits: RequestLimits,
    pub memory: Arc<NodeMemory>,
    /// The first pause before a failed pod is restarted.
    pub restart_backoff_initial: Duration,
    pub volumes: VolumeFolder,
    /// Which pods may start.
    pub node: watch::Sender<Node>,
    /// Creates the outbound handles of guests.
    pub outbound_factory: Arc<dyn OutboundFactory>,
}

/// Gives each pod, by its address, its outbound handle.
pub(crate) trait OutboundFactory: Send + Sync {
    fn outbound(&self, workload: &Arc<mesh::Workload>, address: &str) -> Arc<dyn Outbound>;
}

/// The running workloads.
pub(crate) struct Workloads {
    kubelet: Kubelet,
    running: BTreeMap<ObjectKey, Running>,
    /// Workloads that were removed from the plan. They serve until the next step, when the
    /// snapshot without them is in force.
    unwanted: Vec<Running>,
    budgets: Budgets,
}

/// `namespace/name` of a Job or CronJob.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkloadKey {
    pub namespace: String,
    pub name: String,
}

impl Workloads {
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            kubelet: Kubelet::new(platform),
            running: BTreeMap::new(),
            unwanted: Vec::new(),
            budgets: Budgets::default(),
        }
    }

    /// Changes when the readiness or phase of a pod does, and when a pod is gone.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.kubelet.changes()
    }

    /// Makes `plan` the wanted state, and takes the first step towards it. `generation`
    /// returns the `metadata.generation` of an object.
    pub(crate) fn apply(&mut self, plan: &Plan, generation: impl Fn(&ObjectKey) -> u64) {
        let gone: Vec<_> = self
            .running
            .keys()
            .filter(|key| !plan.workloads.contains_key(*key))
            .cloned()
            .collect();
        for key in gone {
            self.unwanted.extend(self.running.remove(&key));
        }
        for (key, wanted) in &plan.workloads {
            let generation = generation(key);
            match self.running.get_mut(key) {
                Some(running) => running.follow(wanted, generation),
                None => {
                    let running = Running::new(wanted, generation, Instant::now());
                    self.running.insert(key.clone(), running);
                }
            }
        }
        self.budgets = Budgets::new(&plan.budgets, generation);
        self.follow_node(&plan.node);
        self.advance();
    }

    /// Carries out one decision for each workload. Returns whether pods were started or
    /// stopped: then a snapshot with the new pods must be in force before the next step,
    /// which may stop a pod because another one is ready.
    pub(crate) fn step(&mut self) -> bool {
        self.end_unwanted();
        self.advance()
    }

    fn end_unwanted(&mut self) {
        for running in self.unwanted.drain(..) {
            running.end(&self.kubelet);
        }
    }

    fn advance(&mut self) -> bool {
        let now = Instant::now();
        let kubelet = &mut self.kubelet;
        let mut disruptions = self.budgets.disruptions(&self.running.values());
        self.running.values_mut().fold(false, |changed, running| {
            running.step(kubelet, &mut disruptions, now) | changed
        })
    }

    /// Stops the pod with this name; its controller starts another one. Returns whether
    /// the pod exists.
    pub(crate) fn evict(&mut self, pod: &ObjectKey) -> bool {
        let kubelet = &mut self.kubelet;
        let mut running = self.running.values_mut();
        running.any(|running| running.evict(pod, kubelet))
    }

    /// The PodDisruptionBudget that does not allow to stop this pod now.
    pub(crate) fn forbidding_budget(&self, pod: &ObjectKey) -> Option<String> {
        let mut pods = self.running.values().flat_map(Running::pods);
        let found =
            pods.find(|it| it.name == pod.name && it.plan.identity.namespace == pod.namespace)?;
        let mut disruptions = self.budgets.disruptions(&self.running.values());
        let labels = &found.plan.template.labels;
        found
            .is_ready()
            .then(|| disruptions.take(&pod.namespace, labels))
            .flatten()
    }

    /// Evicts the pods that do not tolerate the taints of the node. Those that wait for it
    /// start if they may.
    fn follow_node(&mut self, node: &Node) {
        self.kubelet.follow_node(node);
        for running in self.running.values_mut() {
            if node.evicts(&running.plan.pods.template.spec.tolerations) {
                running.evict_all(&mut self.kubelet);
            }
        }
    }

    /// When the next [`Workloads::step`] is due if no pod changes before.
    pub(crate) fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        self.running.values().filter_map(|it| it.due(now)).min()
    }

    /// The pods that can be endpoints, including those that are not ready, without those
    /// that are terminating.
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.running
            .values()
            .flat_map(Running::pods)
            .cloned()
            .collect()
    }

    /// As [`Workloads::pods`], of one workload.
    pub(crate) fn pods_of(&self, workload: &ObjectKey) -> Vec<Arc<Pod>> {
        let running = self.running.get(workload).into_iter();
        running.flat_map(Running::pods).cloned().collect()
    }

    /// Whether every workload has as many ready pods as its manifest requires.
    pub(crate) fn all_ready(&self) -> bool {
        self.running.values().all(Running::is_ready)
    }

    /// The `status` of each workload and of each PodDisruptionBudget.
    pub(crate) fn statuses(&mut self) -> Vec<(ObjectKey, serde_json::Value)> {
        let now = Instant::now();
        let budgets = self.budgets.statuses(&self.running.values());
        self.running
            .iter_mut()
            .map(|(key, running)| (key.clone(), running.status(now)))
            .chain(budgets)
            .collect()
    }

    /// The ReplicaSets of every Deployment.
    pub(crate) fn replica_sets(&self) -> Vec<HostObject> {
        let now = Instant::now();
        self.running
            .values()
            .flat_map(|running| running.replica_sets(now))
            .collect()
    }

    /// The longest grace period of all pods.
    pub(crate) fn grace_period(&self) -> Duration {
        let periods = self
            .running
            .values()
            .map(|running| running.plan.pods.grace_period);
        periods.max().unwrap_or_default()
    }

    /// Stops every pod and waits for the last request.
    pub(crate) async fn stop(&mut self) {
        self.end_unwanted();
        for (_, running) in std::mem::take(&mut self.running) {
            running.end(&self.kubelet);
        }
        self.kubelet.all_gone().await;
    }
}

/// Passes the current ConfigMaps and Secrets to a pod that keeps running.
fn reconfigure(pod: &Pod, plan: &PodPlan) {
    pod.reconfigure(&plan.configuration);
}
