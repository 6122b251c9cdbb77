//! One canary's run: its phase, its checks, and the step that follows from them.

use std::sync::Arc;
use std::time::Instant;

use galleria_manifest::model::{Canary, ObjectKey};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::analysis::{Verdict, judge};
use super::split::Split;
use crate::store::{EventType, Store};
use crate::telemetry::tally::{RequestCounts, Tally};

/// Flagger's phases, as far as they exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No run has started.
    Initialized,
    Progressing,
    Succeeded,
    Failed,
}

/// See the module's documentation.
pub(super) struct Run {
    phase: Phase,
    /// `spec.template` of the target; a new one starts a run.
    template: Value,
    /// The next step starts a run.
    begins: bool,
    failed_checks: u32,
    /// When the weight changed last.
    since: Instant,
    due: Instant,
    changed: Timestamp,
    /// The result of the last check.
    message: String,
    canary: Arc<Tally>,
    stable: Arc<Tally>,
}

/// The next step of a run.
pub(super) enum Step {
    Wait(String),
    Shift(WeightChange),
}

/// A new weight, and what becomes true with it.
pub(super) struct WeightChange {
    pub(super) weight: u32,
    pub(super) phase: Phase,
    pub(super) kind: EventType,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Run {
    /// The state of a run of which only the weight is known.
    pub(super) fn found(split: Option<&Split>, template: Value, now: Instant) -> Self {
        let phase = match split.map_or(0, Split::weight) {
            0 => Phase::Initialized,
            100 => Phase::Succeeded,
            _ => Phase::Progressing,
        };
        Self {
            phase,
            template,
            begins: false,
            failed_checks: 0,
            since: now,
            due: now,
            changed: Timestamp::now(),
            message: "no check has run yet".to_owned(),
            canary: Arc::default(),
            stable: Arc::default(),
        }
    }

    /// This run, or a new one where `template` differs.
    pub(super) fn with_template(self, template: Value, now: Instant) -> Self {
        match self.template == template {
            true => self,
            false => Self {
                template,
                begins: true,
                due: now,
                ..self
            },
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.begins = true;
        self.due = now;
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn delay(&mut self, due: Instant) {
        self.due = due;
    }

    pub(super) fn failed_checks(&self) -> u32 {
        self.failed_checks
    }

    pub(super) fn set_message(&mut self, message: &str) {
        message.clone_into(&mut self.message);
    }

    /// The counts of the canary, or of the stable version.
    pub(super) fn tally(&self, of_canary: bool) -> &Arc<Tally> {
        match of_canary {
            true => &self.canary,
            false => &self.stable,
        }
    }

    /// Notes that the weight has changed.
    pub(super) fn settle(&mut self, phase: Phase, message: &str, now: Instant) {
        if self.begins || (self.phase != Phase::Progressing && phase == Phase::Progressing) {
            self.failed_checks = 0;
        }
        self.begins = false;
        self.phase = phase;
        self.since = now;
        self.changed = Timestamp::now();
        self.set_message(message);
        self.reset();
    }

    /// Decides the next step of a canary that has `weight` percent now.
    pub(super) fn step(
        &mut self,
        spec: &Canary,
        name: &str,
        weight: u32,
        ready: bool,
        now: Instant,
    ) -> Step {
        let analysis = &spec.analysis;
        let overdue = now.duration_since(self.since) > spec.progress_deadline;
        if !self.begins && self.phase != Phase::Progressing {
            return Step::Wait(
                match self.phase {
                    Phase::Initialized => "waiting for a new revision, or `galleria canary start`",
                    _ => "finished; waiting for a new revision, or `galleria canary start`",
                }
                .to_owned(),
            );
        }
        if self.begins || weight == 0 {
            return match (ready, spec.skip_analysis) {
                (false, _) if overdue && !self.begins => rollback(
                    name,
                    "progress deadline exceeded: no pod of the canary is ready",
                ),
                (false, _) => Step::Wait(format!(
                    "Halt {name} advancement no pod of the canary is ready"
                )),
                (true, true) => promoted(name),
                (true, false) => advance(name, analysis.weights.first().copied().unwrap_or(100)),
            };
        }
        let verdict = match ready {
            true => judge(
                &analysis.metrics,
                &self.canary.observed(),
                &self.stable.observed(),
            ),
            false => Verdict::Fail("no pod of the canary is ready".to_owned()),
        };
        match verdict {
            Verdict::Pass => {
                let next = analysis.weights.iter().find(|next| **next > weight);
                next.map_or_else(|| promoted(name), |next| advance(name, *next))
            }
            Verdict::Undecided(text) if overdue => {
                rollback(name, &format!("progress deadline exceeded: {text}"))
            }
            Verdict::Undecided(text) => Step::Wait(text),
            Verdict::Fail(text) => {
                self.failed_checks += 1;
                if self.failed_checks >= analysis.threshold {
                    let failed = self.failed_checks;
                    let text = format!("failed checks threshold reached {failed}: {text}");
                    return rollback(name, &text);
                }
                self.reset();
                Step::Wait(format!("Halt {name} advancement {text}"))
            }
        }
    }

    fn reset(&self) {
        self.canary.reset();
        self.stable.reset();
    }

    /// Writes the status of the Canary object.
    pub(super) fn report(&self, key: &ObjectKey, weight: u32, store: &Store) {
        let (promoted, reason) = match self.phase {
            Phase::Initialized => ("Unknown", "Initialized"),
            Phase::Progressing => ("Unknown", "Progressing"),
            Phase::Succeeded => ("True", "Succeeded"),
            Phase::Failed => ("False", "Failed"),
        };
        let changed = self.changed.to_string();
        let status = json!({
            "phase": reason,
            "canaryWeight": weight,
            "failedChecks": self.failed_checks,
            "iterations": 0,
            "lastTransitionTime": changed,
            "conditions": [{
                "type": "Promoted",
                "status": promoted,
                "reason": reason,
                "message": self.message,
                "lastTransitionTime": changed,
                "lastUpdateTime": changed,
            }],
            "observed": {
                "canary": observed(&self.canary.observed()),
                "stable": observed(&self.stable.observed()),
            },
        });
        store.set_status(key, status);
    }
}

fn advance(name: &str, weight: u32) -> Step {
    Step::Shift(WeightChange {
        weight,
        phase: Phase::Progressing,
        kind: EventType::Normal,
        reason: "Advance",
        message: format!("Advance {name} canary weight {weight}"),
    })
}

fn promoted(name: &str) -> Step {
    Step::Shift(WeightChange {
        weight: 100,
        phase: Phase::Succeeded,
        kind: EventType::Normal,
        reason: "Promoted",
        message: format!("Promotion completed! {name}"),
    })
}

fn rollback(name: &str, why: &str) -> Step {
    Step::Shift(WeightChange {
        weight: 0,
        phase: Phase::Failed,
        kind: EventType::Warning,
        reason: "RolledBack",
        message: format!("Rolling back {name} {why}"),
    })
}

fn observed(observed: &RequestCounts) -> Value {
    let millis = |quantile| observed.durations.value_at_quantile(quantile) as f64 / 1_000.0;
    json!({
        "requests": observed.requests,
        "failures": observed.failures,
        "medianMilliseconds": millis(0.5),
        "p99Milliseconds": millis(0.99),
    })
}
