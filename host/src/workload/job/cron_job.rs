//! One CronJob: creates its Jobs, and keeps a history of them.

use std::sync::Arc;

use galleria_manifest::WithPosition;
use galleria_manifest::model::{Metadata, Object, OwnerReference, Resource};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::due::{Due, Start};
use super::object::PodObjects;
use super::progress::End;
use super::record::CronJobRecord;
use super::run::JobRun;
use super::{CronJobStatus, JobsContext, object_key, status, until};
use crate::store::Source;
use crate::store::uid_of;
use crate::workload::WorkloadKey;
use crate::workload::plan::{CronJobPlan, JobPlan, Owner, PodPlan};

const TIME_ANNOTATION: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// The supervisor of a CronJob.
pub(super) struct CronJobRun {
    shared: Arc<JobsContext>,
    key: WorkloadKey,
    plan: watch::Receiver<Arc<CronJobPlan>>,
    stop: CancellationToken,
    record: CronJobRecord,
    /// In the order of their start.
    jobs: Vec<MadeJob>,
    ended: mpsc::Receiver<JobEnd>,
    ended_sender: mpsc::Sender<JobEnd>,
}

/// A Job that this CronJob created and still keeps.
struct MadeJob {
    key: WorkloadKey,
    stop: CancellationToken,
    end: Option<End>,
    /// Never changes. Dropping it ends the Job.
    _plan: watch::Sender<Arc<JobPlan>>,
}

/// Jobs that have ended and wait to be recorded; the tasks of more Jobs wait.
const ENDED_MAX: usize = 16;

/// The end of a Job; None if it was stopped.
type JobEnd = (WorkloadKey, Option<End>);

impl CronJobRun {
    pub(super) fn new(
        shared: Arc<JobsContext>,
        key: WorkloadKey,
        plan: watch::Receiver<Arc<CronJobPlan>>,
        stop: CancellationToken,
    ) -> Self {
        let (ended_sender, ended) = mpsc::channel(ENDED_MAX);
        let mut record = shared.records.cron_job(&key).unwrap_or_default();
        // Times before the CronJob existed are not missed.
        record.done_until.get_or_insert_with(Timestamp::now);
        shared.records.save_cron_job(&key, &record);
        Self {
            shared,
            key,
            plan,
            stop,
            record,
            jobs: Vec::new(),
            ended,
            ended_sender,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let plan = self.plan.borrow_and_update().clone();
            let now = Timestamp::now();
            let next = self.make_what_is_due(&plan, now);
            let expires = self.prune(&plan, now);
            self.report(&plan, next);
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some((key, end)) = self.ended.recv() => self.take(&key, end),
                changed = self.plan.changed() => if changed.is_err() {
                    // The owner of the sender also stops this run.
                    self.stop.cancelled().await;
                },
                () = until([next, expires].into_iter().flatten().min()) => {}
            }
        }
        self.finish().await;
    }

    /// Creates the Job that is due, if any; returns the next time.
    fn make_what_is_due(&mut self, plan: &Arc<CronJobPlan>, now: Timestamp) -> Option<Timestamp> {
        let active = self.jobs.iter().filter(|job| job.end.is_none()).count();
        let done_until = self.record.done_until.unwrap_or(now);
        let due = Due::at(&plan.cron_job, done_until, active, now);
        let (namespace, cron_job) = (&self.key.namespace, &self.key.name);
        if due.too_many_missed && !matches!(due.start, Start::Waits) {
            tracing::error!(
                namespace,
                cron_job,
                "more than 100 starts were missed; set or decrease startingDeadlineSeconds, or check the clock"
            );
        }
        match due.start {
            Start::Nothing | Start::Waits => {}
            Start::TooLate(time) => {
                tracing::warn!(namespace, cron_job, %time, "missed a scheduled start: it is too late to run it");
                self.done_until(time);
            }
            Start::Now(time) => self.make(plan, time),
            Start::Instead(time) => {
                for job in self.jobs.iter().filter(|job| job.end.is_none()) {
                    job.stop.cancel();
                }
                self.make(plan, time);
            }
        }
        due.next
    }

    fn make(&mut self, plan: &Arc<CronJobPlan>, time: Timestamp) {
        let object = Arc::new(job_object(plan, time));
        let key = WorkloadKey {
            namespace: self.key.namespace.clone(),
            name: object.metadata.name.value.clone(),
        };
        self.record.last_schedule_time = Some(time);
        self.done_until(time);
        if self.jobs.iter().any(|job| job.key == key) {
            return;
        }
        self.shared.store.put(Source::Host, object.clone());
        let mut pods = PodPlan::clone(&plan.pods);
        pods.owner = Some(Owner::of("Job", &object));
        let job = JobPlan {
            object,
            job: plan.cron_job.job.clone(),
            pods: Arc::new(pods),
        };
        let (sender, follower) = watch::channel(Arc::new(job));
        let stop = CancellationToken::new();
        let run = JobRun::of_cron_job(self.shared.clone(), key.clone(), follower, stop.clone());
        let (ended, name) = (self.ended_sender.clone(), key.clone());
        self.shared.tasks.spawn(async move {
            let end = run.run().await;
            // Fails if the CronJob was deleted.
            let _ = ended.send((name, end)).await;
        });
        self.jobs.push(MadeJob {
            key,
            stop,
            end: None,
            _plan: sender,
        });
    }

    fn done_until(&mut self, time: Timestamp) {
        self.record.done_until = Some(time);
        self.shared.records.save_cron_job(&self.key, &self.record);
    }

    fn take(&mut self, key: &WorkloadKey, end: Option<End>) {
        match end {
            Some(end) => {
                if end.failure.is_none() {
                    self.record.last_successful_time = Some(end.at);
                    self.shared.records.save_cron_job(&self.key, &self.record);
                }
                if let Some(job) = self.jobs.iter_mut().find(|job| job.key == *key) {
                    job.end = Some(end);
                }
            }
            None => self.forget(key),
        }
    }

    /// Removes the Jobs beyond the history limits or the TTL; returns when the next one
    /// expires.
    fn prune(&mut self, plan: &CronJobPlan, now: Timestamp) -> Option<Timestamp> {
        let ttl = plan.cron_job.job.ttl_after_finished;
        let ttl = ttl.and_then(|ttl| SignedDuration::try_from(ttl).ok());
        let mut left = [
            plan.cron_job.successful_jobs_history_limit,
            plan.cron_job.failed_jobs_history_limit,
        ];
        let mut gone = Vec::new();
        let mut expires = None;
        for job in self.jobs.iter().rev() {
            let Some(end) = &job.end else { continue };
            let left = &mut left[usize::from(end.failure.is_some())];
            let expiry = ttl.and_then(|ttl| end.at.checked_add(ttl).ok());
            if *left == 0 || expiry.is_some_and(|expiry| expiry <= now) {
                gone.push(job.key.clone());
            } else {
                *left -= 1;
                expires = [expires, expiry].into_iter().flatten().min();
            }
        }
        for key in gone {
            self.forget(&key);
        }
        expires
    }

    fn forget(&mut self, key: &WorkloadKey) {
        self.jobs.retain(|job| job.key != *key);
        self.shared.store.remove(&object_key("Job", key));
        PodObjects::forget(&self.shared, key);
        self.shared.board.remove_job(key);
    }

    fn report(&self, plan: &CronJobPlan, next: Option<Timestamp>) {
        let active: Vec<&WorkloadKey> = self
            .jobs
            .iter()
            .filter(|job| job.end.is_none())
            .map(|job| &job.key)
            .collect();
        let cron_job = &plan.cron_job;
        let status = CronJobStatus {
            schedule: cron_job.schedule.text.clone(),
            time_zone: cron_job.schedule.time_zone.clone(),
            suspended: cron_job.suspend,
            active: active.len(),
            last_schedule: self.record.last_schedule_time,
            next: next.filter(|_| !cron_job.suspend),
        };
        self.shared.board.set_cron_job(&self.key, status);
        let status = status::cron_job(&self.record, &active);
        let key = object_key("CronJob", &self.key);
        self.shared.store.set_status(&key, status);
    }

    /// Ends all Jobs, because the host stops or the CronJob is gone.
    async fn finish(mut self) {
        for job in &self.jobs {
            job.stop.cancel();
        }
        while self.jobs.iter().any(|job| job.end.is_none())
            && let Some((key, end)) = self.ended.recv().await
        {
            self.take(&key, end);
        }
        let keys: Vec<_> = self.jobs.iter().map(|job| job.key.clone()).collect();
        for key in keys {
            self.forget(&key);
        }
        self.shared.board.remove_cron_job(&self.key);
        if self
            .shared
            .store
            .get(&object_key("CronJob", &self.key))
            .is_none()
        {
            self.shared.records.remove_cron_job(&self.key);
        }
    }
}

/// The Job for `time`, as the controller of a cluster creates it.
fn job_object(plan: &CronJobPlan, time: Timestamp) -> Object {
    let owner = &plan.object;
    let cron_job = &plan.cron_job;
    // A cluster numbers Jobs by minute; shorter intervals need seconds.
    let number = if cron_job.schedule.is_finer_than_minutes() {
        time.as_second()
    } else {
        time.as_second() / 60
    };
    let name = format!("{}-{number}", owner.metadata.name);
    let mut annotations = cron_job.job_annotations.clone();
    annotations.insert(TIME_ANNOTATION.into(), time.to_string());
    let raw = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": owner.metadata.namespace,
            "labels": cron_job.job_labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "batch/v1",
                "kind": "CronJob",
                "name": owner.metadata.name.value,
                "uid": uid_of(owner),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": owner.written_job_spec(),
    });
    let at = &cron_job.schedule.at;
    let located = |text: String| WithPosition::new(text, at.clone());
    Object {
        api_version: "batch/v1".into(),
        kind: "Job".into(),
        metadata: Metadata {
            name: located(name),
            namespace: owner.metadata.namespace.clone(),
            labels: cron_job.job_labels.clone(),
            annotations: annotations
                .into_iter()
                .map(|(name, text)| (name, located(text)))
                .collect(),
            uid: None,
            owner: Some(OwnerReference {
                kind: "CronJob".into(),
                name: owner.metadata.name.value.clone(),
            }),
            creation_timestamp: Some(time.to_string()),
        },
        at: at.clone(),
        raw,
        resource: Resource::Job(cron_job.job.clone()),
    }
}
