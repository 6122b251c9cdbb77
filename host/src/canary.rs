//! Canaries: the share of requests that a new version gets, and whether to increase it.
//!
//! The weights of the VirtualService are the only durable state. They are written as
//! the API would write them. Everything else that a run remembers may be lost with the
//! process: a run continues from the weight that it finds.

mod analysis;
mod order;
mod report;
mod run;
mod split;

pub(crate) use order::{Action, Order, OrderPlan, Route, Settings, plan};
pub(crate) use report::{CanaryReport, RuleReport, report};
pub(crate) use run::Phase;
pub(crate) use split::Split;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use galleria_manifest::deployments_behind;
use galleria_manifest::model::{Canary, Destination, Object, ObjectKey, Resource};
use galleria_mesh as mesh;
use serde_json::Value;

use crate::store::{EventType, InvolvedObject, Recorder, Store};
use crate::telemetry::tally::{TalliedDestination, Tallies};
use run::{Run, Step, WeightChange};
use split::{Share, SplitError};

/// The Canary objects and the progress of each.
#[derive(Default)]
pub(crate) struct Canaries {
    runs: BTreeMap<ObjectKey, Run>,
}

/// A weight to write for a canary.
pub(crate) struct Shift {
    pub canary: ObjectKey,
    pub split: Split,
    change: WeightChange,
}

impl Shift {
    /// In percent.
    pub(crate) fn weight(&self) -> u32 {
        self.change.weight
    }
}

impl Canaries {
    /// When the next canary is due for a check.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.runs.values().map(Run::due).min()
    }

    /// Follows the Canaries among `objects` from now on. A Canary whose target has a new
    /// template starts a run.
    pub(crate) fn follow(&mut self, objects: &[Arc<Object>], tallies: &Tallies, now: Instant) {
        let mut known = std::mem::take(&mut self.runs);
        let mut watched = Vec::new();
        for (object, spec) in canaries(objects) {
            let key = object.key();
            let split = split_of(object, spec, objects).ok();
            let template = template(objects, object, spec);
            let run = match known.remove(&key) {
                Some(run) => run.with_template(template, now),
                None => Run::found(split.as_ref(), template, now),
            };
            for of_canary in [true, false] {
                let tally = run.tally(of_canary);
                let shares = split.iter().flat_map(|split| split.shares(of_canary));
                watched.extend(shares.map(|share| TalliedDestination {
                    host: share.host.clone(),
                    subset: share.subset.clone(),
                    tally: tally.clone(),
                }));
            }
            self.runs.insert(key, run);
        }
        // Several rules may name the same destination; its requests count once.
        let of =
            |it: &TalliedDestination| (Arc::as_ptr(&it.tally), it.host.clone(), it.subset.clone());
        watched.sort_by_key(of);
        watched.dedup_by_key(|it| of(it));
        tallies.watch(watched);
    }

    /// Starts a run now.
    pub(crate) fn begin(&mut self, canary: &ObjectKey, now: Instant) {
        if let Some(run) = self.runs.get_mut(canary) {
            run.begin(now);
        }
    }

    /// Checks every canary that is due, and returns the weights to write. `snapshot` is
    /// the routing that is active.
    pub(crate) fn advance(
        &mut self,
        objects: &[Arc<Object>],
        snapshot: &mesh::Snapshot,
        recorder: &Recorder,
        store: &Store,
        now: Instant,
    ) -> Vec<Shift> {
        let mut shifts = Vec::new();
        for (object, spec) in canaries(objects) {
            let key = object.key();
            let Some(run) = self.runs.get_mut(&key).filter(|run| run.due() <= now) else {
                continue;
            };
            run.delay(now + spec.analysis.interval);
            let split = split_of(object, spec, objects);
            let name = format!("{}.{}", key.name, key.namespace);
            match (&split, spec.suspended) {
                (Err(error), _) => run.set_message(&error.to_string()),
                (Ok(_), true) => run.set_message("suspended"),
                (Ok(split), false) => {
                    let ready = is_ready(snapshot, split, &spec.target.value);
                    let failed = run.failed_checks();
                    match run.step(spec, &name, split.weight(), ready, now) {
                        Step::Wait(message) => {
                            if run.failed_checks() > failed {
                                let involved = Arc::new(InvolvedObject::of(object));
                                recorder.record(&involved, EventType::Warning, "Halt", &message);
                                tracing::warn!(canary = %key, "{message}");
                            }
                            run.set_message(&message);
                        }
                        Step::Shift(change) => shifts.push(Shift {
                            canary: key.clone(),
                            split: split.clone(),
                            change,
                        }),
                    }
                }
            }
            run.report(&key, split.as_ref().map_or(0, Split::weight), store);
        }
        shifts
    }

    /// Notes that the weight of `shift` is active.
    pub(crate) fn shifted(
        &mut self,
        shift: &Shift,
        objects: &[Arc<Object>],
        recorder: &Recorder,
        store: &Store,
        now: Instant,
    ) {
        let (key, change) = (&shift.canary, &shift.change);
        let object = objects.iter().find(|object| object.key() == *key);
        if let Some(object) = object {
            let involved = Arc::new(InvolvedObject::of(object));
            recorder.record(&involved, change.kind, change.reason, &change.message);
        }
        tracing::info!(canary = %key, weight = change.weight, "{}", change.message);
        self.settle(
            key,
            change.phase,
            change.weight,
            &change.message,
            store,
            now,
        );
    }

    /// Notes that a canary has this weight from now on, by its own step or by order.
    pub(crate) fn settle(
        &mut self,
        key: &ObjectKey,
        phase: Phase,
        weight: u32,
        message: &str,
        store: &Store,
        now: Instant,
    ) {
        if let Some(run) = self.runs.get_mut(key) {
            run.settle(phase, message, now);
            run.report(key, weight, store);
        }
    }
}

fn canaries(objects: &[Arc<Object>]) -> impl Iterator<Item = (&Object, &Canary)> {
    objects.iter().filter_map(|object| match &object.resource {
        Resource::Canary(spec) => Some((&**object, spec)),
        _ => None,
    })
}

/// The rules and weights that a Canary object controls.
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

/// Whether the services of the canary have a ready pod of the Deployment `target`. A
/// subset without a weight has no cluster yet, so any cluster of the service counts.
fn is_ready(snapshot: &mesh::Snapshot, split: &Split, target: &str) -> bool {
    let services = snapshot.services();
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

/// Why an order cannot be carried out.
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
