//! A workload that runs: its pods, and the way from one revision to the next.

mod rollout;

use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_manifest::model::ObjectKey;
use serde_json::{Value, json};

use super::controller::budget::{Allowed, Disruptions};
use super::controller::deployment::Method;
use super::controller::progress::Counts;
use super::controller::replica_set::{pod as next_of_pod, replica_set as next_of_replica_set};
use super::controller::{Action, PodView, deployment, stateful_set};
use super::kubelet::{Kubelet, Leaving};
use super::plan::{Controller, WorkloadPlan};
use super::pod::suffix;
use super::recorder::{EventType, Involved};
use super::revisions::{Revisions, Sizes};
use super::{Pod, reconfigure};
use crate::store::Reported;
use rollout::RolloutState;

/// The reason of the event.
const KEPT_BACK: &str = "DisruptionNotAllowed";

/// Revisions kept for pods of a StatefulSet that are not updated yet.
const STATEFUL_SET_REVISIONS: usize = 10;

/// See the module's documentation.
pub(super) struct Running {
    pub(super) plan: Arc<WorkloadPlan>,
    /// `metadata.generation` of what is planned.
    generation: u64,
    /// Those that are not leaving.
    pods: Vec<Member>,
    leaving: Vec<(Leaving, Option<usize>)>,
    revisions: Revisions,
    replicas_before: Option<usize>,
    rollout: RolloutState,
    /// The revision that all pods had last.
    current: String,
    /// Every pod was ready once: from then on, so many must be that the workload
    /// is available.
    was_complete: bool,
    /// The PodDisruptionBudget that keeps it from stopping a pod.
    kept_back_by: Option<String>,
}

struct Member {
    pod: Arc<Pod>,
    /// Of the template; a pod's own plan may add to it.
    revision: String,
    ordinal: Option<usize>,
}

impl Running {
    pub(super) fn new(plan: &Arc<WorkloadPlan>, generation: u64, now: Instant) -> Self {
        let revision = &plan.pods.revision;
        Self {
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
        }
    }

    /// Goes on towards `plan`.
    pub(super) fn follow(&mut self, plan: &Arc<WorkloadPlan>, generation: u64) {
        self.generation = generation;
        self.plan = plan.clone();
        let revision = &plan.pods.revision;
        for member in self.pods.iter().filter(|it| it.revision == *revision) {
            reconfigure(&member.pod, &plan.pods);
        }
    }

    /// Does what is to be done now; returns whether other pods are there. It decides
    /// once: a pod that it starts counts when callers can find it.
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
        let Allowed {
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

    /// What of `actions` the PodDisruptionBudgets allow. `Recreate` stops all old
    /// pods or none: some that are missing would be a loss without a gain.
    fn allow(&self, actions: Vec<Action>, disruptions: &mut Disruptions<'_>) -> Allowed {
        let member = |target| self.pods.iter().find(|it| it.pod.target == target);
        let is_old = |action: &Action| match action {
            Action::Stop { target } => {
                member(*target).is_some_and(|it| it.revision != self.plan.pods.revision)
            }
            Action::Start { .. } => false,
        };
        let together = match &self.plan.controller {
            Controller::Deployment { rollout, .. } => {
                rollout.method == Method::Recreate && actions.iter().any(is_old)
            }
            Controller::Pod => {
                return Allowed {
                    actions,
                    kept_back_by: None,
                };
            }
            _ => false,
        };
        let namespace = self.plan.pods.identity.namespace.as_str();
        disruptions.allow(actions, together, |target| {
            let pod = &member(target)?.pod;
            pod.is_ready()
                .then_some((namespace, &pod.plan.template.labels))
        })
    }

    /// Tells, once, that a budget keeps it from stopping pods.
    fn keep_back(&mut self, by: Option<String>, kubelet: &Kubelet) {
        if let Some(budget) = &by
            && by != self.kept_back_by
        {
            let message = format!(
                "cannot stop a pod now: the PodDisruptionBudget {budget} does not allow it"
            );
            tracing::info!(workload = %self.plan.object.key(), "{message}");
            let involved = Arc::new(self.plan.involved());
            kubelet
                .recorder()
                .record(&involved, EventType::Normal, KEPT_BACK, &message);
        }
        self.kept_back_by = by;
    }

    fn decide(&mut self, now: Instant) -> Vec<Action> {
        let pods: Vec<_> = self.pods.iter().map(Member::view).collect();
        let newest = &self.plan.pods.revision;
        match &self.plan.controller {
            Controller::Deployment { rollout, .. } => {
                let is_old = |leaving: &Leaving| leaving.pod.plan.revision != *newest;
                let observed = deployment::Observed {
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
                ordinals.next(&stateful_set::Observed {
                    newest,
                    current: &self.current,
                    pods: &pods,
                    leaving: &leaving,
                    now,
                })
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

    /// When something is to be done although no pod changes.
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

    /// Whether it serves as the manifest wants it to. A Pod that has failed for
    /// good is not waited for.
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

    /// Lets every pod leave.
    pub(super) fn end(self, kubelet: &Kubelet) {
        for member in self.pods {
            kubelet.stop(member.pod);
        }
    }

    /// What `status` says.
    pub(super) fn status(&mut self, now: Instant) -> Value {
        let counts = self.counts(now);
        let generation = self.generation;
        match &self.plan.controller {
            Controller::Deployment { rollout, .. } => {
                let set = self.plan.pods.replica_set_name();
                let least = rollout.least_available();
                let kept_back_by = self.kept_back_by.as_deref();
                self.rollout
                    .json(&counts, least, &set, kept_back_by, generation)
            }
            Controller::ReplicaSet { .. } => json!({
                "observedGeneration": generation,
                "replicas": counts.total,
                "fullyLabeledReplicas": counts.total,
                "readyReplicas": counts.ready,
                "availableReplicas": counts.available,
            }),
            Controller::StatefulSet(_) => {
                let name = &self.plan.pods.identity.name;
                let of_current = self.pods.iter().filter(|it| it.revision == self.current);
                json!({
                    "observedGeneration": generation,
                    "replicas": counts.total,
                    "readyReplicas": counts.ready,
                    "availableReplicas": counts.available,
                    "currentReplicas": of_current.count(),
                    "updatedReplicas": counts.updated,
                    "currentRevision": format!("{name}-{}", self.current),
                    "updateRevision": format!("{name}-{}", self.plan.pods.revision),
                })
            }
            Controller::Pod => match self.pods.first() {
                Some(member) => member.pod.object().status,
                None => json!({"phase": "Pending"}),
            },
        }
    }

    /// The revisions of a Deployment.
    pub(super) fn replica_sets(&self, now: Instant) -> Vec<Reported> {
        let Controller::Deployment { rollout, .. } = &self.plan.controller else {
            return Vec::new();
        };
        let sizes = |revision: &str| {
            let mut sizes = Sizes::default();
            for member in self.pods.iter().filter(|it| it.revision == revision) {
                let is_available = member.view().is_available(rollout.min_ready, now);
                sizes.wanted += 1;
                sizes.ready += usize::from(member.pod.is_ready());
                sizes.available += usize::from(is_available);
            }
            sizes
        };
        self.revisions
            .objects(&self.plan, rollout, self.generation, sizes)
    }

    fn counts(&self, now: Instant) -> Counts {
        let min_ready = self.plan.min_ready();
        let mut counts = Counts {
            wanted: self.plan.replicas(),
            total: self.pods.len(),
            ..Counts::default()
        };
        for member in &self.pods {
            let is_updated = member.revision == self.plan.pods.revision;
            let is_available = member.view().is_available(min_ready, now);
            counts.updated += usize::from(is_updated);
            counts.updated_available += usize::from(is_updated && is_available);
            counts.ready += usize::from(member.pod.is_ready());
            counts.available += usize::from(is_available);
        }
        counts
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

impl WorkloadPlan {
    /// How events name the object.
    fn involved(&self) -> Involved {
        Involved::of(&self.object)
    }

    pub(super) fn replicas(&self) -> usize {
        match &self.controller {
            Controller::Deployment { rollout, .. } => rollout.replicas,
            Controller::ReplicaSet { replicas, .. } => *replicas,
            Controller::StatefulSet(ordinals) => ordinals.wanted.len(),
            Controller::Pod => 1,
        }
    }

    /// Pods that have to be available for the workload to be: an update of a
    /// StatefulSet takes one at a time.
    fn least_available(&self) -> usize {
        match &self.controller {
            Controller::Deployment { rollout, .. } => rollout.least_available(),
            Controller::StatefulSet(ordinals) => ordinals.wanted.len().saturating_sub(1),
            Controller::ReplicaSet { .. } | Controller::Pod => self.replicas(),
        }
    }

    fn min_ready(&self) -> Duration {
        match &self.controller {
            Controller::Deployment { rollout, .. } => rollout.min_ready,
            Controller::ReplicaSet { min_ready, .. } => *min_ready,
            Controller::StatefulSet(ordinals) => ordinals.min_ready,
            Controller::Pod => Duration::ZERO,
        }
    }

    fn is_paused(&self) -> bool {
        match &self.controller {
            Controller::Deployment { rollout, .. } => rollout.paused,
            _ => false,
        }
    }
}
