//! The loop that keeps what runs equal to what the manifests say.
//!
//! A change is taken whole or not at all: it is read, planned and compiled
//! first, and only then do workloads, listeners and the snapshot follow.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_manifest::Diagnostic;
use galleria_manifest::model::{Object, ObjectKey, Quantities};
use galleria_mesh as mesh;
use tokio::sync::{mpsc, watch};

use super::api_store::{ApiStore, ApiStoreError};
use super::autoscale::Autoscalers;
use super::cluster::{self, Node};
use super::conditions;
use super::desired::{Admissible, ApiOverride, Desired};
use super::pulls::Pulls;
use crate::active_config::ActiveConfig;
use crate::call::Mesh;
use crate::canary::Canaries;
use crate::files::{Changes, Files};
use crate::listen::{ListenError, Listeners};
use crate::status::{HostStatus, WrittenReport};
use crate::store::{EventType, Involved, Recorder, Store, immutable, owner_of};
use crate::telemetry::metrics::Present;
use crate::topology::{Peers, Topology, UnknownWorkload};
use crate::workload::{Images, Jobs, Plan, PlanError, Pod, VolumeFolder, Workloads, plan};
use crate::writes::{Command, Edit, Write, WriteError};

/// How often instances that nobody needs are let go.
const TRIM: Duration = Duration::from_secs(30);

/// How often what pods and their guests did is written to the store: often
/// enough for who watches, and no more writes for guests that trap all the time.
const REPORT: Duration = Duration::from_secs(1);

/// Steps that follow each other before something else is looked at; a rollout that
/// waits for no pod comes to rest after two.
const STEPS_MAX: usize = 16;

pub(super) struct Control {
    pub(super) files: Files,
    pub(super) desired: Desired,
    /// Of `desired`: what is held back waits for something it refers to.
    pub(super) in_force: Vec<Arc<Object>>,
    pub(super) api_store: ApiStore,
    pub(super) writes: mpsc::Receiver<Write>,
    pub(super) store: Arc<Store>,
    pub(super) node: Node,
    pub(super) images: Arc<Images>,
    pub(super) volumes: VolumeFolder,
    pub(super) recorder: Arc<Recorder>,
    pub(super) pulls: Pulls,
    pub(super) workloads: Workloads,
    pub(super) autoscalers: Autoscalers,
    pub(super) autoscale_every: Duration,
    pub(super) canaries: Canaries,
    pub(super) jobs: Jobs,
    pub(super) listeners: Listeners,
    pub(super) mesh: Arc<Mesh>,
    pub(super) state: Arc<mesh::State>,
    pub(super) options: mesh::Options,
    pub(super) topology: Topology,
    pub(super) peers: Peers,
    pub(super) health: Arc<HostStatus>,
}

/// A change that can be put in force.
struct StagedChange {
    in_force: Vec<Arc<Object>>,
    waiting: Vec<(Arc<Object>, Vec<Diagnostic>)>,
    plan: Plan,
    /// Said when the objects were read.
    known: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

/// Why a change is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum RejectedChange {
    #[error("the manifests have errors")]
    Manifests(Vec<Diagnostic>),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Topology(#[from] UnknownWorkload),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    ApiStore(#[from] ApiStoreError),
}

impl RejectedChange {
    /// One line each.
    pub(super) fn problems(&self) -> Vec<String> {
        match self {
            Self::Manifests(diagnostics) => diagnostics.iter().map(Diagnostic::to_string).collect(),
            Self::Plan(PlanError { problems, .. }) => {
                problems.iter().map(Diagnostic::to_string).collect()
            }
            Self::Topology(error) => vec![format!("error: {error}")],
            Self::Listen(error) => vec![format!("error: {error}")],
            Self::ApiStore(error) => vec![format!("error: {error}")],
        }
    }
}

impl Control {
    /// Takes the first configuration: everything that can fail is done before
    /// the first pod starts.
    pub(super) async fn prepare(
        &mut self,
        written: BTreeMap<ObjectKey, ApiOverride>,
        files: Vec<Arc<Object>>,
    ) -> Result<(), RejectedChange> {
        self.desired = Desired::new(written);
        self.take(self.desired.with_files(files)).await
    }

    /// Opens the listeners.
    pub(super) fn serve(&mut self) {
        self.listeners.serve(&self.mesh);
    }

    pub(super) fn watch(&self) -> notify::Result<Changes> {
        self.files.watch()
    }

    /// Follows changes of files and of pods. Calls `ready` when every pod is
    /// ready for the first time.
    ///
    /// # Errors
    /// What `ready` fails with; nothing else ends it.
    pub(super) async fn follow(
        &mut self,
        changes: &Changes,
        ready: impl FnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Infallible> {
        let mut pods = self.workloads.changes();
        let mut peers = self.peers.changes();
        let mut trim = tokio::time::interval(TRIM);
        let mut report = tokio::time::interval(REPORT);
        let mut autoscale = tokio::time::interval(self.autoscale_every);
        let mut ready = Some(ready);
        loop {
            self.step();
            if self.health.is_ready()
                && let Some(ready) = ready.take()
            {
                ready(self)?;
            }
            tokio::select! {
                () = changes.next() => self.reload().await,
                Some(write) = self.writes.recv() => self.write(write).await,
                () = next(&mut pods) => {}
                () = next(&mut peers) => self.publish(),
                () = until(self.workloads.due()) => {}
                () = until(self.canaries.due()) => self.advance_canaries().await,
                () = self.pulls.succeeded() => self.reload().await,
                _ = trim.tick() => self.trim(),
                _ = autoscale.tick() => self.autoscale().await,
                _ = report.tick() => {}
            }
        }
    }

    /// Fails readiness, finishes what is under way, stops every pod.
    pub(super) async fn stop(&mut self, limit: Duration) {
        self.health.set_ready(false);
        let grace = self.workloads.grace_period().min(limit);
        // Pods of Jobs may still call services while they finish.
        let jobs = tokio::time::timeout(limit, self.jobs.stop());
        let (drained, jobs_ended) = tokio::join!(self.listeners.drain(grace), jobs);
        if jobs_ended.is_err() {
            tracing::warn!("some jobs did not finish in time");
        }
        if !drained {
            tracing::warn!(
                seconds = grace.as_secs(),
                "some requests were not answered in time"
            );
        }
        self.workloads.stop().await;
    }

    async fn reload(&mut self) {
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || files.read()).await;
        let taken = match read {
            Ok(read) if read.has_errors() => Err(RejectedChange::Manifests(read.diagnostics)),
            // What was refused is tried again: something else may have changed.
            Ok(read) if self.desired.has_files(&read.objects) && self.health.is_accepted() => {
                return;
            }
            Ok(read) => {
                self.take_or_wait(self.desired.with_files(read.objects))
                    .await
            }
            Err(error) => {
                tracing::error!(%error, "cannot read the manifests");
                return;
            }
        };
        let result = match taken {
            Ok(()) => {
                self.serve();
                self.health.set_rejected(Vec::new());
                tracing::info!("the changed manifests are active");
                "accepted"
            }
            Err(refused) => {
                let problems = refused.problems();
                for problem in &problems {
                    tracing::error!("{problem}");
                }
                tracing::error!(
                    "the changed manifests were rejected; keeping the previous configuration"
                );
                self.health.set_rejected(problems);
                "rejected"
            }
        };
        self.mesh.metrics.reloads.with_label_values(&[result]).inc();
    }

    /// Takes a change. Where images cannot be pulled for it, they are tried again
    /// until they can.
    async fn take_or_wait(&mut self, desired: Desired) -> Result<(), RejectedChange> {
        self.pulls.forget();
        let mut taken = self.take(desired.clone()).await;
        if let Err(RejectedChange::Plan(PlanError { unpulled, .. })) = &mut taken
            && !unpulled.is_empty()
            && let Ok(Admissible { in_force, .. }) = self.settle(&desired)
        {
            let (images, volumes) = (self.images.clone(), self.volumes.clone());
            let again = move || plan(&in_force, &images, &volumes).map(drop);
            self.pulls.failed(std::mem::take(unpulled), again);
        }
        taken
    }

    async fn take(&mut self, desired: Desired) -> Result<(), RejectedChange> {
        let ready = self.stage(&desired).await?;
        self.commit(desired, ready).await
    }

    /// Does everything that can fail, and changes nothing but the listeners that
    /// are bound.
    async fn stage(&mut self, desired: &Desired) -> Result<StagedChange, RejectedChange> {
        let admissible = self.settle(desired).map_err(RejectedChange::Manifests)?;
        let in_force = admissible.in_force;
        let changed = immutable::changes(&self.store, &in_force);
        if !changed.is_empty() {
            return Err(RejectedChange::Manifests(changed));
        }
        let plan = self.plan(self.topology.here(&in_force)?).await?;
        let trial = self.compile(&in_force, &self.workloads.pods());
        self.listeners.bind(&trial.snapshot).await?;
        Ok(StagedChange {
            in_force,
            waiting: admissible.waiting,
            known: admissible.warnings,
            plan,
            warnings: trial.diagnostics,
        })
    }

    async fn commit(
        &mut self,
        desired: Desired,
        ready: StagedChange,
    ) -> Result<(), RejectedChange> {
        let (before, after) = (self.desired.written(), desired.written());
        tokio::task::block_in_place(|| self.api_store.save(before, after))?;
        for diagnostic in &ready.warnings {
            tracing::warn!("{diagnostic}");
        }
        self.report_waiting(&ready.waiting);
        self.desired = desired;
        let known: HashMap<_, _> = ready.in_force.iter().map(|it| (it.key(), it)).collect();
        // As scaled, where an autoscaler decides.
        let objects = self.desired.objects();
        let objects = objects.map(|(source, it)| (source, *known.get(&it.key()).unwrap_or(&it)));
        self.store.replace_all(objects);
        let warnings = [&ready.known[..], &ready.warnings].concat();
        let known = conditions::known(&ready.in_force, &ready.waiting, &warnings);
        conditions::report(&self.store, &known);
        self.in_force = ready.in_force;
        let tallies = &self.mesh.metrics.tallies;
        self.canaries
            .follow(&self.in_force, tallies, Instant::now());
        self.report_quotas();
        let store = &self.store;
        self.workloads.apply(&ready.plan, |key| {
            let stored = store.get(key);
            stored.map_or(0, |stored| stored.generation)
        });
        self.jobs.apply(&ready.plan);
        let elsewhere = self.topology.elsewhere(&self.in_force);
        self.peers.follow(elsewhere).await;
        self.publish();
        self.health.set_written(WrittenReport {
            drift: drift(&self.desired),
            drifted: drifted(&self.desired),
            waiting: ready.waiting.iter().flat_map(waits).collect(),
        });
        Ok(())
    }

    /// What of `desired` can be in force, as autoscalers have scaled it.
    fn settle(&self, desired: &Desired) -> Result<Admissible, Vec<Diagnostic>> {
        let in_force = self.in_force.iter().map(|object| object.key()).collect();
        let mut admissible = desired.settle(&in_force)?;
        admissible.in_force = self.autoscalers.scaled(admissible.in_force);
        Ok(admissible)
    }

    /// Takes what the API asks for, or says why not.
    async fn write(&mut self, Write { command, reply }: Write) {
        let result = match command {
            Command::Edits { edits, dry_run } => self.edit(&edits, dry_run).await,
            Command::Canary(order) => self.order(&order).await,
            Command::Evict(pod) => match self.workloads.evict(&pod) {
                true => Ok(()),
                false => Err(WriteError::Changed),
            },
        };
        // A client that is gone does not want to know.
        let _ = reply.send(result);
    }

    pub(super) async fn edit(&mut self, edits: &[Edit], dry_run: bool) -> Result<(), WriteError> {
        let mut desired = self.desired.clone();
        for Edit { key, from, to } in edits {
            let stored = self.store.get(key).map(|stored| stored.object.clone());
            let unchanged = match (&stored, from) {
                (Some(stored), Some(from)) => Arc::ptr_eq(stored, from),
                (None, None) => true,
                _ => false,
            };
            if !unchanged {
                return Err(WriteError::Changed);
            }
            desired = desired.with(key, to.clone());
        }
        let refused = |refused: RejectedChange| match refused {
            RejectedChange::ApiStore(error) => WriteError::NotPersisted(error.to_string()),
            RejectedChange::Manifests(problems)
            | RejectedChange::Plan(PlanError { problems, .. }) => WriteError::Invalid(problems),
            refused => WriteError::Impossible(refused.problems().join("; ")),
        };
        let ready = self.stage(&desired).await.map_err(refused)?;
        if dry_run {
            return Ok(());
        }
        self.commit(desired, ready).await.map_err(refused)?;
        self.serve();
        Ok(())
    }

    async fn plan(&self, objects: Vec<Arc<Object>>) -> Result<Plan, PlanError> {
        let (images, volumes) = (self.images.clone(), self.volumes.clone());
        let planned = tokio::task::spawn_blocking(move || plan(&objects, &images, &volumes));
        // A panic while planning is a defect of ours; it must not look like a plan.
        planned
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn compile(&self, objects: &[Arc<Object>], pods: &[Arc<Pod>]) -> mesh::Compiled {
        let here = pods.iter().map(|pod| pod.endpoint());
        let endpoints: Vec<mesh::Pod> = here.chain(self.peers.pods()).collect();
        let options = mesh::Options {
            inbound: self.topology.inbound(objects),
            ..self.options.clone()
        };
        mesh::compile(objects, &endpoints, &options, &self.state)
    }

    /// Lets HorizontalPodAutoscalers decide, and follows them.
    async fn autoscale(&mut self) {
        let Ok(here) = self.topology.here(&self.in_force) else {
            return;
        };
        let (store, workloads) = (&self.store, &self.workloads);
        let recorder = &self.recorder;
        if !self.autoscalers.sync(&here, store, workloads, recorder) {
            return;
        }
        if let Err(refused) = self.take(self.desired.clone()).await {
            for problem in refused.problems() {
                tracing::error!("cannot scale: {problem}");
            }
        }
    }

    /// Puts a snapshot of what is in force and the present pods in force.
    fn publish(&self) {
        let pods = self.workloads.pods();
        let compiled = self.compile(&self.in_force, &pods);
        self.follow_present(&compiled.snapshot, &pods);
        self.mesh
            .current
            .replace(ActiveConfig::new(compiled.snapshot, pods.clone()));
        self.health.pods.set(pods);
        self.health.set_listeners(self.listeners.addresses());
    }

    /// Reports into the store what became of each workload, the revisions, the
    /// pods and what happened to them. A Pod of the manifests is there already.
    fn report_status(&mut self) {
        let present = self.workloads.pods();
        let owned = present.iter().filter(|pod| pod.plan.owner.is_some());
        let pods = owned.map(|pod| pod.object()).collect();
        // The pods of Jobs are theirs to report.
        let of_workload = |it: &Object| it.kind == "Pod" && owner_of(it).0 != "Job";
        self.store.report(pods, of_workload);
        let events = self.recorder.objects();
        self.store.report(events, |it| it.kind == "Event");
        let sets = self.workloads.replica_sets();
        self.store.report(sets, |it| it.kind == "ReplicaSet");
        let cluster = cluster::objects(&self.in_force, &present, self.node);
        self.store.report(cluster, cluster::is_one);
        for (key, status) in self.workloads.statuses() {
            self.store.set_status(&key, status);
        }
    }

    /// Reports into the store what is used of each ResourceQuota.
    fn report_quotas(&self) {
        for quota in galleria_manifest::quotas(&self.in_force) {
            let (hard, used) = (shown(&quota.hard), shown(&quota.used));
            let status = serde_json::json!({"hard": hard, "used": used});
            self.store.set_status(&quota.key, status);
        }
    }

    /// Tells, once, what keeps an object back.
    fn report_waiting(&self, waiting: &[(Arc<Object>, Vec<Diagnostic>)]) {
        let new = waiting.iter().filter(|(object, _)| {
            !self
                .desired
                .objects()
                .any(|(_, it)| Arc::ptr_eq(it, object))
        });
        for (object, problems) in new {
            let involved = Arc::new(Involved::of(object));
            for problem in problems {
                tracing::warn!("waiting for a referenced object: {problem}");
                let message = format!("{}: {}", problem.path, problem.message);
                self.recorder
                    .record(&involved, EventType::Warning, "Waiting", &message);
            }
        }
    }

    /// Lets go of what is counted of workloads, services and rules that are gone.
    fn follow_present(&self, snapshot: &mesh::Snapshot, pods: &[Arc<Pod>]) {
        let declared = self.in_force.iter().filter(|it| it.is_workload());
        let declared = declared.map(|it| {
            let metadata = &it.metadata;
            (metadata.namespace.as_str(), metadata.name.as_str())
        });
        let here = pods.iter().map(|pod| &*pod.plan.identity);
        let peers = self.peers.pods();
        let elsewhere = peers.iter().map(|pod| &*pod.workload);
        let present = Present::new(declared, here.chain(elsewhere), snapshot);
        self.mesh.metrics.follow(&present);
        self.state
            .retain_callers(|namespace, name| present.has_workload(namespace, name));
    }

    /// Goes on with what is under way, and reports how far it is.
    fn step(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.workloads.step() {
                break;
            }
            self.publish();
        }
        self.health.set_ready(self.workloads.all_ready());
        self.report_status();
    }

    fn trim(&self) {
        for pod in self.workloads.pods() {
            pod.trim();
        }
    }
}

fn waits((object, problems): &(Arc<Object>, Vec<Diagnostic>)) -> impl Iterator<Item = String> {
    let key = object.key();
    problems
        .iter()
        .map(move |it| format!("{key} is waiting: {}: {}", it.path, it.message))
}

/// How what is in force differs from the files, a line each.
fn drift(desired: &Desired) -> Vec<String> {
    let line = |(key, written): (&ObjectKey, &ApiOverride)| match written.object {
        Some(_) => format!("{key} differs from its file"),
        None => format!("{key} of a file is deleted"),
    };
    desired.drifted().map(line).collect()
}

/// The files of objects that the API changed.
fn drifted(desired: &Desired) -> HashMap<ObjectKey, PathBuf> {
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

/// Waits until `time`, or for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for the next change; a sender that is gone changes nothing any more.
async fn next(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
