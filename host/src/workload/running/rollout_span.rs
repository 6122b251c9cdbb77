//! The span of a Deployment's rollout: from the change of its template until it is
//! complete, paused, superseded or stuck.

use tracing::Span;

use crate::telemetry::trace::control::{Cause, ControlSpan, control_span};
use crate::telemetry::trace::{attributes, spans};
use crate::workload::controller::progress::Progressing;
use crate::workload::plan::PodPlan;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct RolloutSpan {
    /// The change that began the last rollout.
    cause: Cause,
    /// The rollout that is under way.
    current: Option<Span>,
}

impl RolloutSpan {
    /// Begins the rollout to `pods`, unless it is paused. A rollout can be complete before
    /// its progress is observed for the first time.
    pub(super) fn follow(&mut self, pods: &PodPlan, cause: Cause, paused: bool) {
        self.end("superseded");
        self.cause = cause;
        if !paused {
            self.begin(pods);
        }
    }

    /// Ends the span, or begins another one if the rollout goes on after a pause or after
    /// it was stuck.
    pub(super) fn observe(&mut self, pods: &PodPlan, progressing: Progressing) {
        match progressing {
            Progressing::Underway if self.current.is_none() => self.begin(pods),
            Progressing::Underway => {}
            Progressing::Complete => self.end("complete"),
            Progressing::Paused => self.end("paused"),
            Progressing::DeadlineExceeded => {
                if let Some(span) = self.current.take() {
                    let message = "older pods keep serving; its new pods are not ready";
                    span.fail("ProgressDeadlineExceeded", message);
                }
            }
        }
    }

    fn begin(&mut self, pods: &PodPlan) {
        let span = control_span!(after: self.cause, spans::ROLLOUT);
        span.describe(attributes::NAMESPACE, &pods.identity.namespace);
        span.describe(attributes::DEPLOYMENT, &pods.identity.name);
        span.describe(attributes::REVISION, &pods.revision);
        self.current = Some(span);
    }

    fn end(&mut self, result: &'static str) {
        if let Some(span) = self.current.take() {
            span.set(attributes::RESULT, result);
        }
    }
}

impl Drop for RolloutSpan {
    /// The Deployment is deleted, or the host stops.
    fn drop(&mut self) {
        self.end("stopped");
    }
}
