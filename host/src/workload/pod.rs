//! One pod: a guest with its volumes, limits, probes and restarts.

mod container;
mod end;
mod life;
mod object;
mod status;
mod supervisor;

pub(super) use life::Life;
pub(super) use life::Phase;
pub(super) use object::{manifest, unscheduled};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use galleria_mesh as mesh;
use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Platform;
use super::configuration::Configuration;
use super::guest_setup::PodAccount;
use super::plan::PodPlan;
use super::volumes::PodVolumes;
use crate::context::RequestContext;
use crate::guest::{Failure, Guest, Throttling};
use crate::store::{EventType, fresh_uid};
use crate::telemetry::metrics::PodMeters;
use crate::{Request, Response};

/// A pod, from its start until its last request has left.
pub(crate) struct Pod {
    pub name: String,
    /// `status.podIP`. It identifies the pod; nothing listens on it.
    pub address: String,
    pub plan: Arc<PodPlan>,
    /// The number of the pod in the mesh; never reused.
    pub target: usize,
    ready: Arc<AtomicBool>,
    ready_since: Mutex<Option<Instant>>,
    readiness: watch::Sender<u64>,
    guest: ArcSwapOption<Guest>,
    /// The current values of the ConfigMaps and Secrets that it refers to.
    configuration: watch::Sender<Arc<Configuration>>,
    volumes: Arc<PodVolumes>,
    account: PodAccount,
    restarts: AtomicU32,
    created: Instant,
    life: Arc<Life>,
    /// In progress.
    requests: AtomicUsize,
    /// Notified when the last request in progress ends.
    idle: Notify,
    stop: CancellationToken,
    /// Requests since the pod started.
    served: AtomicU64,
}

/// A request in progress. The pod is not drained while one exists.
pub(crate) struct InFlight(Arc<Pod>);

impl Pod {
    /// Starts a pod in the background. `readiness` changes when its readiness or phase does.
    pub(super) fn start(
        platform: &Platform,
        name: String,
        plan: Arc<PodPlan>,
        target: usize,
        readiness: watch::Sender<u64>,
    ) -> Arc<Self> {
        let namespace = plan.identity.namespace.clone();
        let uid = plan.uid.clone().unwrap_or_else(fresh_uid);
        let volumes = platform
            .volumes
            .of_pod(&namespace, &name, &plan.container, &plan.volumes);
        let pod = Arc::new(Self {
            life: Life::new(platform, namespace, name.clone(), uid),
            name,
            address: format!("10.64.{}.{}", (target >> 8) & 0xff, target & 0xff),
            target,
            ready: Arc::new(AtomicBool::new(false)),
            ready_since: Mutex::default(),
            readiness,
            guest: ArcSwapOption::empty(),
            configuration: watch::Sender::new(plan.configuration.clone()),
            volumes,
            account: PodAccount::new(&plan, platform),
            restarts: AtomicU32::new(0),
            created: Instant::now(),
            requests: AtomicUsize::new(0),
            idle: Notify::new(),
            stop: CancellationToken::new(),
            served: AtomicU64::new(0),
            plan,
        });
        tokio::spawn(pod.clone().supervise(platform.clone()));
        pod
    }

    /// Serves a request of the mesh. Hold an [`InFlight`] until the response body has ended.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn serve(
        &self,
        request: Request,
        context: Arc<RequestContext>,
    ) -> Result<Response, Failure> {
        let guest = self.guest.load_full().ok_or_else(not_running)?;
        self.served.fetch_add(1, Ordering::Relaxed);
        guest.serve(request, context).await
    }

    pub(super) async fn serve_probe(
        &self,
        request: Request,
        context: Arc<RequestContext>,
    ) -> Result<Response, Failure> {
        let guest = self.guest.load_full().ok_or_else(not_running)?;
        guest.serve_probe(request, context).await
    }

    /// Counts a request as in progress until the returned value is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Passes changed ConfigMaps and Secrets to the pod, which applies them in the
    /// background.
    pub(super) fn reconfigure(&self, configuration: &Arc<Configuration>) {
        self.configuration.send_if_modified(|current| {
            let changed = *current != *configuration;
            if changed {
                current.clone_from(configuration);
            }
            changed
        });
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Whether the node has accepted it.
    pub(super) fn is_scheduled(&self) -> bool {
        !matches!(self.life.moment().phase, Phase::Unschedulable { .. })
    }

    /// Since when it has been ready without interruption; None if it is not ready.
    pub(super) fn ready_since(&self) -> Option<Instant> {
        let since = *self.ready_since.lock();
        since.filter(|_| self.is_ready())
    }

    /// `metadata.uid`.
    pub(crate) fn uid(&self) -> &str {
        self.life.uid()
    }

    /// The number of the container port `name`.
    pub(crate) fn port(&self, name: &str) -> Option<u16> {
        let mut ports = self.plan.container.ports.iter();
        let named = ports.find(|port| port.name.as_deref() == Some(name))?;
        Some(named.container_port)
    }

    /// The pod as an endpoint of the mesh.
    pub(crate) fn endpoint(&self) -> mesh::Pod {
        mesh::Pod {
            name: self.name.clone(),
            workload: self.plan.identity.clone(),
            labels: self.plan.template.labels.clone(),
            ports: self.plan.container.ports.clone(),
            ready: self.ready.clone(),
            location: mesh::Location::Here(self.target),
        }
    }

    /// Stops accepting requests; requests in progress continue.
    pub(super) fn terminate(&self) {
        self.set_phase(Phase::Terminating);
        self.set_ready(false);
        self.stop.cancel();
    }

    /// The pod's metrics.
    pub(crate) fn meters(&self) -> &PodMeters {
        &self.account.meters
    }

    /// CPU time of its guests since the pod started, over all cores. Never decreases.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.account.cpu.used()
    }

    /// Requests since the pod started, without probes. Never decreases.
    pub(crate) fn requests_served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// How much `limits.cpu` throttled it.
    pub(crate) fn throttling(&self) -> Throttling {
        self.account.cpu.throttling()
    }

    /// Drops instances that have not been needed recently.
    pub(crate) fn trim(&self) {
        if let Some(guest) = self.guest.load_full() {
            guest.trim();
        }
    }

    pub(super) fn set_ready(&self, ready: bool) {
        let ready = ready && !self.stop.is_cancelled();
        {
            let mut since = self.ready_since.lock();
            *since = ready.then(|| since.unwrap_or_else(Instant::now));
        }
        if self.ready.swap(ready, Ordering::Relaxed) != ready {
            self.life.readiness_changed();
            self.readiness.send_modify(|changes| *changes += 1);
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.life.enter(phase);
        self.readiness.send_modify(|changes| *changes += 1);
    }

    /// Records an event of this pod.
    pub(super) fn record(&self, kind: EventType, reason: &'static str, message: &str) {
        self.life.record(kind, reason, message);
    }

    fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::Release) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

fn not_running() -> Failure {
    Failure::Start("the pod is not running".into())
}

/// Five random characters without vowels, as a cluster appends to the names of pods.
pub(super) fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    (0..5)
        .filter_map(|_| ALPHABET.get(rng.random_range(0..ALPHABET.len())))
        .map(|byte| char::from(*byte))
        .collect()
}
