//! A running workload: its pods, and the transition from one revision to the next.

mod disruptions;
mod rollout;
mod rollout_span;
mod status;

use std::sync::Arc;
use std::time::Instant;

use galleria_manifest::model::ObjectKey;

use super::controller::budget::{AllowedActions, Disruptions};
use super::controller::replica_set::{pod as next_of_pod, replica_set as next_of_replica_set};
use super::controller::{Action, PodView, deployment, stateful_set};
use super::kubelet::{Kubelet, Leaving};
use super::plan::{Controller, WorkloadPlan};
use super::pod::suffix;
use super::revisions::Revisions;
use super::{Pod, reconfigure};
use crate::telemetry::trace::control::Cause;
use rollout::RolloutState;

/// Revisions to keep for pods of a StatefulSet that are not updated yet.
const STATEFUL_SET_REVISIONS: usize = 10;

/// See the module's documentation.
pub(super) struct Running {
    pub(super) plan: Arc<WorkloadPlan>,
    /// `metadata.generation` of the object in the plan.
    generation: u64,
    /// Pods that are not terminating.
    pods: Vec<Member>,
    /// Terminating pods, with their ordinals.
    leaving: Vec<(Leaving, Option<usize>)>,
    revisions: Revisions,
    /// The number of replicas at the previous decision.
    replicas_before: Option<usize>,
    rollout: RolloutState,
    /// The last revision that all pods had.
    current: String,
    /// Whether all pods were ready at the same time once. From then on the workload is
    /// ready while it has minimum availability.
    was_complete: bool,
    /// The PodDisruptionBudget that prevents it from stopping a pod.
    kept_back_by: Option<String>,
}

/// A pod that is not terminating.
struct Member {
    pod: Arc<Pod>,
    /// The revision of the template, to which the pod's own plan may add labels.
    revision: String,
    ordinal: Option<usize>,
}

impl Running {
    pub(super) fn new(plan: &Arc<WorkloadPlan>, generation: u64, now: Instant) -> Self {
        let revision = &plan.pods.revision;
        let mut running = Self {
            generation,
            pods: Vec::new(),
            leaving: Vec::new(),
            revisions: Revisions::default(),
            replicas_before: None,
            rollout: RolloutState::new(revision, plan.replicas(), now),
            current: revision.clone(),
            was_complete: false,
            kept_back_by: None,
            plan: plan.clone(),
        };
        running.begin_rollout();
        running
    }

    /// Begins the span of a Deployment's rollout, below the change that is applied.
    fn begin_rollout(&mut self) {
        if let Controller::Deployment { rollout, .. } = &self.plan.controller {
            let (cause, paused) = (Cause::current(), rollout.paused);
            self.rollout.begin(&self.plan.pods, cause, paused);
        }
    }

    /// Makes `plan` the wanted state.
    pub(super) fn follow(&mut self, plan: &Arc<WorkloadPlan>, generation: u64) {
        let is_same = self.plan.pods.revision == plan.pods.revision;
        self.generation = generation;
        self.plan = plan.clone();
        if !is_same {
            self.begin_rollout();
        }
        let revision = &plan.pods.revision;
        for member in self.pods.iter().filter(|it| it.revision == *revision) {
            reconfigure(&member.pod, &plan.pods);
        }
    }

    /// Carries out one decision of the controller; returns whether pods were started or
    /// stopped. The next decision must wait until callers can find the new pods.
    pub(super) fn step(
        &mut self,
        kubelet: &mut Kubelet,
        disruptions: &mut Disruptions<'_>,
        now: Instant,
    ) -> bool {
        self.leaving.retain(|(leaving, _)| !leaving.is_gone());
        if !self.plan.is_paused() || self.revisions.newest() == 0 {
            self.revisions.take(&self.plan);
        }
        let decided = self.decide(now);
        let AllowedActions {
            actions,
            kept_back_by,
        } = self.allow(decided, disruptions);
        let changed = !actions.is_empty();
        for action in actions {
            self.act(action, kubelet);
        }
        self.keep_back(kept_back_by, kubelet);
        self.observe(now);
        changed
    }

    fn decide(&mut self, now: Instant) -> Vec<Action> {
        let pods: Vec<_> = self.pods.iter().map(Member::view).collect();
        let newest = &self.plan.pods.revision;
        match &self.plan.controller {
            Controller::Deployment { rollout, .. } => {
                let is_old = |leaving: &Leaving| leaving.pod.plan.revision != *newest;
                let observed = deployment::DeploymentState {
                    newest,
                    pods: &pods,
                    old_leaving: self.leaving.iter().filter(|(it, _)| is_old(it)).count(),
                    replicas_before: self.replicas_before,
                    now,
                };
                self.replicas_before = Some(rollout.replicas);
                rollout.next(&observed)
            }
            Controller::ReplicaSet {
                replicas,
                min_ready,
            } => next_of_replica_set(*replicas, *min_ready, newest, &pods, now),
            Controller::StatefulSet(ordinals) => {
                let leaving: Vec<_> = self.leaving.iter().filter_map(|(_, it)| *it).collect();
                ordinals.next(&stateful_set::StatefulSetState {
                    newest,
                    current: &self.current,
                    pods: &pods,
                    leaving: &leaving,
                    now,
                })
            }
            Controller::DaemonSet { on_delete, .. } => {
                let newest = match pods.first() {
                    Some(pod) if *on_delete => &pod.revision,
                    _ => newest,
                };
                next_of_pod(newest, &pods, self.leaving.len())
            }
            Controller::Pod => next_of_pod(newest, &pods, self.leaving.len()),
        }
    }

    fn act(&mut self, action: Action, kubelet: &mut Kubelet) {
        match action {
            Action::Start { revision, ordinal } => {
                let known = self.revisions.plan(&revision).unwrap_or(&self.plan.pods);
                let revision = known.revision.clone();
                let name = match (&self.plan.controller, ordinal, &known.owner) {
                    (_, Some(ordinal), _) => format!("{}-{ordinal}", known.identity.name),
                    (Controller::Pod, ..) | (.., None) => known.identity.name.clone(),
                    (.., Some(owner)) => format!("{}-{}", owner.name, suffix()),
                };
                let plan = match ordinal {
                    Some(ordinal) => Arc::new(known.of_ordinal(&name, ordinal)),
                    None => known.clone(),
                };
                self.pods.push(Member {
                    pod: kubelet.start(name, plan),
                    revision,
                    ordinal,
                });
            }
            Action::Stop { target } => {
                let found = self.pods.iter().position(|it| it.pod.target == target);
                if let Some(found) = found {
                    let member = self.pods.remove(found);
                    self.leaving
                        .push((kubelet.stop(member.pod), member.ordinal));
                }
            }
        }
    }

    pub(super) fn evict(&mut self, pod: &ObjectKey, kubelet: &mut Kubelet) -> bool {
        let named = |it: &&Member| {
            it.pod.name == pod.name && it.pod.plan.identity.namespace == pod.namespace
        };
        let Some(target) = self.pods.iter().find(named).map(|it| it.pod.target) else {
            return false;
        };
        self.act(Action::Stop { target }, kubelet);
        true
    }

    /// Stops every pod that does not wait for the node; the controller starts others.
    pub(super) fn evict_all(&mut self, kubelet: &mut Kubelet) {
        let scheduled = self.pods.iter().filter(|it| it.pod.is_scheduled());
        let targets: Vec<_> = scheduled.map(|it| it.pod.target).collect();
        for target in targets {
            self.act(Action::Stop { target }, kubelet);
        }
    }

    fn observe(&mut self, now: Instant) {
        let counts = self.counts(now);
        self.was_complete |= counts.ready >= counts.wanted && counts.total > 0;
        if counts.is_complete() {
            self.current.clone_from(&self.plan.pods.revision);
        }
        let mut history = STATEFUL_SET_REVISIONS;
        if let Controller::Deployment {
            rollout,
            progress_deadline,
            revision_history_limit,
        } = &self.plan.controller
        {
            history = *revision_history_limit;
            let paused = rollout.paused;
            self.rollout
                .observe(&self.plan.pods, counts, *progress_deadline, paused, now);
        }
        let (pods, current) = (&self.pods, &self.current);
        self.revisions.trim(history, |hash| {
            hash == current || pods.iter().any(|it| it.revision == hash)
        });
    }

    /// When the next step is due if no pod changes before.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let min_ready = self.plan.min_ready();
        let available = self
            .pods
            .iter()
            .filter_map(|it| Some(it.pod.ready_since()? + min_ready));
        let deadline = match &self.plan.controller {
            Controller::Deployment {
                progress_deadline, ..
            } => self.rollout.due(*progress_deadline),
            _ => None,
        };
        let coming = |due: &Instant| *due > now;
        available.chain(deadline).filter(coming).min()
    }

    /// Whether as many pods are ready as the manifest requires. A Pod that has failed and
    /// is not restarted counts as ready.
    pub(super) fn is_ready(&self) -> bool {
        let is_done = |it: &&Member| it.pod.is_ready() || it.pod.has_failed();
        let ready = self.pods.iter().filter(is_done).count();
        if self.was_complete {
            ready >= self.plan.least_available()
        } else {
            ready >= self.plan.replicas() || (self.plan.is_paused() && self.pods.is_empty())
        }
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter().map(|member| &member.pod)
    }

    /// Stops every pod.
    pub(super) fn end(self, kubelet: &Kubelet) {
        for member in self.pods {
            kubelet.stop(member.pod);
        }
    }
}

impl Member {
    fn view(&self) -> PodView {
        PodView {
            target: self.pod.target,
            revision: self.revision.clone(),
            ordinal: self.ordinal,
            ready_since: self.pod.ready_since(),
        }
    }
}
