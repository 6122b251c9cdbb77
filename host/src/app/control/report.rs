//! What the control loop reports to the store, the status and the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_manifest::Diagnostic;
use galleria_manifest::model::{Exposure, Object, ObjectKey, Quantities, Resource};

use super::stage::StagedChange;
use super::{Control, RejectedChange};
use crate::app::desired::{ApiOverride, DesiredState};
use crate::app::{claims, cluster, conditions};
use crate::listen::BoundListener;
use crate::status::WrittenReport;
use crate::store::{EventType, InvolvedObject, owner_of};

/// How often events that are too old are removed.
const REFRESH: Duration = Duration::from_secs(60);

/// What pods, endpoints and events in the store were created from. Everything that changes a
/// pod changes one of the numbers: its readiness and phase the first, a failure the second.
#[derive(Debug, Clone, Copy)]
pub(in crate::app) struct Reported {
    pods: u64,
    events: u64,
    at: Instant,
}

impl Reported {
    /// Whether the store still needs no update at the time of `now`.
    fn is_current(&self, now: &Self) -> bool {
        let same = self.pods == now.pods && self.events == now.events;
        same && now.at.duration_since(self.at) < REFRESH
    }
}

impl Control {
    /// Reports whether the changed objects of a source were applied. `name` is what
    /// messages call them.
    pub(super) fn report_reload(&self, name: &str, applied: Result<(), RejectedChange>) {
        let health = &self.reporting.health;
        let result = match applied {
            Ok(()) => {
                health.set_rejected(Vec::new());
                tracing::info!("the changed {name} are active");
                "accepted"
            }
            Err(rejected) => {
                let problems = rejected.problems();
                for problem in &problems {
                    tracing::error!("{problem}");
                }
                tracing::error!(
                    "the changed {name} were rejected; keeping the previous configuration"
                );
                health.set_rejected(problems);
                "rejected"
            }
        };
        let reloads = &self.data_plane.mesh.metrics.reloads;
        reloads.with_label_values(&[result]).inc();
    }

    /// Writes the state of workloads, revisions and pods to the store, and their events.
    pub(super) fn report_status(&mut self) {
        let reported = Reported {
            pods: *self.controllers.workloads.changes().borrow(),
            events: self.reporting.recorder.recorded(),
            at: Instant::now(),
        };
        let before = self.reporting.reported;
        if !before.is_some_and(|before| before.is_current(&reported)) {
            self.report_pods();
            self.reporting.reported = Some(reported);
        }
        // The state of a workload also changes as time passes.
        let store = &self.reporting.store;
        let workloads = &mut self.controllers.workloads;
        let sets = workloads.replica_sets();
        store.report(sets, |it| it.kind == "ReplicaSet");
        for (key, status) in workloads.statuses() {
            store.set_status(&key, status);
        }
    }

    /// Writes the pods, their endpoints, and events.
    fn report_pods(&self) {
        let store = &self.reporting.store;
        let present = self.controllers.workloads.pods();
        // A Pod of the manifests is in the store already.
        let owned = present.iter().filter(|pod| pod.plan.owner.is_some());
        let pods = owned.map(|pod| pod.object()).collect();
        // Jobs report their own pods.
        let of_workload = |it: &Object| it.kind == "Pod" && owner_of(it).0 != "Job";
        store.report(pods, of_workload);
        let events = self.reporting.recorder.objects();
        store.report(events, |it| it.kind == "Event");
        let cluster = cluster::objects(&self.in_force, &present, self.reporting.node);
        store.report(cluster, cluster::is_one);
        let node = |it: &&Arc<Object>| matches!(it.resource, Resource::Node(_));
        if let Some(node) = self.in_force.iter().find(node) {
            store.set_status(&node.key(), self.reporting.node.status());
        }
    }

    /// Writes the usage of each ResourceQuota to the store.
    pub(super) fn report_quotas(&self) {
        for quota in galleria_manifest::quotas(&self.in_force) {
            let (hard, used) = (shown(&quota.hard), shown(&quota.used));
            let status = serde_json::json!({"hard": hard, "used": used});
            self.reporting.store.set_status(&quota.key, status);
        }
    }

    /// Writes to the store which claims and volumes are bound to each other.
    pub(super) fn report_claims(&self) {
        for (key, status) in claims::statuses(&self.in_force) {
            self.reporting.store.set_status(&key, status);
        }
    }

    /// Writes to the store by which address clients reach a Service of type LoadBalancer:
    /// none if all its ports are taken.
    pub(super) fn report_load_balancers(&self) {
        let open = self.data_plane.listeners.addresses();
        for object in &self.in_force {
            let Resource::Service(service) = &object.resource else {
                continue;
            };
            if service.exposure != Exposure::LoadBalancer {
                continue;
            }
            let key = object.key();
            let name = format!("{}/{}", key.namespace, key.name);
            let is_own = |it: &&BoundListener| {
                let mut ports = service.ports.iter();
                it.service && it.gateway == name && ports.any(|port| port.port == it.port)
            };
            let ingress = open.iter().find(is_own).map(
                |it| serde_json::json!([{"ip": it.address.ip().to_string(), "ipMode": "VIP"}]),
            );
            let balancer = ingress.map_or_else(
                || serde_json::json!({}),
                |ingress| serde_json::json!({"ingress": ingress}),
            );
            let status = serde_json::json!({"loadBalancer": balancer});
            self.reporting.store.set_status(&key, status);
        }
    }

    /// Writes the conditions of routing objects to the store.
    pub(super) fn report_conditions(&self, staged: &StagedChange) {
        let warnings = [&staged.known_warnings[..], &staged.warnings].concat();
        let diagnosed = conditions::diagnose(&staged.in_force, &staged.waiting, &warnings);
        conditions::report(&self.reporting.store, &diagnosed);
    }

    /// Reports once what an object waits for.
    pub(super) fn report_waiting(&self, waiting: &[(Arc<Object>, Vec<Diagnostic>)]) {
        let new = waiting.iter().filter(|(object, _)| {
            !self
                .desired
                .objects()
                .any(|(_, it)| Arc::ptr_eq(it, object))
        });
        for (object, problems) in new {
            for problem in problems {
                self.report_missing(object, problem);
            }
        }
    }

    /// Reports once what an object in force misses. Returns all that is missing, one line
    /// each.
    pub(super) fn report_dangling(&mut self, staged: &StagedChange) -> Vec<String> {
        let warnings = staged.known_warnings.iter().chain(&staged.warnings);
        let dangling: BTreeSet<_> = warnings.filter(|it| it.is_dangling()).cloned().collect();
        let objects = staged.in_force.iter();
        let objects: BTreeMap<_, _> = objects
            .map(|it| {
                (
                    (
                        it.at.clone(),
                        format!("{}/{}", it.kind, it.metadata.name.value),
                    ),
                    it,
                )
            })
            .collect();
        let mut lines = Vec::new();
        for problem in &dangling {
            // The last object before the place of the problem.
            let place = (
                problem.at.clone(),
                problem.object.clone().unwrap_or_default(),
            );
            let before = objects.range(..=place).next_back();
            let Some((_, &object)) = before.filter(|(key, _)| key.0.file == problem.at.file) else {
                continue;
            };
            lines.extend(waits((object, std::slice::from_ref(problem))));
            if !self.dangling.contains(problem) {
                self.report_missing(object, problem);
            }
        }
        self.dangling = dangling;
        lines
    }

    fn report_missing(&self, object: &Object, problem: &Diagnostic) {
        tracing::warn!("waiting for a referenced object: {problem}");
        let involved = Arc::new(InvolvedObject::of(object));
        let message = format!("{}: {}", problem.path, problem.message);
        let recorder = &self.reporting.recorder;
        recorder.record(&involved, EventType::Warning, "Waiting", &message);
    }

    /// Shows in the status how the objects from the API differ from the files, and what
    /// objects wait for.
    pub(super) fn report_written(
        &self,
        waiting: &[(Arc<Object>, Vec<Diagnostic>)],
        dangling: Vec<String>,
    ) {
        let waiting = waiting
            .iter()
            .map(|(object, problems)| (object, &problems[..]));
        let waiting = waiting.flat_map(waits).chain(dangling);
        self.reporting.health.set_written(WrittenReport {
            drift: drift(&self.desired),
            drifted: drifted(&self.desired),
            waiting: waiting.collect(),
        });
    }
}

fn waits<'p>(
    (object, problems): (&Arc<Object>, &'p [Diagnostic]),
) -> impl Iterator<Item = String> + use<'p> {
    let key = object.key();
    problems
        .iter()
        .map(move |it| format!("{key} is waiting: {}: {}", it.path, it.message))
}

/// How the objects in force differ from the files, one line each.
fn drift(desired: &DesiredState) -> Vec<String> {
    let line = |(key, written): (&ObjectKey, &ApiOverride)| match written.object {
        Some(_) => format!("{key} differs from its file"),
        None => format!("{key} of a file is deleted"),
    };
    desired.drifted().map(line).collect()
}

/// The files of objects that the API changed.
fn drifted(desired: &DesiredState) -> HashMap<ObjectKey, PathBuf> {
    let keys = desired.drifted().map(|(key, _)| key);
    keys.filter_map(|key| Some((key.clone(), desired.file_of(key)?.to_owned())))
        .collect()
}

fn shown(quantities: &Quantities) -> BTreeMap<&str, String> {
    let quantities = quantities.iter();
    quantities
        .map(|(name, quantity)| (name.as_str(), quantity.show(name)))
        .collect()
}
