//! One pod of a Job: a component that runs to completion, and is restarted if its restart
//! policy says so.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use galleria_manifest::WithPosition;
use galleria_manifest::model::{PodTemplate, RestartPolicy};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::{JobsContext, PodExit};
use crate::guest::{self, Failure, GuestSetup};
use crate::store::fresh_uid;
use crate::workload::WorkloadKey;
use crate::workload::backoff::Backoff;
use crate::workload::guest_setup::{PodAccount, PodIdentity, setup};
use crate::workload::plan::PodPlan;
use crate::workload::pod::{Life, suffix};
use crate::workload::scheduling;
use crate::workload::volumes::PodVolumes;

const INDEX_ANNOTATION: &str = "batch.kubernetes.io/job-completion-index";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// A pod that has not ended. Dropping it kills the guest.
pub(super) struct ActivePod {
    pub(super) name: String,
    pub(super) index: Option<u32>,
    /// Whether it failed and waits before it is restarted.
    pub(super) waits: bool,
    /// The template with the labels of this pod.
    pub(super) template: PodTemplate,
    pub(super) life: Arc<Life>,
    /// Disabled until its Job sets it.
    pub(super) span: Span,
    task: AbortHandle,
}

/// A message from a pod to its Job.
pub(super) struct PodEvent {
    pub(super) pod: String,
    pub(super) change: PodChange,
}

pub(super) enum PodChange {
    Ended(PodExit),
    /// It failed, and is restarted after a pause.
    Waits(PodExit),
    StartsAgain,
    /// The node accepts it, or does not accept it yet.
    Scheduling,
    /// It was evicted, and is gone.
    Evicted,
}

struct Pod {
    shared: Arc<JobsContext>,
    plan: Arc<PodPlan>,
    name: String,
    /// The template with the labels of this pod.
    template: PodTemplate,
    index: Option<u32>,
    life: Arc<Life>,
    account: PodAccount,
    volumes: Arc<PodVolumes>,
    events: mpsc::Sender<PodEvent>,
    /// Cancelled when a client evicts the pod.
    evicted: CancellationToken,
}

/// Starts a pod of the Job `job`, which sends its changes to `events`.
pub(super) fn start(
    shared: &Arc<JobsContext>,
    job: &WorkloadKey,
    plan: &Arc<PodPlan>,
    index: Option<u32>,
    events: mpsc::Sender<PodEvent>,
) -> ActivePod {
    let name = match index {
        Some(index) => format!("{}-{index}-{}", job.name, suffix()),
        None => format!("{}-{}", job.name, suffix()),
    };
    let volumes = &shared.platform.volumes;
    let pod = Pod {
        volumes: volumes.of_pod(
            &plan.identity.namespace,
            &name,
            &plan.container,
            &plan.volumes,
        ),
        shared: shared.clone(),
        plan: plan.clone(),
        name: name.clone(),
        template: template(job, plan, index),
        index,
        life: Life::new(
            &shared.platform,
            plan.identity.namespace.clone(),
            name.clone(),
            fresh_uid(),
        ),
        account: PodAccount::new(plan, &shared.platform),
        events,
        evicted: shared.evictable(&plan.identity.namespace, &name),
    };
    ActivePod {
        name,
        index,
        waits: false,
        template: pod.template.clone(),
        life: pod.life.clone(),
        span: Span::none(),
        task: tokio::spawn(pod.run()).abort_handle(),
    }
}

impl Drop for ActivePod {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pod {
    async fn run(self) {
        let mut backoff = Backoff::new(self.shared.platform.restart_backoff_initial);
        self.until_scheduled().await;
        loop {
            let started = Instant::now();
            let exit = tokio::select! {
                exit = self.run_once() => exit,
                () = self.until_evicted() => return self.send(PodChange::Evicted).await,
            };
            let again = exit.code != 0
                && self.plan.template.spec.restart_policy == RestartPolicy::OnFailure;
            if !again {
                self.send(PodChange::Ended(exit)).await;
                return;
            }
            self.send(PodChange::Waits(exit)).await;
            tokio::time::sleep(backoff.pause(started.elapsed())).await;
            self.send(PodChange::StartsAgain).await;
        }
    }

    /// Waits until the node accepts the pod.
    async fn until_scheduled(&self) {
        let changed = || {
            let (pod, change) = (self.name.clone(), PodChange::Scheduling);
            // If it fails, the Job reads many changes already, or has ended.
            let _ = self.events.try_send(PodEvent { pod, change });
        };
        let tolerations = &self.template.spec.tolerations;
        let platform = &self.shared.platform;
        scheduling::until_scheduled(platform, tolerations, &self.life, changed).await;
    }

    /// Waits until a client evicts the pod, or a taint of the node does.
    async fn until_evicted(&self) {
        let mut node = self.shared.platform.node.subscribe();
        let tolerations = &self.template.spec.tolerations;
        let by_node = async { node.wait_for(|it| it.evicts(tolerations)).await.is_ok() };
        tokio::select! {
            () = self.evicted.cancelled() => {}
            is_evicted = by_node => if !is_evicted {
                // The host ends.
                std::future::pending::<()>().await;
            },
        }
    }

    async fn run_once(&self) -> PodExit {
        self.life.log.begin_run();
        let gauge = &self.shared.platform.metrics.job_pods;
        let _counted = GaugeGuard::up(gauge.with_label_values(&self.plan.labels()));
        let (code, reason, message) = match self.guest().await {
            Ok(0) => (0, "Completed", "exit code 0".to_owned()),
            Ok(code) => (code, "Error", format!("exit code {code}")),
            Err(failure) => {
                let code = match failure {
                    Failure::OutOfMemory(_) | Failure::Evicted(_) => 137,
                    Failure::Start(_) => 128,
                    _ => 134,
                };
                (code, failure.reason(), failure.to_string())
            }
        };
        let (namespace, pod) = (&self.plan.identity.namespace, &self.name);
        let cpu_seconds = self.account.cpu.used().as_secs_f64();
        if code == 0 {
            tracing::info!(
                namespace,
                pod,
                exit_code = code,
                reason,
                cpu_seconds,
                "pod ended"
            );
        } else {
            tracing::warn!(
                namespace,
                pod,
                exit_code = code,
                reason,
                cpu_seconds,
                "pod ended: {message}"
            );
        }
        PodExit {
            pod: self.name.clone(),
            code,
            reason,
            message,
        }
    }

    async fn guest(&self) -> Result<i32, Failure> {
        let number = self.shared.pods.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(10, 65, high, low).to_string();
        let mut setup = self.setup(address).await?;
        if let Some(index) = self.index
            && !setup
                .environment
                .iter()
                .any(|(name, _)| name == INDEX_VARIABLE)
        {
            let variable = (INDEX_VARIABLE.to_owned(), index.to_string());
            setup.environment.push(variable);
        }
        let message = tokio::select! {
            ended = guest::run(&setup) => return ended,
            message = self.volumes.until_over_limit() => message,
            message = self.account.memory.until_evicted() => message,
        };
        self.volumes.remove(&self.shared.platform.sql).await;
        Err(Failure::Evicted(message.into()))
    }

    async fn setup(&self, address: String) -> Result<GuestSetup, Failure> {
        self.volumes.empty_root(&self.shared.platform.sql).await;
        let (plan, platform) = (self.plan.clone(), self.shared.platform.clone());
        let (name, template) = (self.name.clone(), self.template.clone());
        let (volumes, account) = (self.volumes.clone(), self.account.clone());
        let life = self.life.clone();
        let files = platform.volumes.files.clone();
        let made = files.run(move || {
            let identity = PodIdentity {
                name: &name,
                address: &address,
                template: &template,
                life: &life,
            };
            let configuration = &plan.configuration;
            setup(
                &plan,
                &platform,
                &identity,
                configuration,
                &volumes,
                &account,
            )
        });
        let made = made.await.unwrap_or_else(|error| Err(error.to_string()));
        made.map_err(|message| Failure::Start(message.into()))
    }

    /// Sends a change to the Job.
    async fn send(&self, change: PodChange) {
        let pod = self.name.clone();
        // Fails if the Job has ended.
        let _ = self.events.send(PodEvent { pod, change }).await;
    }
}

impl Drop for Pod {
    /// Removes the files, also if the pod is killed.
    fn drop(&mut self) {
        let namespace = &self.plan.identity.namespace;
        self.shared.forget_evictable(namespace, &self.name);
        let (volumes, sql) = (self.volumes.clone(), self.shared.platform.sql.clone());
        // There is no runtime while the process exits; the next start removes the files.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { volumes.remove(&sql).await });
        }
    }
}

/// The template with the labels and the annotation that a cluster adds to pods of a Job.
fn template(job: &WorkloadKey, plan: &PodPlan, index: Option<u32>) -> PodTemplate {
    let mut template = plan.template.clone();
    for label in NAME_LABELS {
        template.labels.insert(label.into(), job.name.clone());
    }
    if let Some(owner) = &plan.owner {
        for label in UID_LABELS {
            template.labels.insert(label.into(), owner.uid.clone());
        }
    }
    if let Some(index) = index {
        let at = template.spec.at.clone();
        let value = WithPosition::new(index.to_string(), at);
        template.annotations.insert(INDEX_ANNOTATION.into(), value);
    }
    template
}

/// Increments a gauge until it is dropped.
struct GaugeGuard(prometheus::IntGauge);

impl GaugeGuard {
    fn up(gauge: prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
