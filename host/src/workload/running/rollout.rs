//! The progress of a Deployment's rollout, in the log and in its status.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::rollout_span::RolloutSpan;
use crate::telemetry::trace::control::Cause;
use crate::workload::controller::progress::{Counts, Progress, Progressing};
use crate::workload::plan::PodPlan;
use crate::workload::status::DeploymentStatus;

/// See the module's documentation.
pub(super) struct RolloutState {
    progress: Progress,
    progressing: Progressing,
    status: DeploymentStatus,
    span: RolloutSpan,
}

impl RolloutState {
    pub(super) fn new(revision: &str, wanted: usize, now: Instant) -> Self {
        let counts = Counts {
            wanted,
            ..Counts::default()
        };
        Self {
            progress: Progress::new(revision.to_owned(), counts, now),
            progressing: Progressing::Underway,
            status: DeploymentStatus::default(),
            span: RolloutSpan::default(),
        }
    }

    /// Begins the span of a rollout, below the change `cause`.
    pub(super) fn begin(&mut self, pods: &PodPlan, cause: Cause, paused: bool) {
        self.span.follow(pods, cause, paused);
    }

    /// Updates the progress, and logs when it changes.
    pub(super) fn observe(
        &mut self,
        pods: &PodPlan,
        counts: Counts,
        deadline: Duration,
        paused: bool,
        now: Instant,
    ) {
        let revision = &pods.revision;
        let before = self.progressing;
        self.progressing = self
            .progress
            .observe(revision, counts, deadline, paused, now);
        self.span.observe(pods, self.progressing);
        if self.progressing == before {
            return;
        }
        let (namespace, deployment) = (&pods.identity.namespace, &pods.identity.name);
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
                "the rollout is stuck; older pods keep serving: check why its new pods are not \
                 ready, then change the template or roll back"
            ),
        }
    }

    pub(super) fn due(&self, deadline: Duration) -> Option<Instant> {
        self.progress.due(deadline)
    }

    pub(super) fn json(
        &mut self,
        counts: &Counts,
        least_available: usize,
        replica_set: &str,
        kept_back_by: Option<&str>,
        generation: u64,
    ) -> Value {
        let progressing = self.progressing;
        self.status.json(
            counts,
            least_available,
            progressing,
            replica_set,
            kept_back_by,
            generation,
        )
    }
}
