//! The state of Jobs and CronJobs for `galleria status`, written by their supervisor
//! tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::progress::Progress;
use crate::workload::{PodLog, WorkloadKey};

/// The latest state of each Job and CronJob.
#[derive(Default)]
pub(crate) struct Board {
    jobs: Mutex<BTreeMap<WorkloadKey, JobStatus>>,
    cron_jobs: Mutex<BTreeMap<WorkloadKey, CronJobStatus>>,
    /// The logs of the pods of ended Jobs, as long as the Job exists.
    logs: Mutex<BTreeMap<WorkloadKey, Vec<Arc<PodLog>>>>,
}

/// A Job at one moment.
#[derive(Debug, Clone)]
pub(crate) struct JobStatus {
    pub image: String,
    /// None for a work queue.
    pub completions: Option<u32>,
    pub suspended: bool,
    pub active: usize,
    pub progress: Progress,
    /// The last pods that ended, in order.
    pub exits: Vec<PodExit>,
}

/// How one run of a pod ended.
#[derive(Debug, Clone)]
pub(crate) struct PodExit {
    pub pod: String,
    /// As of a container: 0 for success, 134 for a trap, 137 if the pod was killed or
    /// exceeded its memory, 128 if it could not be started.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, …
    pub reason: &'static str,
    pub message: String,
}

/// A CronJob at one moment.
#[derive(Debug, Clone)]
pub(crate) struct CronJobStatus {
    pub schedule: String,
    pub time_zone: Option<String>,
    pub suspended: bool,
    pub active: usize,
    pub last_schedule: Option<Timestamp>,
    pub next: Option<Timestamp>,
}

impl JobStatus {
    /// As in kubectl's STATUS column.
    pub(crate) fn phase(&self) -> &'static str {
        match &self.progress.end {
            Some(end) if end.failure.is_some() => "Failed",
            Some(_) => "Complete",
            None if self.suspended => "Suspended",
            None => "Running",
        }
    }

    /// As in kubectl's COMPLETIONS column.
    pub(crate) fn completions(&self) -> String {
        let succeeded = self.progress.succeeded;
        match self.completions {
            Some(completions) => format!("{succeeded}/{completions}"),
            None => format!("{succeeded}"),
        }
    }

    pub(crate) fn failed(&self) -> u32 {
        self.progress.failed + self.progress.restarts
    }

    /// The time since the start; zero while it is suspended.
    pub(crate) fn age(&self) -> Duration {
        let age = self
            .progress
            .start_time
            .map(|start| Timestamp::now().duration_since(start));
        age.and_then(|age| Duration::try_from(age).ok())
            .unwrap_or_default()
    }

    /// Why it failed, including how its last pod ended; None if it did not fail.
    pub(crate) fn failure(&self) -> Option<String> {
        let failure = self.progress.end.as_ref()?.failure.as_ref()?;
        let last = self.exits.last().map(|exit| {
            let (pod, message) = (&exit.pod, &exit.message);
            format!("; its last pod {pod} ended with {message}")
        });
        let (reason, message) = (&failure.reason, &failure.message);
        Some(format!("{reason}: {message}{}", last.unwrap_or_default()))
    }
}

impl Board {
    pub(crate) fn jobs(&self) -> Vec<(WorkloadKey, JobStatus)> {
        let jobs = self.jobs.lock();
        let copy = |(key, status): (&WorkloadKey, &JobStatus)| (key.clone(), status.clone());
        jobs.iter().map(copy).collect()
    }

    pub(crate) fn cron_jobs(&self) -> Vec<(WorkloadKey, CronJobStatus)> {
        let cron_jobs = self.cron_jobs.lock();
        let copy = |(key, status): (&WorkloadKey, &CronJobStatus)| (key.clone(), status.clone());
        cron_jobs.iter().map(copy).collect()
    }

    pub(super) fn set_job(&self, key: &WorkloadKey, status: JobStatus) {
        self.jobs.lock().insert(key.clone(), status);
    }

    pub(super) fn keep_logs(&self, key: &WorkloadKey, logs: Vec<Arc<PodLog>>) {
        self.logs.lock().insert(key.clone(), logs);
    }

    pub(super) fn remove_job(&self, key: &WorkloadKey) {
        self.jobs.lock().remove(key);
        self.logs.lock().remove(key);
    }

    pub(super) fn set_cron_job(&self, key: &WorkloadKey, status: CronJobStatus) {
        self.cron_jobs.lock().insert(key.clone(), status);
    }

    pub(super) fn remove_cron_job(&self, key: &WorkloadKey) {
        self.cron_jobs.lock().remove(key);
    }
}
