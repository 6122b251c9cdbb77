//! A Deployment that runs: its pods, and the rollout between their revisions.

use std::sync::Arc;
use std::time::Instant;

use super::controller::deployment::Observed;
use super::controller::progress::{Counts, Progress, Progressing};
use super::controller::{Action, PodView};
use super::kubelet::{Kubelet, Leaving};
use super::plan::WorkloadPlan;
use super::revisions::{Revisions, Sizes};
use super::status::DeploymentStatus;
use super::{Pod, reconfigure};
use crate::store::Reported;

/// Decisions that follow each other in one step; a rollout that only stops and
/// starts what is there comes to rest after two.
const DECISIONS_MAX: usize = 16;

/// See the module's documentation.
pub(super) struct Running {
    pub(super) plan: Arc<WorkloadPlan>,
    /// `metadata.generation` of what is planned.
    generation: u64,
    /// Those that are not leaving.
    pods: Vec<Arc<Pod>>,
    leaving: Vec<Leaving>,
    revisions: Revisions,
    replicas_before: Option<usize>,
    progress: Progress,
    progressing: Progressing,
    /// Every pod was ready once: from then on, so many must be that the
    /// Deployment is available.
    was_complete: bool,
    status: DeploymentStatus,
}

impl Running {
    pub(super) fn new(plan: &Arc<WorkloadPlan>, generation: u64, now: Instant) -> Self {
        let counts = Counts {
            wanted: plan.rollout.replicas,
            ..Counts::default()
        };
        Self {
            plan: plan.clone(),
            generation,
            pods: Vec::new(),
            leaving: Vec::new(),
            revisions: Revisions::default(),
            replicas_before: None,
            progress: Progress::new(plan.pods.revision.clone(), counts, now),
            progressing: Progressing::Underway,
            was_complete: false,
            status: DeploymentStatus::default(),
        }
    }

    /// Goes on towards `plan`.
    pub(super) fn follow(&mut self, plan: &Arc<WorkloadPlan>, generation: u64) {
        self.generation = generation;
        self.plan = plan.clone();
        let revision = &plan.pods.revision;
        for pod in self
            .pods
            .iter()
            .filter(|pod| pod.plan.revision == *revision)
        {
            reconfigure(pod, &plan.pods);
        }
    }

    /// Does what is to be done now; returns whether other pods are there.
    pub(super) fn step(&mut self, kubelet: &mut Kubelet, now: Instant) -> bool {
        self.leaving.retain(|leaving| !leaving.is_gone());
        if !self.plan.rollout.paused || self.revisions.newest() == 0 {
            self.revisions.take(&self.plan);
        }
        let mut changed = false;
        for _ in 0..DECISIONS_MAX {
            let actions = self.decide(now);
            if actions.is_empty() {
                break;
            }
            changed = true;
            for action in actions {
                self.act(action, kubelet);
            }
        }
        let limit = self.plan.revision_history_limit;
        let pods = &self.pods;
        self.revisions.trim(limit, |hash| {
            pods.iter().any(|pod| pod.plan.revision == hash)
        });
        self.observe(now);
        changed
    }

    fn decide(&mut self, now: Instant) -> Vec<Action> {
        let pods: Vec<_> = self.pods.iter().map(view).collect();
        let newest = &self.plan.pods.revision;
        let is_old = |leaving: &&Leaving| leaving.pod.plan.revision != *newest;
        let observed = Observed {
            newest,
            pods: &pods,
            old_leaving: self.leaving.iter().filter(is_old).count(),
            replicas_before: self.replicas_before,
            now,
        };
        let actions = self.plan.rollout.next(&observed);
        self.replicas_before = Some(self.plan.rollout.replicas);
        actions
    }

    fn act(&mut self, action: Action, kubelet: &mut Kubelet) {
        match action {
            Action::Start { revision } => {
                let known = self.revisions.plan(&revision).unwrap_or(&self.plan.pods);
                self.pods.push(kubelet.start(known.clone()));
            }
            Action::Stop { target } => {
                let found = self.pods.iter().position(|pod| pod.target == target);
                if let Some(found) = found {
                    self.leaving.push(kubelet.stop(self.pods.remove(found)));
                }
            }
        }
    }

    /// Takes notice of how far the rollout is, and tells it.
    fn observe(&mut self, now: Instant) {
        let counts = self.counts(now);
        let plan = &self.plan;
        let (revision, paused) = (&plan.pods.revision, plan.rollout.paused);
        let deadline = plan.progress_deadline;
        let before = self.progressing;
        self.progressing = self
            .progress
            .observe(revision, counts, deadline, paused, now);
        self.was_complete |= counts.ready >= counts.wanted && counts.total > 0;
        if self.progressing == before {
            return;
        }
        let (namespace, deployment) = (&plan.pods.identity.namespace, &plan.pods.identity.name);
        match self.progressing {
            Progressing::Underway => {
                tracing::info!(namespace, deployment, revision, "rolling out");
            }
            Progressing::Complete => {
                tracing::info!(namespace, deployment, revision, "rolled out");
            }
            Progressing::Paused => {
                tracing::info!(namespace, deployment, "the rollout is paused");
            }
            Progressing::DeadlineExceeded => tracing::error!(
                namespace,
                deployment,
                revision,
                reason = "ProgressDeadlineExceeded",
                updated = counts.updated,
                available = counts.available,
                "the rollout does not get on; older pods keep serving: see why its new pods are \
                 not ready, then change the template or go back"
            ),
        }
    }

    /// When something is to be done although no pod changes.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let min_ready = self.plan.rollout.min_ready;
        let available = self
            .pods
            .iter()
            .filter_map(|pod| Some(pod.ready_since()? + min_ready));
        let deadline = self.progress.due(self.plan.progress_deadline);
        let coming = |due: &Instant| *due > now;
        available.chain(deadline).filter(coming).min()
    }

    /// Whether it serves as the manifest wants it to.
    pub(super) fn is_ready(&self) -> bool {
        let ready = self.pods.iter().filter(|pod| pod.is_ready()).count();
        let rollout = &self.plan.rollout;
        if self.was_complete {
            ready >= rollout.least_available()
        } else {
            ready >= rollout.replicas || (rollout.paused && self.pods.is_empty())
        }
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter()
    }

    /// Lets every pod leave.
    pub(super) fn end(self, kubelet: &Kubelet) {
        for pod in self.pods {
            kubelet.stop(pod);
        }
    }

    /// What `status` says.
    pub(super) fn status(&mut self, now: Instant) -> serde_json::Value {
        let counts = self.counts(now);
        let set = self.plan.pods.replica_set_name();
        let least = self.plan.rollout.least_available();
        self.status
            .json(&counts, least, self.progressing, &set, self.generation)
    }

    /// Its revisions.
    pub(super) fn replica_sets(&self, now: Instant) -> Vec<Reported> {
        let min_ready = self.plan.rollout.min_ready;
        let sizes = |revision: &str| {
            let mut sizes = Sizes::default();
            for pod in self.pods.iter().filter(|pod| pod.plan.revision == revision) {
                sizes.wanted += 1;
                sizes.ready += usize::from(pod.is_ready());
                sizes.available += usize::from(view(pod).is_available(min_ready, now));
            }
            sizes
        };
        self.revisions.objects(&self.plan, self.generation, sizes)
    }

    fn counts(&self, now: Instant) -> Counts {
        let min_ready = self.plan.rollout.min_ready;
        let mut counts = Counts {
            wanted: self.plan.rollout.replicas,
            total: self.pods.len(),
            ..Counts::default()
        };
        for pod in &self.pods {
            let is_updated = pod.plan.revision == self.plan.pods.revision;
            let is_available = view(pod).is_available(min_ready, now);
            counts.updated += usize::from(is_updated);
            counts.updated_available += usize::from(is_updated && is_available);
            counts.ready += usize::from(pod.is_ready());
            counts.available += usize::from(is_available);
        }
        counts
    }
}

fn view(pod: &Arc<Pod>) -> PodView {
    PodView {
        target: pod.target,
        revision: pod.plan.revision.clone(),
        ready_since: pod.ready_since(),
    }
}
