//! One replica: a guest that is started, watched, restarted and ended.

mod container;
mod end;
mod life;
mod object;

pub(super) use life::Life;
pub(super) use object::manifest;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use galleria_manifest::model::{Probe, RestartPolicy};
use galleria_mesh as mesh;
use jiff::Timestamp;
use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::configuration::Configuration;
use super::guest_setup::PodAccount;
use super::plan::PodPlan;
use super::recorder::EventType;
use super::volumes::PodVolumes;
use super::{Platform, probe};
use crate::context::RequestContext;
use crate::guest::{Failure, Guest, PoolStatus, Throttling};
use crate::store::fresh_uid;
use crate::telemetry::metrics::PodMeters;
use crate::{Request, Response};
use container::CONFIG_ERROR;
use life::Phase;

/// The reason of a pod that wrote more than it may, or whose memory others are
/// entitled to; its emptyDirs begin anew.
const EVICTED: &str = "Evicted";

/// A pod, from its start until its last request has left.
pub(crate) struct Pod {
    pub name: String,
    /// What `status.podIP` says: an address for logs, not one to connect to.
    pub address: String,
    pub plan: Arc<PodPlan>,
    /// The mesh's number for this pod; never used twice.
    pub target: usize,
    ready: Arc<AtomicBool>,
    ready_since: Mutex<Option<Instant>>,
    readiness: watch::Sender<u64>,
    guest: ArcSwapOption<Guest>,
    /// What it refers to, as it is today.
    configuration: watch::Sender<Arc<Configuration>>,
    volumes: Arc<PodVolumes>,
    account: PodAccount,
    restarts: AtomicU32,
    created: Instant,
    life: Arc<Life>,
    requests: AtomicUsize,
    idle: Notify,
    stop: CancellationToken,
    served: AtomicU64,
}

/// A pod at one moment.
#[derive(Debug, Clone)]
pub(crate) struct PodStatus {
    pub name: String,
    pub ready: bool,
    pub restarts: u32,
    /// As kubectl's STATUS column: `Running`, `CrashLoopBackOff`, …
    pub phase: &'static str,
    /// Why it does not run.
    pub message: Option<String>,
    /// How it, or an instance of it, last ended: a reason as in Kubernetes.
    pub last_termination: Option<&'static str>,
    pub age: Duration,
    pub pool: PoolStatus,
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
}

/// A request that a pod is serving; the pod is not drained while one lives.
pub(crate) struct InFlight(Arc<Pod>);

impl Pod {
    /// Begins to start a pod. Its readiness is announced on `readiness`.
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

    /// Serves a request of the mesh. The pod stays until `InFlight` is dropped.
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

    /// Counts a request for as long as the answer lives.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Lets the pod follow changed ConfigMaps and Secrets, in its own time.
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

    /// Since when it is ready without a break; none when it is not.
    pub(super) fn ready_since(&self) -> Option<Instant> {
        let since = *self.ready_since.lock();
        since.filter(|_| self.is_ready())
    }

    /// `metadata.uid`.
    pub(crate) fn uid(&self) -> &str {
        self.life.uid()
    }

    /// The number of its port `name`.
    pub(crate) fn port(&self, name: &str) -> Option<u16> {
        let mut ports = self.plan.container.ports.iter();
        let named = ports.find(|port| port.name.as_deref() == Some(name))?;
        Some(named.container_port)
    }

    /// As the mesh wants to see it.
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

    /// Takes no new requests; those under way finish.
    pub(super) fn terminate(&self) {
        self.set_phase(Phase::Terminating);
        self.set_ready(false);
        self.stop.cancel();
    }

    /// What is counted of it.
    pub(crate) fn meters(&self) -> &PodMeters {
        &self.account.meters
    }

    /// CPU time of its guests since it began, over all cores. It only grows.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.account.cpu.used()
    }

    /// Requests since it began, those of probes not among them. It only grows.
    pub(crate) fn requests_served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// How much `limits.cpu` held it back.
    pub(crate) fn throttling(&self) -> Throttling {
        self.account.cpu.throttling()
    }

    /// Lets go of instances that were not needed lately.
    pub(crate) fn trim(&self) {
        if let Some(guest) = self.guest.load_full() {
            guest.trim();
        }
    }

    pub(crate) fn status(&self) -> PodStatus {
        let moment = self.life.moment();
        let message = match (&moment.phase, &moment.last) {
            (Phase::Waiting { .. } | Phase::Failed, Some(last)) => {
                Some(format!("{}: {}", last.reason, last.message))
            }
            (Phase::Waiting { message, .. }, None) => Some(message.clone()),
            _ => None,
        };
        PodStatus {
            name: self.name.clone(),
            ready: self.is_ready(),
            restarts: self.restarts(),
            phase: moment.phase.name(),
            message,
            last_termination: moment.last.map(|last| last.reason),
            age: self.created.elapsed(),
            pool: self
                .guest
                .load()
                .as_ref()
                .map(|guest| guest.status())
                .unwrap_or_default(),
            memory_bytes: self.account.memory.used(),
            memory_limit_bytes: self.account.memory.limit(),
        }
    }

    /// Starts the guest, watches it, and starts it again when it ends badly.
    async fn supervise(self: Arc<Self>, platform: Platform) {
        let mut backoff = Backoff::new(platform.restart_backoff_initial);
        loop {
            let started = Instant::now();
            let ended = tokio::select! {
                () = self.stop.cancelled() => return,
                ended = self.run(&platform) => ended,
            };
            self.set_ready(false);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.end_guest(ended.grace) => {}
            }
            if ended.reason == EVICTED {
                self.remove_files(&platform.sql).await;
            }
            if self.is_never_restarted() && ended.reason != CONFIG_ERROR {
                return self.fail(&ended);
            }
            let pause = backoff.pause(started.elapsed());
            self.back_off(ended, pause);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// `restartPolicy: Never` of a Pod: what ended stays so.
    fn fail(&self, ended: &Ended) {
        let Ended {
            reason, message, ..
        } = ended;
        tracing::error!(pod = self.name, reason, "failed: {message}");
        self.life.ended(reason, message);
        self.life.record(EventType::Warning, "Failed", message);
        self.set_phase(Phase::Failed);
    }

    fn is_never_restarted(&self) -> bool {
        self.plan.template.spec.restart_policy == RestartPolicy::Never
    }

    /// Whether it has ended and is not restarted.
    pub(super) fn has_failed(&self) -> bool {
        self.life.moment().phase == Phase::Failed
    }

    /// Tells what ended and that it starts again after `pause`.
    fn back_off(&self, ended: Ended, pause: Duration) {
        let Ended {
            reason, message, ..
        } = ended;
        tracing::warn!(
            pod = self.name,
            reason,
            pause_seconds = pause.as_secs_f32(),
            "restarting: {message}"
        );
        if reason == CONFIG_ERROR {
            // Nothing ran, so nothing is started again.
            self.record(EventType::Warning, "Failed", &message);
            return self.set_phase(Phase::Waiting { reason, message });
        }
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.life.ended(reason, &message);
        let message = format!(
            "back-off {pause:?} restarting failed container={} pod={}_{}",
            self.plan.container.name, self.name, self.plan.identity.namespace
        );
        self.record(EventType::Warning, "BackOff", &message);
        let reason = "CrashLoopBackOff";
        self.set_phase(Phase::Waiting { reason, message });
    }

    /// One life of the guest; returns how it ended.
    async fn run(self: &Arc<Self>, platform: &Platform) -> Ended {
        self.life.log.begin_run();
        self.set_phase(Phase::Starting);
        let guest = match self.make_guest(platform).await {
            Ok(guest) => Arc::new(guest),
            Err(ended) => return ended,
        };
        if let Err(failure) = guest.warm_up().await {
            let (reason, message) = (failure.reason(), failure.to_string());
            self.record(EventType::Warning, reason, &message);
            return Ended::at_once(reason, message);
        }
        self.guest.store(Some(guest));
        let since = Timestamp::now();
        self.set_phase(Phase::Running {
            since,
            started: false,
        });
        let text = format!("Started container {}", self.plan.container.name);
        self.record(EventType::Normal, "Started", &text);
        tokio::select! {
            ended = self.watch(since) => ended,
            message = self.volumes.until_over_limit() => Ended::at_once(EVICTED, message),
            message = self.account.memory.until_evicted() => Ended::at_once(EVICTED, message),
            never = self.follow_configuration(platform) => match never {},
        }
    }

    /// Probes the guest, which runs since `since`, until it has to be restarted.
    async fn watch(&self, since: Timestamp) -> Ended {
        let container = &self.plan.container;
        let probes = probe::Probes::new(self);
        if let Some(startup) = &container.startup_probe
            && let Err(message) = probes.until_started(startup).await
        {
            return self.killed_by_probe("startup", startup, message);
        }
        self.set_phase(Phase::Running {
            since,
            started: true,
        });
        let readiness = probes.keep_ready(container.readiness_probe.as_ref());
        let liveness = async {
            let Some(probe) = &container.liveness_probe else {
                return std::future::pending().await;
            };
            let message = probes.until_dead(probe).await;
            self.killed_by_probe("liveness", probe, message)
        };
        tokio::select! {
            never = readiness => match never {},
            ended = liveness => ended,
        }
    }

    fn killed_by_probe(&self, kind: &str, probe: &Probe, message: String) -> Ended {
        let container = &self.plan.container.name;
        let text = format!("Container {container} failed {kind} probe, will be restarted");
        self.record(EventType::Normal, "Killing", &text);
        Ended {
            reason: "ProbeFailed",
            message,
            grace: probe
                .termination_grace_period
                .unwrap_or(self.plan.grace_period),
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

    /// Notes an event of this pod.
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

/// How a guest's life ended.
struct Ended {
    reason: &'static str,
    message: String,
    /// How long what is under way may go on.
    grace: Duration,
}

impl Ended {
    fn at_once(reason: &'static str, message: String) -> Self {
        let grace = Duration::ZERO;
        Self {
            reason,
            message,
            grace,
        }
    }
}

fn not_running() -> Failure {
    Failure::Start("the pod is not running".into())
}

/// Five characters that make no word, as a cluster ends the names of pods.
pub(super) fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    (0..5)
        .filter_map(|_| ALPHABET.get(rng.random_range(0..ALPHABET.len())))
        .map(|byte| char::from(*byte))
        .collect()
}
