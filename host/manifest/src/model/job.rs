//! Tasks: Job, and CronJob, which creates Jobs.

use std::time::Duration;

use super::{Labels, PodTemplate, Schedule};
use crate::WithPosition;

#[derive(Debug, Clone)]
pub struct Job {
    /// Its restart policy is `Never` or `OnFailure`.
    pub template: PodTemplate,
    /// Pods that must succeed. None for a work queue, which is complete when one has succeeded
    /// and all have ended. 1 if `parallelism` is absent too.
    pub completions: Option<u32>,
    /// Pods that run at once, 1 by default; 0 pauses the Job.
    pub parallelism: u32,
    pub completion_mode: CompletionMode,
    /// Retries of failed pods, 6 by default.
    pub backoff_limit: u32,
    /// The longest duration of the Job since its start, with retries and pauses.
    pub active_deadline: Option<Duration>,
    /// When the Job is deleted after its end; None for never.
    pub ttl_after_finished: Option<Duration>,
    /// Whether the Job is paused, without pods.
    pub suspend: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionMode {
    NonIndexed,
    /// Each pod has an index from 0 to `completions` - 1.
    Indexed,
}

#[derive(Debug, Clone)]
pub struct CronJob {
    pub schedule: WithPosition<Schedule>,
    pub concurrency_policy: ConcurrencyPolicy,
    /// The longest delay of a Job; None for any delay.
    pub starting_deadline: Option<Duration>,
    pub suspend: bool,
    /// Successful Jobs that are kept: 3 by default.
    pub successful_jobs_history_limit: u32,
    /// Failed Jobs that are kept: 1 by default.
    pub failed_jobs_history_limit: u32,
    /// `spec.jobTemplate.metadata`.
    pub job_labels: Labels,
    pub job_annotations: Labels,
    /// `spec.jobTemplate.spec`.
    pub job: Job,
}

/// What happens if the previous Job is still running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConcurrencyPolicy {
    /// Both run.
    Allow,
    /// The new Job is skipped.
    Forbid,
    /// The running Job is deleted first.
    Replace,
}
