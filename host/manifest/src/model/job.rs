//! Work that ends: Job, and CronJob which makes Jobs.

use std::time::Duration;

use super::{Labels, PodTemplate, Schedule};
use crate::Located;

#[derive(Debug, Clone)]
pub struct Job {
    /// Its restart policy is `Never` or `OnFailure`.
    pub template: PodTemplate,
    /// Pods that must succeed. None: a work queue, done when one has succeeded
    /// and all have ended; 1 where `parallelism` is absent too.
    pub completions: Option<u32>,
    /// Pods that run at once, 1 where absent; 0 holds the Job.
    pub parallelism: u32,
    pub completion_mode: CompletionMode,
    /// Failures that are tried again, 6 where absent.
    pub backoff_limit: u32,
    /// How long the Job may take from its start, tries and pauses included.
    pub active_deadline: Option<Duration>,
    /// How long after its end it is kept; None keeps it.
    pub ttl_after_finished: Option<Duration>,
    /// Whether it has no pods for now.
    pub suspend: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionMode {
    NonIndexed,
    /// Each pod does the work of one index, 0 to `completions` - 1.
    Indexed,
}

#[derive(Debug, Clone)]
pub struct CronJob {
    pub schedule: Located<Schedule>,
    pub concurrency_policy: ConcurrencyPolicy,
    /// How late a Job may start; None: however late.
    pub starting_deadline: Option<Duration>,
    pub suspend: bool,
    /// Finished Jobs that are kept: 3 where absent.
    pub successful_jobs_history_limit: u32,
    /// Failed Jobs that are kept: 1 where absent.
    pub failed_jobs_history_limit: u32,
    /// `spec.jobTemplate.metadata`.
    pub job_labels: Labels,
    pub job_annotations: Labels,
    /// `spec.jobTemplate.spec`.
    pub job: Job,
}

/// What happens at a time when a Job of the CronJob still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConcurrencyPolicy {
    /// Another one starts beside it.
    Allow,
    /// The time is left out.
    Forbid,
    /// The running one is ended first.
    Replace,
}
