//! Jobs and CronJobs: components that run to completion.
//!
//! Each Job and each CronJob has a supervisor task, which carries out the decisions of the
//! pure functions in `progress.rs` and `due.rs`: it starts pods and writes the status to
//! the store. A Job from a file runs once per name and template. Its progress is kept in
//! the data folder, so that a restarted host continues it, and does not repeat it after it
//! has finished.
//!
//! A component receives no signals. Where a cluster sends SIGTERM, pods can finish within
//! their grace period; at a deadline they are killed at once.

mod board;
mod cron_job;
mod due;
mod object;
mod pod;
mod progress;
mod record;
mod run;
mod span;
mod status;

pub(crate) use board::{Board, CronJobStatus, JobStatus, PodExit};

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use galleria_manifest::model::ObjectKey;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::plan::{CronJobPlan, JobPlan, PodPlan};
use super::{Plan, Platform, WorkloadKey};
use crate::store::Store;
use crate::telemetry::trace::control::Cause;
use cron_job::CronJobRun;
use object::PodObjects;
use record::Records;
use run::JobRun;

/// The Jobs and CronJobs of the manifests, by name.
pub(crate) struct Jobs {
    shared: Arc<JobsContext>,
    jobs: BTreeMap<WorkloadKey, SupervisedTask<JobPlan>>,
    cron_jobs: BTreeMap<WorkloadKey, SupervisedTask<CronJobPlan>>,
    /// The first plan removes the records of Jobs that no longer exist.
    is_first_plan: bool,
}

/// What all Jobs share.
struct JobsContext {
    platform: Platform,
    store: Arc<Store>,
    board: Arc<Board>,
    records: Records,
    /// The supervisor tasks.
    tasks: TaskTracker,
    /// The number of pods started so far, for their addresses.
    pods: AtomicU32,
    /// Cancelled to evict a pod, by its namespace and name.
    evictions: Mutex<BTreeMap<(String, String), CancellationToken>>,
}

impl JobsContext {
    /// The token that evicts a new pod.
    fn evictable(&self, namespace: &str, pod: &str) -> CancellationToken {
        let token = CancellationToken::new();
        let key = (namespace.to_owned(), pod.to_owned());
        self.evictions.lock().insert(key, token.clone());
        token
    }

    fn forget_evictable(&self, namespace: &str, pod: &str) {
        let key = (namespace.to_owned(), pod.to_owned());
        self.evictions.lock().remove(&key);
    }
}

/// A task that follows its plan until it is stopped.
struct SupervisedTask<P> {
    plan: watch::Sender<Arc<P>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Jobs {
    pub(crate) fn new(
        platform: Platform,
        store: Arc<Store>,
        board: Arc<Board>,
        data: &Path,
    ) -> Self {
        let shared = JobsContext {
            platform,
            store,
            board,
            records: Records::new(data),
            tasks: TaskTracker::new(),
            pods: AtomicU32::new(0),
            evictions: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            jobs: BTreeMap::new(),
            cron_jobs: BTreeMap::new(),
            is_first_plan: true,
        }
    }

    /// Starts what is new in `plan`, ends what was removed, and updates the rest.
    pub(crate) fn apply(&mut self, plan: &Plan) {
        if std::mem::take(&mut self.is_first_plan) {
            self.shared.records.keep(plan);
        }
        for key in gone(&self.jobs, &plan.jobs) {
            self.end_job(&key);
        }
        for key in gone(&self.cron_jobs, &plan.cron_jobs) {
            if let Some(gone) = self.cron_jobs.remove(&key) {
                gone.stop.cancel();
            }
        }
        for (key, wanted) in &plan.jobs {
            self.apply_job(key, wanted);
        }
        for (key, wanted) in &plan.cron_jobs {
            match self.cron_jobs.get(key) {
                Some(known) => known.follow(wanted),
                None => {
                    let started = self.start_cron_job(key, wanted);
                    self.cron_jobs.insert(key.clone(), started);
                }
            }
        }
    }

    /// Ends the pod with this name, which counts as failed; its Job starts another one.
    /// Returns whether the pod exists.
    pub(crate) fn evict(&self, pod: &ObjectKey) -> bool {
        let key = (pod.namespace.clone(), pod.name.clone());
        let evicted = self.shared.evictions.lock().get(&key).cloned();
        evicted.inspect(CancellationToken::cancel).is_some()
    }

    /// Ends every Job. Running pods can finish within their grace period; those that do not
    /// are started again with the next start of the host.
    pub(crate) async fn stop(&mut self) {
        for job in self.jobs.values() {
            job.stop.cancel();
        }
        for cron_job in self.cron_jobs.values() {
            cron_job.stop.cancel();
        }
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    fn apply_job(&mut self, key: &WorkloadKey, wanted: &Arc<JobPlan>) {
        let before = match self.jobs.get(key) {
            Some(known) if known.plan.borrow().work() == wanted.work() => {
                known.follow(wanted);
                return;
            }
            Some(_) => self.end_job(key),
            None => None,
        };
        let stop = CancellationToken::new();
        let (plan, follower) = watch::channel(wanted.clone());
        let (shared, key, stopped) = (self.shared.clone(), key.clone(), stop.clone());
        let (name, cause) = (key.clone(), Cause::current());
        let task = self.shared.tasks.spawn(async move {
            if let Some(before) = before {
                // Its result does not matter.
                let _ = before.await;
            }
            let run = JobRun::of_file(shared, key, follower, stopped);
            run.caused_by(cause).run().await;
        });
        self.jobs.insert(name, SupervisedTask { plan, stop, task });
    }

    /// Ends a Job that was removed or has another template, and removes its records.
    fn end_job(&mut self, key: &WorkloadKey) -> Option<JoinHandle<()>> {
        let gone = self.jobs.remove(key)?;
        gone.stop.cancel();
        let (shared, key) = (self.shared.clone(), key.clone());
        Some(self.shared.tasks.spawn(async move {
            // Its result does not matter.
            let _ = gone.task.await;
            shared.board.remove_job(&key);
            PodObjects::forget(&shared, &key);
            shared.records.remove_job(&key);
        }))
    }

    fn start_cron_job(
        &self,
        key: &WorkloadKey,
        wanted: &Arc<CronJobPlan>,
    ) -> SupervisedTask<CronJobPlan> {
        let stop = CancellationToken::new();
        let (plan, follower) = watch::channel(wanted.clone());
        let run = CronJobRun::new(self.shared.clone(), key.clone(), follower, stop.clone());
        let task = self.shared.tasks.spawn(run.run());
        SupervisedTask { plan, stop, task }
    }
}

impl<P> SupervisedTask<P> {
    fn follow(&self, wanted: &Arc<P>) {
        self.plan.send_replace(wanted.clone());
    }
}

impl JobPlan {
    /// A digest of the immutable fields, which is kept with the record: if it differs, this
    /// is another Job.
    fn work(&self) -> String {
        record::digest(&self.object.written_job_identity())
    }
}

impl PodPlan {
    /// The labels of the Job in metrics.
    fn labels(&self) -> [&str; 2] {
        [&self.identity.namespace, &self.identity.name]
    }
}

fn gone<A, B>(
    running: &BTreeMap<WorkloadKey, A>,
    wanted: &BTreeMap<WorkloadKey, B>,
) -> Vec<WorkloadKey> {
    let is_gone = |key: &&WorkloadKey| !wanted.contains_key(*key);
    running.keys().filter(is_gone).cloned().collect()
}

fn object_key(kind: &str, key: &WorkloadKey) -> ObjectKey {
    ObjectKey {
        group: "batch".into(),
        kind: kind.into(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

/// Waits until `time`, but at most 10 s: the system clock may be set.
async fn until(time: Option<Timestamp>) {
    const LONGEST: Duration = Duration::from_secs(10);
    let Some(time) = time else {
        return std::future::pending().await;
    };
    let left = time.duration_since(Timestamp::now());
    let left = Duration::try_from(left).unwrap_or_default();
    tokio::time::sleep(left.min(LONGEST)).await;
}
