//! What happens in a pod's guests, told to the log, the metrics, the pod's
//! status and its events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use prometheus::IntCounter;
use serde::Serialize;

use super::plan::PodPlan;
use super::pod::Life;
use super::recorder::EventType;
use crate::guest::{Failure, GuestEvents, Stream};
use crate::telemetry::access_log::timestamp;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::Sink;

/// One pod's ear.
pub(super) struct PodEvents {
    plan: Arc<PodPlan>,
    pod: String,
    metrics: Arc<Metrics>,
    sink: Sink,
    life: Arc<Life>,
    failures: Mutex<HashMap<&'static str, IntCounter>>,
}

/// A line that a guest printed.
#[derive(Serialize)]
struct GuestLine<'a> {
    time: String,
    namespace: &'a str,
    workload: &'a str,
    pod: &'a str,
    stream: &'static str,
    /// Of the request that the guest serves, where it serves one at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    message: &'a str,
}

impl PodEvents {
    pub(super) fn new(
        plan: Arc<PodPlan>,
        pod: String,
        metrics: Arc<Metrics>,
        sink: Sink,
        life: Arc<Life>,
    ) -> Self {
        Self {
            plan,
            pod,
            metrics,
            sink,
            life,
            failures: Mutex::default(),
        }
    }
}

impl GuestEvents for PodEvents {
    fn line(&self, stream: Stream, line: &str, trace: Option<u128>) {
        self.life.log.push(line);
        let identity = &self.plan.identity;
        let line = GuestLine {
            time: timestamp(SystemTime::now()),
            namespace: &identity.namespace,
            workload: &identity.name,
            pod: &self.pod,
            stream: match stream {
                Stream::Stdout => "stdout",
                Stream::Stderr => "stderr",
            },
            trace_id: trace.map(|trace| format!("{trace:032x}")),
            message: line,
        };
        match serde_json::to_vec(&line) {
            Ok(json) => self.sink.line(&json),
            Err(error) => tracing::error!(%error, "a guest's line could not be written"),
        }
    }

    fn failed(&self, failure: &Failure) {
        let reason = failure.reason();
        let identity = &self.plan.identity;
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures
            .entry(reason)
            .or_insert_with(|| {
                self.metrics.guest_failures.with_label_values(&[
                    &identity.namespace,
                    &identity.name,
                    &self.pod,
                    reason,
                ])
            })
            .inc();
        drop(failures);
        // Overflow is the caller's news: it is in the access log of every call.
        if matches!(failure, Failure::Overflow) {
            return;
        }
        let text = failure.to_string();
        if failure.ends_instance() {
            self.life.ended(reason, &text);
        }
        self.life.record(EventType::Warning, reason, &text);
        tracing::warn!(
            namespace = identity.namespace,
            workload = identity.name,
            pod = self.pod,
            reason,
            "{text}"
        );
    }
}
