//! The control loop: keeps the running state equal to the desired state.
//!
//! A change is applied completely or not at all: `stage.rs` reads, plans and compiles it
//! without any effect, and `commit.rs` then replaces workloads, listeners and the
//! snapshot. Changes come from sources (`reload.rs`) and from the API (`write.rs`).
//! `report.rs` writes what happened to the store and the status.

mod certificates;
mod commit;
mod data_plane;
mod reload;
mod report;
mod stage;
#[cfg(test)]
mod tests;
mod trace;
mod write;

pub(super) use certificates::ReportedCertificates;
pub(super) use data_plane::DataPlane;
pub(super) use stage::RejectedChange;
pub(super) use trace::{end_write, own_write};

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, SelectAll, StreamExt, select_all};
use galleria_manifest::model::Object;
use galleria_manifest::{AllowUnenforced, Diagnostic};
use tokio::sync::{mpsc, watch};

use super::api_store::ApiStore;
use super::autoscale::Autoscalers;
use super::cluster::Node;
use super::desired::DesiredState;
use super::pulls::Pulls;
use super::source::{Layer, ObjectSource};
use crate::canary::Canaries;
use crate::status::HostStatus;
use crate::store::{Recorder, Store};
use crate::telemetry::trace::attributes;
use crate::telemetry::trace::control::ControlSpan;
use crate::workload::{Images, Jobs, VolumeFolder, Workloads};
use crate::writes::Write;
use report::Reported;

/// How often idle instances are removed.
const TRIM: Duration = Duration::from_secs(30);

/// How often the state of pods and their events are written to the store. This bounds
/// the writes for guests that trap all the time.
const REPORT: Duration = Duration::from_secs(1);

/// Steps of workloads in a row before the loop handles something else. A rollout that
/// does not wait for a pod needs two.
const STEPS_MAX: usize = 16;

/// See the module's documentation.
pub(super) struct Control {
    /// In the order of their layers, lowest first.
    pub(super) sources: Vec<Arc<dyn ObjectSource>>,
    pub(super) api_store: Arc<ApiStore>,
    pub(super) writes: mpsc::Receiver<Write>,
    /// Restrictions that objects may have although the host does not enforce them.
    pub(super) allowed: AllowUnenforced,
    /// Whether an object that refers to a missing object is refused or waits, instead of
    /// being in force without what it refers to.
    pub(super) strict: bool,
    /// `--gateway-namespace`.
    pub(super) gateway_namespace: Option<String>,
    pub(super) desired: DesiredState,
    /// The dangling references that have been reported.
    pub(super) dangling: BTreeSet<Diagnostic>,
    /// The part of `desired` that is active. The rest waits for an object that it
    /// refers to.
    pub(super) in_force: Vec<Arc<Object>>,
    pub(super) planning: Planning,
    pub(super) controllers: Controllers,
    pub(super) data_plane: DataPlane,
    pub(super) certificates: ReportedCertificates,
    pub(super) reporting: Reporting,
}

/// What a plan is made from.
pub(super) struct Planning {
    pub(super) images: Arc<Images>,
    pub(super) volumes: VolumeFolder,
    pub(super) pulls: Pulls,
    /// That of every workload.
    pub(super) trust_domain: Arc<str>,
}

/// What runs pods, and decides how many there are.
pub(super) struct Controllers {
    pub(super) workloads: Workloads,
    pub(super) jobs: Jobs,
    pub(super) autoscalers: Autoscalers,
    pub(super) autoscale_interval: Duration,
    pub(super) canaries: Canaries,
}

/// Where the state of the host is written.
pub(super) struct Reporting {
    pub(super) store: Arc<Store>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) health: Arc<HostStatus>,
    pub(super) node: Node,
    /// What the state in the store was created from; `None` if it must be written.
    pub(super) reported: Option<Reported>,
}

/// The changes of all sources: each item is the source that has changed.
pub(super) type SourceChanges = SelectAll<BoxStream<'static, Arc<dyn ObjectSource>>>;

impl Control {
    /// Applies the first configuration, `layers` being in the order of the sources.
    /// Does everything that can fail before the first pod starts.
    pub(super) async fn prepare(
        &mut self,
        layers: impl IntoIterator<Item = Layer>,
    ) -> Result<(), RejectedChange> {
        let desired = layers
            .into_iter()
            .fold(DesiredState::default(), |desired, it| {
                desired.with_layer(it)
            });
        self.desired = desired.clone();
        self.apply(desired).await
    }

    /// Opens the listeners.
    pub(super) fn serve(&mut self) {
        self.data_plane.serve();
    }

    /// Starts watching every source.
    pub(super) fn watch(&self) -> anyhow::Result<SourceChanges> {
        let mut all = Vec::new();
        for source in &self.sources {
            let changes = source.watch()?;
            let source = source.clone();
            all.push(changes.map(move |()| source.clone()).boxed());
        }
        Ok(select_all(all))
    }

    /// Runs the loop. Calls `ready` when every pod is ready for the first time.
    ///
    /// # Errors
    /// The error of `ready`; nothing else ends the loop.
    pub(super) async fn follow(
        &mut self,
        mut changes: SourceChanges,
        ready: impl FnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Infallible> {
        let mut pods = self.controllers.workloads.changes();
        let mut peers = self.data_plane.peers.changes();
        let mut trim = tokio::time::interval(TRIM);
        let mut report = tokio::time::interval(REPORT);
        let mut certificates = tokio::time::interval(certificates::READ_AGAIN);
        let mut autoscale = tokio::time::interval(self.controllers.autoscale_interval);
        let mut ready = Some(ready);
        loop {
            self.step();
            if self.reporting.health.is_ready()
                && let Some(ready) = ready.take()
            {
                ready(self)?;
            }
            tokio::select! {
                Some(source) = changes.next() => self.reload(source).await,
                Some(write) = self.writes.recv() => self.write(write).await,
                () = changed(&mut pods) => {}
                () = changed(&mut peers) => self.publish(),
                () = until(self.controllers.workloads.due()) => {}
                () = until(self.controllers.canaries.due()) => self.advance_canaries().await,
                source = self.planning.pulls.succeeded() => self.reload(source).await,
                () = self.data_plane.tls_files.changed() => {
                    self.data_plane.tls_files.gather().await;
                    self.follow_certificates().await;
                }
                _ = certificates.tick() => self.follow_certificates().await,
                _ = trim.tick() => self.trim(),
                _ = autoscale.tick() => self.autoscale().await,
                _ = report.tick() => {}
            }
        }
    }

    /// Fails readiness, finishes what is under way, and stops every pod.
    pub(super) async fn stop(&mut self, limit: Duration) {
        self.reporting.health.set_ready(false);
        let Controllers {
            workloads, jobs, ..
        } = &mut self.controllers;
        let grace = workloads.grace_period().min(limit);
        // Pods of Jobs may still call services while they finish.
        let jobs = tokio::time::timeout(limit, jobs.stop());
        let drained = self.data_plane.listeners.drain(grace);
        let (drained, jobs_ended) = tokio::join!(drained, jobs);
        if jobs_ended.is_err() {
            tracing::warn!("some jobs did not finish in time");
        }
        if !drained {
            tracing::warn!(
                seconds = grace.as_secs(),
                "some requests were not answered in time"
            );
        }
        workloads.stop().await;
    }

    /// Lets HorizontalPodAutoscalers decide, and applies their decisions.
    async fn autoscale(&mut self) {
        let Ok(here) = self.data_plane.topology.here(&self.in_force) else {
            return;
        };
        let Controllers {
            workloads,
            autoscalers,
            ..
        } = &mut self.controllers;
        let Reporting {
            store, recorder, ..
        } = &self.reporting;
        let scaled = autoscalers.sync(&here, store, workloads, recorder);
        if scaled.is_empty() {
            return;
        }
        let span = own_write("autoscaler", &scaled);
        let applied = trace::step(span.clone(), self.apply(self.desired.clone())).await;
        match applied {
            Ok(()) => span.set(attributes::RESULT, trace::ACCEPTED),
            Err(rejected) => {
                for problem in rejected.problems() {
                    tracing::error!("cannot scale: {problem}");
                }
            }
        }
    }

    /// Advances the workloads, and reports their state.
    fn step(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.controllers.workloads.step() {
                break;
            }
            self.publish();
        }
        let ready = self.controllers.workloads.all_ready();
        self.reporting.health.set_ready(ready);
        self.report_status();
    }

    /// Activates a snapshot of the objects in force and the present pods.
    fn publish(&self) {
        let pods = self.controllers.workloads.pods();
        self.data_plane.publish(&self.in_force, &pods);
        let health = &self.reporting.health;
        health.pods.set(pods);
        health.set_listeners(self.data_plane.listeners.addresses());
    }

    fn trim(&self) {
        for pod in self.controllers.workloads.pods() {
            pod.trim();
        }
    }
}

/// Waits until `time`; forever if there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for the next change; forever once the sender is gone.
async fn changed(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
