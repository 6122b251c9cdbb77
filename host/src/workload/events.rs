//! Log lines and failures of a pod's guests, which go to the log, the metrics, the pod's
//! status and its events.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::failure_log::FailureLog;
use super::plan::PodPlan;
use super::pod::Life;
use crate::guest::{Failure, GuestEvents, GuestLine, Origin};
use crate::store::EventType;
use crate::telemetry::guest_log::GuestLogLine;
use crate::telemetry::metrics::PodMeters;
use crate::telemetry::readable;
use crate::telemetry::sink::Share;

/// Receives what happens in the guests of one pod.
pub(super) struct PodEvents {
    plan: Arc<PodPlan>,
    pod: String,
    meters: Arc<PodMeters>,
    sink: Share,
    /// Whether lines are written as text instead of JSON.
    readable: bool,
    life: Arc<Life>,
    failures: FailureLog,
}

impl PodEvents {
    pub(super) fn new(
        plan: Arc<PodPlan>,
        pod: String,
        meters: Arc<PodMeters>,
        sink: Share,
        readable: bool,
        life: Arc<Life>,
    ) -> Self {
        Self {
            plan,
            pod,
            meters,
            sink,
            readable,
            life,
            failures: FailureLog::default(),
        }
    }
}

impl GuestEvents for PodEvents {
    fn line(&self, line: &GuestLine<'_>) {
        let (stream, level, context) = match line.origin {
            Origin::Stdout => ("stdout", None, ""),
            Origin::Stderr => ("stderr", None, ""),
            Origin::Log { level, context } => ("log", Some(level.name()), context),
        };
        match level {
            None => self.life.log.push(line.text),
            Some(level) => self.life.log.push(&logged(level, context, line.text)),
        }
        let identity = &self.plan.identity;
        let now = Timestamp::now();
        if self.readable {
            let origin = level.unwrap_or(stream);
            let text = readable::guest(now, &identity.name, origin, line.text);
            return self.sink.line(text.as_bytes());
        }
        let line = GuestLogLine {
            time: format!("{now:.3}"),
            namespace: &identity.namespace,
            workload: &identity.name,
            pod: &self.pod,
            stream,
            level,
            context,
            trace_id: line.trace.map(|trace| format!("{trace:032x}")),
            message: line.text,
        };
        match serde_json::to_vec(&line) {
            Ok(json) => self.sink.line(&json),
            Err(error) => tracing::error!(%error, "cannot write a log line of a guest"),
        }
    }

    fn failed(&self, failure: &Failure) {
        let reason = failure.reason();
        let identity = &self.plan.identity;
        self.meters.failed(reason);
        // The access log reports an overflow with each call that it rejects.
        if matches!(failure, Failure::Overflow) {
            return;
        }
        let text = failure.to_string();
        if failure.ends_instance() {
            self.life.ended(reason, &text);
        }
        self.life.record(EventType::Warning, reason, &text);
        let Some(left_out) = self.failures.admit(Instant::now()) else {
            return;
        };
        let left_out = (left_out > 0).then_some(left_out);
        tracing::warn!(
            left_out,
            namespace = identity.namespace,
            workload = identity.name,
            pod = self.pod,
            reason,
            "{text}"
        );
    }
}

/// A line of `wasi:logging`, as `kubectl logs` shows it.
fn logged(level: &str, context: &str, text: &str) -> String {
    let text = text.replace('\n', " ");
    let level = level.to_uppercase();
    match context {
        "" => format!("{level} {text}"),
        context => format!("{level} {context}: {text}"),
    }
}
