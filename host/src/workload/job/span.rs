//! The spans of a run of a Job and of its pods.

use tracing::Span;

use super::PodExit;
use super::progress::JobFailure;
use crate::telemetry::trace::control::{Cause, ControlSpan, control_span};
use crate::telemetry::trace::{attributes, spans};
use crate::workload::WorkloadKey;

/// The span of a run, from its start until the Job is complete, has failed or is stopped.
#[derive(Default)]
pub(super) struct JobSpan {
    /// The change that began the Job; none for a Job of a CronJob.
    cause: Cause,
    span: Option<Span>,
}

impl JobSpan {
    pub(super) fn after(cause: Cause) -> Self {
        Self { cause, span: None }
    }

    /// Begins the span, unless it has begun.
    pub(super) fn begin(&mut self, job: &WorkloadKey) {
        self.span.get_or_insert_with(|| {
            let span = control_span!(after: self.cause, spans::JOB);
            span.describe(attributes::NAMESPACE, &job.namespace);
            span.describe(attributes::JOB_NAME, &job.name);
            span
        });
    }

    /// A span of the pod `name` of the Job.
    pub(super) fn pod(&self, name: &str) -> Span {
        let parent = self.span.as_ref().and_then(Span::id);
        let span = control_span!(parent: parent, spans::JOB_POD);
        span.describe(attributes::POD, name);
        span
    }

    /// Ends the span; `failure` is why the Job failed.
    pub(super) fn end(&mut self, failure: Option<&JobFailure>) {
        let Some(span) = self.span.take() else {
            return;
        };
        match failure {
            None => span.set(attributes::RESULT, "complete"),
            Some(failure) => span.fail(&failure.reason, &failure.message),
        }
    }
}

impl Drop for JobSpan {
    /// The Job is deleted or changed, or the host stops.
    fn drop(&mut self) {
        if let Some(span) = &self.span {
            span.set(attributes::RESULT, "stopped");
        }
    }
}

/// Sets how the last run of a pod ended.
pub(super) fn end_pod(span: &Span, exit: &PodExit) {
    span.set(attributes::EXIT_CODE, i64::from(exit.code));
    if exit.code != 0 {
        span.fail(exit.reason, &exit.message);
    }
}
