//! The progress of a Job, and the decision what to do next. Pure: the caller passes the
//! time and the active pods.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use galleria_manifest::model::{CompletionMode, Job};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest pause before a failed pod is replaced, as in the Job controller.
const PAUSE_MAX: Duration = Duration::from_secs(360);

/// What has happened to a Job so far, which is all that is needed to continue it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Progress {
    /// None while it is suspended, and before it starts.
    pub(super) start_time: Option<Timestamp>,
    /// Pods that succeeded.
    pub(super) succeeded: u32,
    /// Pods that failed or were killed.
    pub(super) failed: u32,
    /// Failures after which the pod was restarted (`OnFailure`).
    pub(super) restarts: u32,
    pub(super) completed_indexes: BTreeSet<u32>,
    /// Since the last success.
    pub(super) failures_in_a_row: u32,
    pub(super) last_failure: Option<Timestamp>,
    pub(super) end: Option<End>,
}

/// How a Job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct End {
    pub(super) at: Timestamp,
    /// None: it is complete.
    pub(super) failure: Option<JobFailure>,
}

/// Why a Job failed: the reason and message of its condition `Failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobFailure {
    pub(super) reason: String,
    pub(super) message: String,
}

/// The decision.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Pods to start, with their indexes if the Job is indexed.
    pub start: Vec<Option<u32>>,
    /// The number of active pods to stop, whichever they are.
    pub stop: usize,
    /// The end of the Job, including its active pods. The inner value is the failure.
    pub end: Option<Option<JobFailure>>,
    /// When to decide again if nothing happens before.
    pub wake: Option<Timestamp>,
}

impl Progress {
    pub(super) fn is_finished(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn pod_succeeded(&mut self, index: Option<u32>) {
        self.failures_in_a_row = 0;
        match index {
            // A second success of the same index does not count.
            Some(index) if !self.completed_indexes.insert(index) => {}
            _ => self.succeeded += 1,
        }
    }

    /// A pod failed; another one may replace it.
    pub(super) fn pod_failed(&mut self, now: Timestamp) {
        self.failed += 1;
        self.failures_in_a_row += 1;
        self.last_failure = Some(now);
    }

    /// A pod failed and is restarted itself.
    pub(super) fn pod_restarts(&mut self) {
        self.restarts += 1;
    }

    /// Decides what to do at `now`, given the indexes of the active pods. `pause` is the
    /// first pause after a failure.
    pub(super) fn step(
        &self,
        job: &Job,
        active: &[Option<u32>],
        pause: Duration,
        now: Timestamp,
    ) -> Step {
        if self.is_finished() {
            return Step::default();
        }
        if let Some(end) = self.ending(job, active, now) {
            return Step {
                end: Some(end),
                ..Step::default()
            };
        }
        if job.suspend {
            return Step {
                stop: active.len(),
                ..Step::default()
            };
        }
        let wanted = self.wanted(job);
        // The first success in a work queue means that there is no more work.
        let missing = match job.completions {
            None if self.succeeded > 0 => 0,
            _ => wanted.saturating_sub(active.len()),
        };
        let retry = self.retry_at(pause).filter(|retry| *retry > now);
        let start = match (missing, retry) {
            (0, _) | (_, Some(_)) => Vec::new(),
            (missing, None) => self.next_indexes(job, active, missing),
        };
        let deadline = self.deadline(job);
        let retry = retry.filter(|_| missing > 0);
        Step {
            start,
            stop: active.len().saturating_sub(wanted),
            end: None,
            wake: [deadline, retry].into_iter().flatten().min(),
        }
    }

    /// Whether and how the Job ends. The inner value is the failure.
    fn ending(
        &self,
        job: &Job,
        active: &[Option<u32>],
        now: Timestamp,
    ) -> Option<Option<JobFailure>> {
        let failure = |reason: &str, message: String| {
            Some(Some(JobFailure {
                reason: reason.into(),
                message,
            }))
        };
        let complete = match job.completions {
            Some(completions) => self.succeeded >= completions,
            None => self.succeeded > 0 && active.is_empty(),
        };
        if complete {
            return Some(None);
        }
        let limit = job.backoff_limit;
        if self.failed + self.restarts > limit {
            let message = format!("more failures than backoffLimit {limit} allows");
            return failure("BackoffLimitExceeded", message);
        }
        if self.deadline(job).is_some_and(|deadline| deadline <= now) {
            let seconds = job.active_deadline.unwrap_or_default().as_secs();
            let message =
                format!("it was active longer than activeDeadlineSeconds {seconds} allows");
            return failure("DeadlineExceeded", message);
        }
        None
    }

    fn deadline(&self, job: &Job) -> Option<Timestamp> {
        after(self.start_time?, job.active_deadline?)
    }

    /// The number of pods that should be active.
    fn wanted(&self, job: &Job) -> usize {
        let left = match job.completions {
            Some(completions) => completions.saturating_sub(self.succeeded),
            None => u32::MAX,
        };
        job.parallelism.min(left) as usize
    }

    /// When a failed pod may be replaced: after a pause that doubles with every
    /// consecutive failure.
    fn retry_at(&self, pause: Duration) -> Option<Timestamp> {
        let doublings = self.failures_in_a_row.checked_sub(1)?.min(16);
        let pause = pause.saturating_mul(1 << doublings).min(PAUSE_MAX);
        after(self.last_failure?, pause)
    }

    fn next_indexes(&self, job: &Job, active: &[Option<u32>], count: usize) -> Vec<Option<u32>> {
        if job.completion_mode == CompletionMode::NonIndexed {
            return vec![None; count];
        }
        (0..job.completions.unwrap_or(0))
            .filter(|index| {
                !self.completed_indexes.contains(index) && !active.contains(&Some(*index))
            })
            .take(count)
            .map(Some)
            .collect()
    }

    /// `status.completedIndexes`: `0-2,5`.
    pub(super) fn completed_ranges(&self) -> String {
        let mut text = String::new();
        let mut indexes = self.completed_indexes.iter().copied().peekable();
        while let Some(first) = indexes.next() {
            let mut last = first;
            while let Some(next) = indexes.next_if_eq(&(last + 1)) {
                last = next;
            }
            let comma = if text.is_empty() { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = match last - first {
                0 => write!(text, "{comma}{first}"),
                1 => write!(text, "{comma}{first},{last}"),
                _ => write!(text, "{comma}{first}-{last}"),
            };
        }
        text
    }
}

fn after(time: Timestamp, duration: Duration) -> Option<Timestamp> {
    time.checked_add(SignedDuration::try_from(duration).ok()?)
        .ok()
}

#[cfg(test)]
mod tests {
    use galleria_manifest::model::Resource;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn job(fields: &str) -> Job {
        let yaml = format!(
            "apiVersion: batch/v1
kind: Job
metadata: {{name: j}}
spec:
  {fields}
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: c, image: \"c:v1\"}}]
"
        );
        let read = galleria_manifest::read_str("job.yaml".as_ref(), &yaml);
        match read.objects.first().map(|object| &object.resource) {
            Some(Resource::Job(job)) => job.clone(),
            other => unreachable!("{other:?}: {:?}", read.diagnostics),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn begun() -> Progress {
        Progress {
            start_time: Some(at(0)),
            ..Progress::default()
        }
    }

    fn reason(step: &Step) -> Option<&str> {
        Some(step.end.as_ref()?.as_ref()?.reason.as_str())
    }

    #[test]
    fn job_with_one_pod_completes_with_it() {
        let job = job("suspend: false");
        let mut progress = begun();
        assert_eq!(progress.step(&job, &[], PAUSE, at(0)).start, [None]);
        assert_eq!(progress.step(&job, &[None], PAUSE, at(1)), Step::default());
        progress.pod_succeeded(None);
        assert_eq!(progress.step(&job, &[], PAUSE, at(2)).end, Some(None));
    }

    #[test]
    fn parallelism_and_remaining_completions_limit_the_pods() {
        let job = job("completions: 3\n  parallelism: 2");
        let mut progress = begun();
        assert_eq!(progress.step(&job, &[], PAUSE, at(0)).start, [None, None]);
        progress.pod_succeeded(None);
        progress.pod_succeeded(None);
        assert_eq!(progress.step(&job, &[], PAUSE, at(0)).start, [None]);
        // The file lowers the parallelism: one pod is stopped.
        let fewer = self::job("completions: 3\n  parallelism: 1");
        assert_eq!(begun().step(&fewer, &[None, None], PAUSE, at(0)).stop, 1);
    }

    #[test]
    fn each_index_runs_once_in_ascending_order() {
        let job = job("completions: 4\n  parallelism: 2\n  completionMode: Indexed");
        let mut progress = begun();
        assert_eq!(
            progress.step(&job, &[], PAUSE, at(0)).start,
            [Some(0), Some(1)]
        );
        progress.pod_succeeded(Some(1));
        progress.pod_succeeded(Some(1));
        assert_eq!(progress.succeeded, 1, "an index counts once");
        let step = progress.step(&job, &[Some(0)], PAUSE, at(0));
        assert_eq!(step.start, [Some(2)]);
        progress.completed_indexes.extend([0, 2, 3]);
        assert_eq!(progress.completed_ranges(), "0-3");
        progress.completed_indexes.remove(&2);
        assert_eq!(progress.completed_ranges(), "0,1,3");
    }

    #[test]
    fn work_queue_completes_when_one_pod_succeeded_and_all_have_ended() {
        let job = job("parallelism: 2");
        let mut progress = begun();
        assert_eq!(progress.step(&job, &[], PAUSE, at(0)).start, [None, None]);
        progress.pod_succeeded(None);
        let step = progress.step(&job, &[None], PAUSE, at(0));
        assert_eq!((step.start.len(), step.end), (0, None));
        assert_eq!(progress.step(&job, &[], PAUSE, at(0)).end, Some(None));
    }

    #[test]
    fn failed_pods_are_replaced_after_doubling_pauses() {
        let job = job("backoffLimit: 9");
        let mut progress = begun();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            progress.pod_failed(at(1_000));
            let step = progress.step(&job, &[], PAUSE, at(1_000));
            assert_eq!(step.start, [], "not at once");
            let wake = step.wake.expect("a pause");
            pauses.push(wake.as_second() - 1_000);
            assert_eq!(progress.step(&job, &[], PAUSE, wake).start, [None]);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 360, 360]);
    }

    #[test]
    fn success_resets_the_pauses() {
        let job = job("completions: 2");
        let mut progress = begun();
        progress.pod_failed(at(0));
        progress.pod_failed(at(0));
        progress.pod_succeeded(None);
        progress.pod_failed(at(100));
        let wake = progress.step(&job, &[], PAUSE, at(100)).wake;
        assert_eq!(wake, Some(at(110)));
    }

    #[test]
    fn more_failures_than_the_limit_fail_the_job() {
        let job = job("backoffLimit: 1");
        let mut progress = begun();
        progress.pod_failed(at(0));
        assert_eq!(progress.step(&job, &[], PAUSE, at(0)).end, None);
        progress.pod_restarts();
        let step = progress.step(&job, &[None], PAUSE, at(0));
        assert_eq!(reason(&step), Some("BackoffLimitExceeded"));
    }

    #[test]
    fn deadline_counts_from_the_start_including_pauses() {
        let job = job("activeDeadlineSeconds: 30");
        let progress = begun();
        assert_eq!(
            progress.step(&job, &[None], PAUSE, at(29)).wake,
            Some(at(30))
        );
        let step = progress.step(&job, &[None], PAUSE, at(30));
        assert_eq!(reason(&step), Some("DeadlineExceeded"));
        let mut done = progress;
        done.pod_succeeded(None);
        assert_eq!(done.step(&job, &[], PAUSE, at(31)).end, Some(None));
    }

    #[test]
    fn suspended_job_has_no_pods() {
        let step = Progress::default().step(&job("suspend: true"), &[None, None], PAUSE, at(0));
        assert_eq!((step.stop, step.start.len()), (2, 0));
    }

    #[test]
    fn job_without_completions_completes_at_once() {
        assert_eq!(
            begun().step(&job("completions: 0"), &[], PAUSE, at(0)).end,
            Some(None)
        );
    }

    #[test]
    fn finished_job_does_nothing() {
        let mut progress = begun();
        progress.end = Some(End {
            at: at(1),
            failure: None,
        });
        assert_eq!(
            progress.step(&job("parallelism: 3"), &[], PAUSE, at(2)),
            Step::default()
        );
    }
}
