//! One Job: starts its pods, and reports its progress until it ends.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::object::{JobPodPhase, PodObject, PodObjects};
use super::pod::{self, ActivePod, PodChange, PodEvent};
use super::progress::{End, JobFailure, Progress};
use super::record::JobRecord;
use super::span::{self, JobSpan};
use super::{JobStatus, JobsContext, PodExit, object_key, status, until};
use crate::telemetry::trace::control::Cause;
use crate::workload::WorkloadKey;
use crate::workload::plan::JobPlan;

/// The number of ended pods that `galleria status` shows.
const EXITS_MAX: usize = 10;

/// Events of pods that wait to be read; a pod with another event waits.
const EVENTS_MAX: usize = 64;

/// The supervisor of a Job.
pub(super) struct JobRun {
    shared: Arc<JobsContext>,
    key: WorkloadKey,
    plan: watch::Receiver<Arc<JobPlan>>,
    stop: CancellationToken,
    progress: Progress,
    /// The progress that is in the data folder; None if the Job has no record.
    recorded: Option<Progress>,
    pods: Vec<ActivePod>,
    exits: Vec<PodExit>,
    objects: PodObjects,
    events: mpsc::Receiver<PodEvent>,
    /// Cloned for each pod.
    event_sender: mpsc::Sender<PodEvent>,
    span: JobSpan,
}

impl JobRun {
    /// A Job from a file; it continues from its record.
    pub(super) fn of_file(
        shared: Arc<JobsContext>,
        key: WorkloadKey,
        plan: watch::Receiver<Arc<JobPlan>>,
        stop: CancellationToken,
    ) -> Self {
        let work = plan.borrow().work();
        let record = shared.records.job(&key);
        let progress = record
            .filter(|record| record.work == work)
            .map(|record| record.progress)
            .unwrap_or_default();
        Self {
            recorded: Some(progress.clone()),
            progress,
            ..Self::of_cron_job(shared, key, plan, stop)
        }
    }

    /// A Job that a CronJob created; it does not survive a restart of the host.
    pub(super) fn of_cron_job(
        shared: Arc<JobsContext>,
        key: WorkloadKey,
        plan: watch::Receiver<Arc<JobPlan>>,
        stop: CancellationToken,
    ) -> Self {
        let (event_sender, events) = mpsc::channel(EVENTS_MAX);
        Self {
            shared,
            key,
            plan,
            stop,
            progress: Progress::default(),
            recorded: None,
            pods: Vec::new(),
            exits: Vec::new(),
            objects: PodObjects::default(),
            events,
            event_sender,
            span: JobSpan::default(),
        }
    }

    /// Remembers the span of the change that began the Job.
    pub(super) fn caused_by(mut self, cause: Cause) -> Self {
        self.span = JobSpan::after(cause);
        self
    }

    /// Runs until the Job has ended or is stopped; returns how it ended, or None if it was
    /// stopped.
    pub(super) async fn run(mut self) -> Option<End> {
        let was_finished = self.progress.is_finished();
        while !self.progress.is_finished() {
            let plan = self.plan.borrow_and_update().clone();
            let wake = self.step(&plan);
            self.report(&plan);
            if self.progress.is_finished() {
                break;
            }
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.drain(plan.pods.grace_period).await;
                    self.report(&plan);
                    return None;
                }
                event = self.events.recv() => self.take(event),
                changed = self.plan.changed() => if changed.is_err() {
                    // The owner of the sender also stops this run.
                    self.stop.cancelled().await;
                },
                () = until(wake) => {}
            }
        }
        let plan = self.plan.borrow().clone();
        self.report(&plan);
        if !was_finished {
            self.log_end(&plan);
        }
        self.shared.board.keep_logs(&self.key, self.objects.logs());
        self.progress.end
    }

    /// Carries out one decision; returns when the next one is due.
    fn step(&mut self, plan: &Arc<JobPlan>) -> Option<Timestamp> {
        let now = Timestamp::now();
        if plan.job.suspend {
            self.progress.start_time = None;
        } else {
            self.progress.start_time.get_or_insert(now);
            self.span.begin(&self.key);
        }
        let active: Vec<_> = self.pods.iter().map(|pod| pod.index).collect();
        let pause = self.shared.platform.restart_backoff_initial;
        let step = self.progress.step(&plan.job, &active, pause, now);
        let kept = self.pods.len().saturating_sub(step.stop);
        self.pods.truncate(kept);
        for index in step.start {
            let (shared, events) = (&self.shared, self.event_sender.clone());
            let mut pod = pod::start(shared, &self.key, &plan.pods, index, events);
            pod.span = self.span.pod(&pod.name);
            tracing::info!(
                namespace = self.key.namespace,
                job = self.key.name,
                pod = pod.name,
                "pod started"
            );
            self.objects.add(PodObject {
                name: pod.name.clone(),
                plan: plan.pods.clone(),
                template: pod.template.clone(),
                life: pod.life.clone(),
                phase: JobPodPhase::Runs,
            });
            self.pods.push(pod);
        }
        if let Some(failure) = step.end {
            self.end(now, failure);
        }
        step.wake
    }

    fn end(&mut self, at: Timestamp, failure: Option<JobFailure>) {
        for pod in std::mem::take(&mut self.pods) {
            if failure.is_some() {
                self.progress.failed += 1;
                let exit = PodExit {
                    pod: pod.name.clone(),
                    code: 137,
                    reason: "Killed",
                    message: "the end of its Job".into(),
                };
                span::end_pod(&pod.span, &exit);
                let ended = JobPodPhase::Ended(exit.clone(), at);
                self.objects.enter(&pod.name, ended);
                self.note(exit);
            }
        }
        self.progress.end = Some(End { at, failure });
    }

    /// Updates the progress by a message from a pod.
    fn take(&mut self, event: Option<PodEvent>) {
        // The channel stays open, because this struct holds a sender.
        let Some(PodEvent { pod, change }) = event else {
            return;
        };
        let Some(at) = self.pods.iter().position(|active| active.name == pod) else {
            // It ended while it was stopped.
            return;
        };
        match change {
            PodChange::Ended(exit) => {
                let ActivePod { index, span, .. } = &self.pods[at];
                span::end_pod(span, &exit);
                let index = *index;
                self.pods.swap_remove(at);
                if exit.code == 0 {
                    self.progress.pod_succeeded(index);
                } else {
                    self.progress.pod_failed(Timestamp::now());
                }
                let ended = JobPodPhase::Ended(exit.clone(), Timestamp::now());
                self.objects.enter(&pod, ended);
                self.note(exit);
            }
            PodChange::Waits(exit) => {
                self.progress.pod_restarts();
                self.pods[at].waits = true;
                let waits = JobPodPhase::Waits(exit.clone(), Timestamp::now());
                self.objects.enter(&pod, waits);
                self.note(exit);
            }
            PodChange::StartsAgain => {
                self.pods[at].waits = false;
                self.objects.enter(&pod, JobPodPhase::Runs);
            }
            // The object shows the state of its life.
            PodChange::Scheduling => {}
            PodChange::Evicted => {
                let exit = PodExit {
                    pod: pod.clone(),
                    code: 137,
                    reason: "Evicted",
                    message: "an eviction".into(),
                };
                span::end_pod(&self.pods[at].span, &exit);
                self.pods.swap_remove(at);
                self.progress.pod_failed(Timestamp::now());
                self.objects.remove(&pod);
                self.note(exit);
            }
        }
    }

    fn note(&mut self, exit: PodExit) {
        let plan = self.plan.borrow();
        let [namespace, name] = plan.pods.labels();
        let result = if exit.code == 0 {
            "succeeded"
        } else {
            "failed"
        };
        let ended = &self.shared.platform.metrics.job_pods_ended;
        ended.with_label_values(&[namespace, name, result]).inc();
        drop(plan);
        if self.exits.len() == EXITS_MAX {
            self.exits.remove(0);
        }
        self.exits.push(exit);
    }

    /// Waits for running pods within `grace`, then kills the rest. Pods that wait for a
    /// restart end at once.
    async fn drain(&mut self, grace: Duration) {
        let end = tokio::time::Instant::now() + grace;
        self.pods.retain(|pod| !pod.waits);
        while !self.pods.is_empty() {
            match tokio::time::timeout_at(end, self.events.recv()).await {
                Ok(event) => self.take(event),
                Err(_) => {
                    for pod in std::mem::take(&mut self.pods) {
                        tracing::warn!(pod = pod.name, "killed after its grace period");
                    }
                }
            }
            self.pods.retain(|pod| !pod.waits);
        }
        let plan = self.plan.borrow().clone();
        let pause = self.shared.platform.restart_backoff_initial;
        let now = Timestamp::now();
        if let Some(None) = self.progress.step(&plan.job, &[], pause, now).end {
            self.end(now, None);
            self.log_end(&plan);
        }
    }

    /// Writes the state to the store, the board and the record.
    fn report(&mut self, plan: &JobPlan) {
        let key = object_key("Job", &self.key);
        let status = status::job(plan, &self.progress, self.pods.len());
        self.shared.store.set_status(&key, status);
        self.objects.report(&self.shared, &self.key);
        let status = JobStatus {
            image: plan.pods.container.image.value.clone(),
            completions: plan.job.completions,
            suspended: plan.job.suspend,
            active: self.pods.len(),
            progress: self.progress.clone(),
            exits: self.exits.clone(),
        };
        self.shared.board.set_job(&self.key, status);
        if let Some(recorded) = &mut self.recorded
            && *recorded != self.progress
        {
            recorded.clone_from(&self.progress);
            let record = JobRecord {
                work: plan.work(),
                progress: self.progress.clone(),
            };
            self.shared.records.save_job(&self.key, &record);
        }
    }

    fn log_end(&mut self, plan: &JobPlan) {
        let Some(end) = &self.progress.end else {
            return;
        };
        let (namespace, job) = (&self.key.namespace, &self.key.name);
        self.span.end(end.failure.as_ref());
        let result = match &end.failure {
            None => {
                tracing::info!(namespace, job, "job complete");
                "complete"
            }
            Some(failure) => {
                let reason = &failure.reason;
                tracing::error!(namespace, job, reason, "job failed: {}", failure.message);
                "failed"
            }
        };
        let [namespace, name] = plan.pods.labels();
        let finished = &self.shared.platform.metrics.jobs_finished;
        finished.with_label_values(&[namespace, name, result]).inc();
    }
}
