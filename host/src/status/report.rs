//! The report: a document with everything that `galleria status` shows.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use galleria_manifest::model::ObjectKey;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::call::{Mesh, NO_SHARED_AUTHORITY};
use crate::listen::BoundListener;
use crate::store::{Source, Store};
use crate::tls::Expiring;
use crate::workload::{Board, CronJobStatus, JobStatus, Pod, PodExit, PodRegistry, WorkloadKey};

/// State that other parts of the host report to the status pages.
#[derive(Default)]
pub(crate) struct HostStatus {
    ready: AtomicBool,
    listeners: ArcSwap<Vec<BoundListener>>,
    /// Whether calls to other hosts are without mutual TLS.
    unproven: AtomicBool,
    /// Servers of gateways that are not opened, or not as their objects say.
    unopened: Mutex<Vec<String>>,
    /// The certificates that gateways present.
    certificates: ArcSwap<BTreeSet<Expiring>>,
    pub pods: Arc<PodRegistry>,
    pub jobs: Arc<Board>,
    /// Why the last configuration change was rejected; empty if it was accepted.
    rejected: Mutex<Vec<String>>,
    /// Objects from the API: their differences from the files, and the objects that wait.
    written: ArcSwap<WrittenReport>,
}

/// The state of the host at one moment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub version: String,
    pub ready: bool,
    pub listeners: Vec<ListenerReport>,
    pub workloads: Vec<WorkloadReport>,
    pub jobs: Vec<JobReport>,
    pub cron_jobs: Vec<CronJobReport>,
    pub routes: Vec<RouteReport>,
    /// Problems, each with what to do about it.
    pub problems: Vec<String>,
    /// Differences between the current objects and the files, made by the API.
    pub drift: Vec<String>,
    /// Objects as the Kubernetes API shows them: pods, events, revisions, and the objects
    /// of the manifests with their status.
    pub objects: Vec<serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListenerReport {
    pub gateway: String,
    pub port: u16,
    pub address: String,
    pub tls: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkloadReport {
    pub namespace: String,
    pub name: String,
    pub image: String,
    pub pods: Vec<PodReport>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PodReport {
    pub name: String,
    pub phase: String,
    pub ready: bool,
    pub restarts: u32,
    pub instances_idle: usize,
    pub instances_busy: usize,
    pub queued: usize,
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
    pub age_seconds: u64,
    pub message: Option<String>,
    /// How the pod, or an instance of it, last ended: `OOMKilled`, `Error`, ….
    pub last_termination: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JobReport {
    pub namespace: String,
    pub name: String,
    pub image: String,
    /// `2/3`.
    pub completions: String,
    pub phase: String,
    pub active: usize,
    pub failed: u32,
    pub age_seconds: u64,
    /// The latest finished runs of its pods, oldest first.
    pub pods: Vec<JobPodReport>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JobPodReport {
    pub name: String,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CronJobReport {
    pub namespace: String,
    pub name: String,
    pub schedule: String,
    pub time_zone: Option<String>,
    pub suspended: bool,
    pub active: usize,
    /// RFC 3339.
    pub last_schedule: Option<String>,
    /// RFC 3339.
    pub next: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RouteReport {
    /// `VirtualService namespace/name`.
    pub object: String,
    pub hosts: Vec<String>,
    pub gateways: Vec<String>,
    pub rules: Vec<RuleReport>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RuleReport {
    pub condition: String,
    pub action: String,
    pub destinations: Vec<DestinationReport>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DestinationReport {
    pub host: String,
    pub subset: Option<String>,
    pub weight: u32,
}

impl HostStatus {
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    pub(crate) fn listeners(&self) -> Arc<Vec<BoundListener>> {
        self.listeners.load_full()
    }

    pub(crate) fn set_listeners(&self, listeners: Vec<BoundListener>) {
        self.listeners.store(Arc::new(listeners));
    }

    pub(crate) fn set_unproven(&self, unproven: bool) {
        self.unproven.store(unproven, Ordering::Relaxed);
    }

    pub(crate) fn set_unopened(&self, problems: Vec<String>) {
        *self.unopened.lock() = problems;
    }

    pub(crate) fn set_certificates(&self, certificates: BTreeSet<Expiring>) {
        self.certificates.store(Arc::new(certificates));
    }

    /// The certificates that gateways present.
    pub(crate) fn certificates(&self) -> Arc<BTreeSet<Expiring>> {
        self.certificates.load_full()
    }

    /// Whether the last configuration change was accepted.
    pub(crate) fn is_accepted(&self) -> bool {
        self.rejected.lock().is_empty()
    }

    pub(crate) fn set_rejected(&self, problems: Vec<String>) {
        *self.rejected.lock() = problems;
    }

    pub(crate) fn set_written(&self, written: WrittenReport) {
        self.written.store(Arc::new(written));
    }

    /// The file of an object that the API changed.
    pub(crate) fn file_of_drifted(&self, key: &ObjectKey) -> Option<PathBuf> {
        self.written.load().drifted.get(key).cloned()
    }
}

/// Report about objects from the API, one line each.
#[derive(Debug, Default)]
pub(crate) struct WrittenReport {
    pub drift: Vec<String>,
    /// Objects that differ from their files, with these files.
    pub drifted: HashMap<ObjectKey, PathBuf>,
    /// Objects that refer to a missing object.
    pub waiting: Vec<String>,
}

/// Creates the report.
pub(crate) fn report(health: &HostStatus, mesh: &Mesh, store: &Store) -> Report {
    let workloads = workloads(&health.pods.all());
    let mut problems = health.rejected.lock().clone();
    problems.extend(health.unopened.lock().iter().cloned());
    if health.unproven.load(Ordering::Relaxed) {
        problems.push(NO_SHARED_AUTHORITY.to_owned());
    }
    for workload in &workloads {
        for pod in workload.pods.iter().filter(|pod| !pod.ready) {
            let reason = pod.message.as_deref().unwrap_or("it is not ready yet");
            problems.push(format!(
                "pod {}/{} is not ready: {reason}",
                workload.namespace, pod.name
            ));
        }
    }
    problems.extend(failed_jobs(&health.jobs));
    let written = health.written.load();
    problems.extend(written.waiting.iter().cloned());
    problems.extend(unenforced(store));
    let listeners = health.listeners.load();
    Report {
        version: env!("CARGO_PKG_VERSION").into(),
        ready: health.is_ready(),
        listeners: listeners
            .iter()
            .map(|listener| ListenerReport {
                gateway: listener.gateway.clone(),
                port: listener.port,
                address: listener.address.to_string(),
                tls: listener.tls,
            })
            .collect(),
        workloads,
        jobs: jobs(&health.jobs),
        cron_jobs: cron_jobs(&health.jobs),
        routes: routes(mesh),
        problems,
        drift: written.drift.clone(),
        objects: store
            .list()
            .0
            .iter()
            .filter(|stored| stored.source == Source::Host || !stored.status.is_null())
            .map(|stored| stored.to_json())
            .collect(),
    }
}

/// Policies that the host does not enforce.
fn unenforced(store: &Store) -> impl Iterator<Item = String> {
    let (objects, _) = store.list();
    objects.into_iter().filter_map(|stored| {
        let object = &stored.object;
        let restricts = object.is_unenforced_restriction();
        restricts.then(|| {
            format!(
                "{} is not enforced: everything it forbids is allowed",
                object.key()
            )
        })
    })
}

fn workloads(pods: &[Arc<Pod>]) -> Vec<WorkloadReport> {
    let mut workloads: Vec<WorkloadReport> = Vec::new();
    for pod in pods {
        let identity = &pod.plan.identity;
        let known = workloads
            .iter_mut()
            .find(|known| known.namespace == identity.namespace && known.name == identity.name);
        let status = pod.status();
        let report = PodReport {
            name: status.name,
            phase: status.phase.into(),
            ready: status.ready,
            restarts: status.restarts,
            instances_idle: status.pool.idle,
            instances_busy: status.pool.busy,
            queued: status.pool.queued,
            memory_bytes: status.memory_bytes,
            memory_limit_bytes: status.memory_limit_bytes,
            age_seconds: status.age.as_secs(),
            message: status.message,
            last_termination: status.last_termination.map(str::to_owned),
        };
        match known {
            Some(workload) => workload.pods.push(report),
            None => workloads.push(WorkloadReport {
                namespace: identity.namespace.clone(),
                name: identity.name.clone(),
                image: pod.plan.container.image.value.clone(),
                pods: vec![report],
            }),
        }
    }
    workloads
}

fn failed_jobs(board: &Board) -> Vec<String> {
    let failed = |(key, job): (WorkloadKey, JobStatus)| {
        let failure = job.failure()?;
        let WorkloadKey { namespace, name } = key;
        Some(format!("job {namespace}/{name} failed: {failure}"))
    };
    board.jobs().into_iter().filter_map(failed).collect()
}

fn jobs(board: &Board) -> Vec<JobReport> {
    let pod = |exit: PodExit| JobPodReport {
        name: exit.pod,
        exit_code: exit.code,
        reason: exit.reason.into(),
        message: exit.message,
    };
    let report = |(key, job): (WorkloadKey, JobStatus)| JobReport {
        completions: job.completions(),
        phase: job.phase().into(),
        active: job.active,
        failed: job.failed(),
        age_seconds: job.age().as_secs(),
        pods: job.exits.into_iter().map(pod).collect(),
        namespace: key.namespace,
        name: key.name,
        image: job.image,
    };
    board.jobs().into_iter().map(report).collect()
}

fn cron_jobs(board: &Board) -> Vec<CronJobReport> {
    let report = |(key, cron_job): (WorkloadKey, CronJobStatus)| CronJobReport {
        namespace: key.namespace,
        name: key.name,
        schedule: cron_job.schedule,
        time_zone: cron_job.time_zone,
        suspended: cron_job.suspended,
        active: cron_job.active,
        last_schedule: cron_job.last_schedule.map(|time| time.to_string()),
        next: cron_job.next.map(|time| time.to_string()),
    };
    board.cron_jobs().into_iter().map(report).collect()
}

fn routes(mesh: &Mesh) -> Vec<RouteReport> {
    let live = mesh.current.load();
    let route = |route: &galleria_mesh::RouteStatus| RouteReport {
        object: format!("{} {}", route.object.kind, route.object.qualified_name()),
        hosts: route.hosts.clone(),
        gateways: route.gateways.clone(),
        rules: route
            .rules
            .iter()
            .map(|rule| RuleReport {
                condition: rule.condition.clone(),
                action: rule.action.into(),
                destinations: rule
                    .destinations
                    .iter()
                    .map(|destination| DestinationReport {
                        host: destination.host.clone(),
                        subset: destination.subset.clone(),
                        weight: destination.weight,
                    })
                    .collect(),
            })
            .collect(),
    };
    live.snapshot.routes().iter().map(route).collect()
}
