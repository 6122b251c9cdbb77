//! The loop that keeps what runs equal to what the manifests say.
//!
//! A change is taken whole or not at all: it is read, planned and compiled
//! first, and only then do workloads, listeners and the snapshot follow.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_manifest::Diagnostic;
use galleria_manifest::model::{Object, Quantities};
use galleria_mesh as mesh;
use tokio::sync::watch;

use super::autoscale::Autoscalers;
use super::pulls::Pulls;
use crate::call::Mesh;
use crate::files::{Changes, Files};
use crate::listen::{ListenError, Listeners};
use crate::live::Live;
use crate::status::Health;
use crate::store::{Source, Store, immutable};
use crate::topology::{Peers, Topology, UnknownWorkload};
use crate::workload::{
    Images, Jobs, Plan, PlanError, Pod, Recorder, VolumeFolder, Workloads, plan,
};

/// How often instances that nobody needs are let go.
const TRIM: Duration = Duration::from_secs(30);

/// How often what pods and their guests did is written to the store: often
/// enough for who watches, and no more writes for guests that trap all the time.
const REPORT: Duration = Duration::from_secs(1);

pub(super) struct Control {
    pub(super) files: Files,
    pub(super) source: Source,
    pub(super) store: Arc<Store>,
    pub(super) images: Arc<Images>,
    pub(super) volumes: VolumeFolder,
    pub(super) recorder: Arc<Recorder>,
    pub(super) pulls: Pulls,
    pub(super) workloads: Workloads,
    pub(super) autoscalers: Autoscalers,
    pub(super) autoscale_every: Duration,
    pub(super) jobs: Jobs,
    pub(super) listeners: Listeners,
    pub(super) mesh: Arc<Mesh>,
    pub(super) state: Arc<mesh::State>,
    pub(super) options: mesh::Options,
    pub(super) topology: Topology,
    pub(super) peers: Peers,
    pub(super) health: Arc<Health>,
}

/// Why a change is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the manifests have errors")]
    Manifests(Vec<Diagnostic>),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Topology(#[from] UnknownWorkload),
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl Refused {
    /// One line each.
    pub(super) fn problems(&self) -> Vec<String> {
        match self {
            Self::Manifests(diagnostics) => diagnostics.iter().map(Diagnostic::to_string).collect(),
            Self::Plan(PlanError { problems, .. }) => {
                problems.iter().map(Diagnostic::to_string).collect()
            }
            Self::Topology(error) => vec![format!("error: {error}")],
            Self::Listen(error) => vec![format!("error: {error}")],
        }
    }
}

impl Control {
    /// Takes the first configuration: everything that can fail is done before
    /// the first pod starts.
    pub(super) async fn prepare(&mut self, objects: Vec<Arc<Object>>) -> Result<(), Refused> {
        self.take(objects).await
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
                () = next(&mut pods) => {}
                () = next(&mut peers) => self.publish_stored(),
                () = until(self.workloads.due()) => {}
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
            tracing::warn!("some jobs did not end in time");
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
            Ok(read) if read.has_errors() => Err(Refused::Manifests(read.diagnostics)),
            Ok(read) if !self.differs(read.objects.clone()) => return,
            Ok(read) => self.take_or_wait(read.objects).await,
            Err(error) => {
                tracing::error!(%error, "the manifests could not be read");
                return;
            }
        };
        let result = match taken {
            Ok(()) => {
                self.serve();
                self.health.set_rejected(Vec::new());
                tracing::info!("the changed manifests are in force");
                "accepted"
            }
            Err(refused) => {
                let problems = refused.problems();
                for problem in &problems {
                    tracing::error!("{problem}");
                }
                tracing::error!("the changed manifests were refused; what ran before goes on");
                self.health.set_rejected(problems);
                "rejected"
            }
        };
        self.mesh.metrics.reloads.with_label_values(&[result]).inc();
    }

    /// Whether `objects` say anything else than what is in force, or than what
    /// was refused.
    fn differs(&self, objects: Vec<Arc<Object>>) -> bool {
        let objects = self.autoscalers.scaled(objects);
        let stored = self.store.list_from(self.source);
        let same = stored.len() == objects.len()
            && objects.iter().all(|object| {
                self.store
                    .get(&object.key())
                    .is_some_and(|stored| stored.object.raw == object.raw)
            });
        !same || !self.health.is_accepted()
    }

    /// Takes a change. Where images cannot be pulled for it, they are tried again
    /// until they can.
    async fn take_or_wait(&mut self, objects: Vec<Arc<Object>>) -> Result<(), Refused> {
        self.pulls.forget();
        let mut taken = self.take(objects.clone()).await;
        if let Err(Refused::Plan(PlanError { unpulled, .. })) = &mut taken {
            let (images, volumes) = (self.images.clone(), self.volumes.clone());
            let again = move || plan(&objects, &images, &volumes).map(drop);
            self.pulls.failed(std::mem::take(unpulled), again);
        }
        taken
    }

    async fn take(&mut self, objects: Vec<Arc<Object>>) -> Result<(), Refused> {
        let objects = self.autoscalers.scaled(objects);
        let changed = immutable::changes(&self.store, &objects);
        if !changed.is_empty() {
            return Err(Refused::Manifests(changed));
        }
        let plan = self.plan(self.topology.here(&objects)?).await?;
        let trial = self.compile(&objects, &self.workloads.pods());
        self.listeners.bind(&trial.snapshot).await?;
        for diagnostic in &trial.diagnostics {
            tracing::warn!("{diagnostic}");
        }
        self.store.replace_all(self.source, &objects);
        self.report_quotas(&objects);
        let store = &self.store;
        self.workloads.apply(&plan, |key| {
            let stored = store.get(key);
            stored.map_or(0, |stored| stored.generation)
        });
        self.jobs.apply(&plan);
        let elsewhere = self.topology.elsewhere(&objects);
        self.peers.follow(elsewhere).await;
        self.publish(&objects);
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
        let objects = self.stored();
        let Ok(here) = self.topology.here(&objects) else {
            return;
        };
        let (store, workloads) = (&self.store, &self.workloads);
        let recorder = &self.recorder;
        if !self.autoscalers.sync(&here, store, workloads, recorder) {
            return;
        }
        if let Err(refused) = self.take(objects).await {
            for problem in refused.problems() {
                tracing::error!("cannot scale: {problem}");
            }
        }
    }

    fn publish_stored(&self) {
        self.publish(&self.stored());
    }

    /// What is in force.
    fn stored(&self) -> Vec<Arc<Object>> {
        let stored = self.store.list_from(self.source);
        stored.iter().map(|stored| stored.object.clone()).collect()
    }

    /// Puts a snapshot of `objects` and the present pods in force.
    fn publish(&self, objects: &[Arc<Object>]) {
        let pods = self.workloads.pods();
        let compiled = self.compile(objects, &pods);
        self.mesh
            .current
            .replace(Live::new(compiled.snapshot, pods.clone()));
        self.forget_gone(&pods);
        self.health.set_pods(pods);
        self.health.set_listeners(self.listeners.addresses());
    }

    /// Reports into the store what became of each workload, the revisions, the
    /// pods and what happened to them. A Pod of the manifests is there already.
    fn report_status(&mut self) {
        let pods = self.workloads.pods();
        let owned = pods.iter().filter(|pod| pod.plan.owner.is_some());
        let pods = owned.map(|pod| pod.object()).collect();
        self.store.report("", "Pod", pods);
        self.store.report("", "Event", self.recorder.objects());
        let sets = self.workloads.replica_sets();
        self.store.report("apps", "ReplicaSet", sets);
        for (key, status) in self.workloads.statuses() {
            self.store.set_status(&key, status);
        }
    }

    /// Reports into the store what is used of each ResourceQuota.
    fn report_quotas(&self, objects: &[Arc<Object>]) {
        for quota in galleria_manifest::quotas(objects) {
            let (hard, used) = (shown(&quota.hard), shown(&quota.used));
            let status = serde_json::json!({"hard": hard, "used": used});
            self.store.set_status(&quota.key, status);
        }
    }

    fn forget_gone(&self, pods: &[Arc<Pod>]) {
        let before = self.health.pods();
        let gone = before
            .iter()
            .filter(|pod| !pods.iter().any(|kept| kept.name == pod.name));
        for pod in gone {
            let identity = &pod.plan.identity;
            self.mesh
                .metrics
                .forget_pod(&identity.namespace, &identity.name, &pod.name);
        }
    }

    /// Goes on with what is under way, and reports how far it is.
    fn step(&mut self) {
        if self.workloads.step() {
            self.publish_stored();
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
