//! Canaries: which share of the requests a new version gets, and whether it may have
//! more.
//!
//! The weights of a VirtualService are the truth: they are written as the API would
//! write them, and what a run remembers besides them may be lost with the process. A
//! run goes on from the weight that it finds.

mod analysis;
mod order;
mod report;
mod split;

pub(crate) use order::{Action, Order, Planned, Route, Settings, plan};
pub(crate) use report::{CanaryReport, RuleReport, report};
pub(crate) use split::Split;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use galleria_manifest::deployments_behind;
use galleria_manifest::model::{Canary, Destination, Object, ObjectKey, Resource};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::active_config::ActiveConfig;
use crate::store::Store;
use crate::telemetry::tally::{Observed, Tallies, Tally, Watched};
use crate::workload::{EventType, Involved, Recorder};
use analysis::{Verdict, judge};
use split::{Share, SplitError};

/// The Canary objects and how far each of them is.
#[derive(Default)]
pub(crate) struct Canaries {
    runs: BTreeMap<ObjectKey, Run>,
}

/// Flagger's phases, as far as there are any here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing was begun.
    Initialized,
    Progressing,
    Succeeded,
    Failed,
}

struct Run {
    phase: Phase,
    /// `spec.template` of the target: another one begins a run.
    template: Value,
    /// Begins with the next step.
    begins: bool,
    failed_checks: u32,
    /// When the weight was changed last.
    since: Instant,
    due: Instant,
    changed: Timestamp,
    /// What the last check said.
    message: String,
    canary: Arc<Tally>,
    stable: Arc<Tally>,
}

/// A weight to be written, and what is true when it is.
pub(crate) struct Shift {
    pub canary: ObjectKey,
    pub split: Split,
    pub weight: u32,
    phase: Phase,
    kind: EventType,
    reason: &'static str,
    message: String,
}

/// What a canary may do next.
enum Step {
    Wait(String),
    Shift {
        weight: u32,
        phase: Phase,
        kind: EventType,
        reason: &'static str,
        message: String,
    },
}

impl Canaries {
    /// When the next of them is to be looked at.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.runs.values().map(|run| run.due).min()
    }

    /// Follows the Canaries among `objects` from now on. One whose target has another
    /// template than before begins.
    pub(crate) fn follow(&mut self, objects: &[Arc<Object>], tallies: &Tallies, now: Instant) {
        let mut known = std::mem::take(&mut self.runs);
        let mut watched = Vec::new();
        for (object, spec) in canaries(objects) {
            let key = object.key();
            let split = split_of(object, spec, objects).ok();
            let template = template(objects, object, spec);
            let run = match known.remove(&key) {
                Some(run) if run.template == template => run,
                Some(run) => Run {
                    template,
                    begins: true,
                    due: now,
                    ..run
                },
                None => Run::found(split.as_ref(), template, now),
            };
            for of_canary in [true, false] {
                let tally = if of_canary { &run.canary } else { &run.stable };
                let shares = split.iter().flat_map(|split| split.shares(of_canary));
                watched.extend(shares.map(|share| Watched {
                    host: share.host.clone(),
                    subset: share.subset.clone(),
                    tally: tally.clone(),
                }));
            }
            self.runs.insert(key, run);
        }
        // Rules may name the same destination: its requests count once.
        let of = |it: &Watched| (Arc::as_ptr(&it.tally), it.host.clone(), it.subset.clone());
        watched.sort_by_key(of);
        watched.dedup_by_key(|it| of(it));
        tallies.watch(watched);
    }

    /// Begins a run now.
    pub(crate) fn begin(&mut self, canary: &ObjectKey, now: Instant) {
        if let Some(run) = self.runs.get_mut(canary) {
            run.begins = true;
            run.due = now;
        }
    }

    /// Looks at every canary that is due, and says which weights to change.
    pub(crate) fn advance(
        &mut self,
        objects: &[Arc<Object>],
        live: &ActiveConfig,
        recorder: &Recorder,
        store: &Store,
        now: Instant,
    ) -> Vec<Shift> {
        let mut shifts = Vec::new();
        for (object, spec) in canaries(objects) {
            let key = object.key();
            let Some(run) = self.runs.get_mut(&key).filter(|run| run.due <= now) else {
                continue;
            };
            run.due = now + spec.analysis.interval;
            let split = split_of(object, spec, objects);
            let name = format!("{}.{}", key.name, key.namespace);
            match (&split, spec.suspended) {
                (Err(error), _) => run.message = error.to_string(),
                (Ok(_), true) => "suspended".clone_into(&mut run.message),
                (Ok(split), false) => {
                    let ready = is_ready(live, split, &spec.target.value);
                    let failed = run.failed_checks;
                    match run.step(spec, &name, split.weight(), ready, now) {
                        Step::Wait(message) => {
                            if run.failed_checks > failed {
                                let involved = Arc::new(Involved::of(object));
                                recorder.record(&involved, EventType::Warning, "Halt", &message);
                                tracing::warn!(canary = %key, "{message}");
                            }
                            run.message = message;
                        }
                        Step::Shift {
                            weight,
                            phase,
                            kind,
                            reason,
                            message,
                        } => shifts.push(Shift {
                            canary: key.clone(),
                            split: split.clone(),
                            weight,
                            phase,
                            kind,
                            reason,
                            message,
                        }),
                    }
                }
            }
            run.report(&key, split.as_ref().map_or(0, Split::weight), store);
        }
        shifts
    }

    /// The weight of `shift` is in force.
    pub(crate) fn shifted(
        &mut self,
        shift: &Shift,
        objects: &[Arc<Object>],
        recorder: &Recorder,
        store: &Store,
        now: Instant,
    ) {
        let key = &shift.canary;
        let object = objects.iter().find(|object| object.key() == *key);
        if let Some(object) = object {
            let involved = Arc::new(Involved::of(object));
            recorder.record(&involved, shift.kind, shift.reason, &shift.message);
        }
        tracing::info!(canary = %key, weight = shift.weight, "{}", shift.message);
        self.settle(key, shift.phase, shift.weight, &shift.message, store, now);
    }

    /// A canary has this weight from now on, by a step of its own or by order.
    pub(crate) fn settle(
        &mut self,
        key: &ObjectKey,
        phase: Phase,
        weight: u32,
        message: &str,
        store: &Store,
        now: Instant,
    ) {
        let Some(run) = self.runs.get_mut(key) else {
            return;
        };
        if run.begins || (run.phase != Phase::Progressing && phase == Phase::Progressing) {
            run.failed_checks = 0;
        }
        run.begins = false;
        run.phase = phase;
        run.since = now;
        run.changed = Timestamp::now();
        message.clone_into(&mut run.message);
        run.reset();
        run.report(key, weight, store);
    }
}

impl Run {
    /// How far a run is of which nothing is known but the weight.
    fn found(split: Option<&Split>, template: Value, now: Instant) -> Self {
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

    /// What to do with a canary that has `weight` percent now.
    fn step(&mut self, spec: &Canary, name: &str, weight: u32, ready: bool, now: Instant) -> Step {
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

    fn report(&self, key: &ObjectKey, weight: u32, store: &Store) {
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
                "canary": seen(&self.canary.observed()),
                "stable": seen(&self.stable.observed()),
            },
        });
        store.set_status(key, status);
    }
}

fn advance(name: &str, weight: u32) -> Step {
    Step::Shift {
        weight,
        phase: Phase::Progressing,
        kind: EventType::Normal,
        reason: "Advance",
        message: format!("Advance {name} canary weight {weight}"),
    }
}

fn promoted(name: &str) -> Step {
    Step::Shift {
        weight: 100,
        phase: Phase::Succeeded,
        kind: EventType::Normal,
        reason: "Promoted",
        message: format!("Promotion completed! {name}"),
    }
}

fn rollback(name: &str, why: &str) -> Step {
    Step::Shift {
        weight: 0,
        phase: Phase::Failed,
        kind: EventType::Warning,
        reason: "RolledBack",
        message: format!("Rolling back {name} {why}"),
    }
}

fn seen(observed: &Observed) -> Value {
    let millis = |quantile| observed.durations.value_at_quantile(quantile) as f64 / 1_000.0;
    json!({
        "requests": observed.requests,
        "failures": observed.failures,
        "medianMilliseconds": millis(0.5),
        "p99Milliseconds": millis(0.99),
    })
}

fn canaries(objects: &[Arc<Object>]) -> impl Iterator<Item = (&Object, &Canary)> {
    objects.iter().filter_map(|object| match &object.resource {
        Resource::Canary(spec) => Some((&**object, spec)),
        _ => None,
    })
}

/// What a Canary object shifts.
fn split_of(object: &Object, spec: &Canary, objects: &[Arc<Object>]) -> Result<Split, CanaryError> {
    let namespace = &object.metadata.namespace;
    let service = find_service(objects, namespace, &spec.route.value)?;
    let target = &spec.target.value;
    let is_target = |destination: &Destination| {
        let found = deployments_behind(objects, namespace, destination);
        found.len() == 1 && found.iter().all(|key| key.name == *target)
    };
    let rule = spec.rule.as_ref().map(|name| name.value.as_str());
    Ok(Split::of(service, rule, target, is_target)?)
}

fn find_service<'a>(
    objects: &'a [Arc<Object>],
    namespace: &str,
    name: &str,
) -> Result<&'a Object, CanaryError> {
    let services = objects
        .iter()
        .filter(|it| matches!(it.resource, Resource::VirtualService(_)));
    let mut named =
        services.filter(|it| it.metadata.name.value == name && it.metadata.namespace == namespace);
    named
        .next()
        .map(|it| &**it)
        .ok_or_else(|| CanaryError::NoService {
            name: format!("{namespace}/{name}"),
        })
}

fn template(objects: &[Arc<Object>], canary: &Object, spec: &Canary) -> Value {
    let target = objects.iter().find(|it| {
        it.kind == "Deployment"
            && it.metadata.namespace == canary.metadata.namespace
            && it.metadata.name.value == spec.target.value
    });
    target.map_or(Value::Null, |it| it.written_template().clone())
}

/// Whether the services of the canary have a pod of the Deployment `target` that takes
/// requests. Subsets that get nothing have no cluster yet: any of the service will do.
fn is_ready(live: &ActiveConfig, split: &Split, target: &str) -> bool {
    let services = live.snapshot.services();
    let is_ready = |share: &Share| {
        let of_host = services.iter().filter(|it| it.fqdn == share.host);
        let clusters = of_host.flat_map(|it| &it.clusters);
        let mut endpoints = clusters.flat_map(|it| it.endpoints());
        endpoints.any(|it| {
            let of_target = it.workload.as_ref().is_some_and(|it| it.name == target);
            of_target && it.is_ready()
        })
    };
    split.shares(true).all(is_ready)
}

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CanaryError {
    #[error("there is no VirtualService {name}; `kubectl get virtualservices -A` lists them")]
    NoService { name: String },
    #[error("there are several VirtualServices named `{name}`: {found}; use one of these")]
    Ambiguous { name: String, found: String },
    #[error(transparent)]
    Split(#[from] SplitError),
    #[error(
        "the pods of the canary ({canary}) belong to {count} Deployments, but an analysis covers \
         only one: give its subset labels that only one of them has"
    )]
    NoTarget { canary: String, count: usize },
}
