//! Decides which Job of a CronJob is due. Pure: the current time is a parameter.

use std::time::Duration;

use galleria_manifest::model::{ConcurrencyPolicy, CronJob, Schedule};
use jiff::{SignedDuration, Timestamp};

/// How many starts may be missed before this is an error, as in a cluster.
const MISSED_MAX: usize = 100;

/// What is due at one point in time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub start: Start,
    /// More than [`MISSED_MAX`] starts were missed.
    pub too_many_missed: bool,
    /// The next time of the schedule; `None` if there is none.
    pub next: Option<Timestamp>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    Nothing,
    /// Start a Job for this time, in addition to the active Jobs.
    Now(Timestamp),
    /// Start a Job for this time, and end the active Jobs.
    Instead(Timestamp),
    /// A Job is due, but must wait for the active one.
    Waits,
    /// This time is further in the past than the starting deadline allows.
    TooLate(Timestamp),
}

impl Due {
    /// What is due at `now`. The last Job was started for the time `last`; without a Job,
    /// `last` is the time since which the CronJob exists. `active` Jobs are running.
    pub(super) fn at(cron_job: &CronJob, last: Timestamp, active: usize, now: Timestamp) -> Self {
        let schedule = &cron_job.schedule;
        let missed = if cron_job.suspend {
            MissedStarts::default()
        } else {
            MissedStarts::between(schedule, last, now)
        };
        Self {
            start: match missed.latest {
                None => Start::Nothing,
                Some(time) if is_too_late(cron_job, time, now) => Start::TooLate(time),
                Some(time) => match cron_job.concurrency_policy {
                    ConcurrencyPolicy::Forbid if active > 0 => Start::Waits,
                    ConcurrencyPolicy::Replace if active > 0 => Start::Instead(time),
                    _ => Start::Now(time),
                },
            },
            too_many_missed: missed.too_many,
            next: schedule.next_after(now),
        }
    }
}

fn is_too_late(cron_job: &CronJob, time: Timestamp, now: Timestamp) -> bool {
    let Some(deadline) = cron_job.starting_deadline else {
        return false;
    };
    let deadline = SignedDuration::try_from(deadline).unwrap_or(SignedDuration::MAX);
    now.duration_since(time) > deadline
}

/// Times of a schedule that have passed without a start.
#[derive(Debug, Default)]
struct MissedStarts {
    latest: Option<Timestamp>,
    too_many: bool,
}

impl MissedStarts {
    /// The times after `last`, up to and including `now`. Only the latest is needed.
    fn between(schedule: &Schedule, last: Timestamp, now: Timestamp) -> Self {
        let times = |from: Timestamp| {
            std::iter::successors(schedule.next_after(from), |time| schedule.next_after(*time))
                .take_while(|time| *time <= now)
        };
        let (mut count, mut latest) = (0, None);
        for time in times(last).take(MISSED_MAX + 1) {
            count += 1;
            latest = Some(time);
        }
        if count <= MISSED_MAX {
            return Self {
                latest,
                too_many: false,
            };
        }
        // Do not walk through every minute of a year: search windows before `now` that
        // grow until one contains a time.
        let windows = std::iter::successors(Some(Duration::from_secs(120)), |window| {
            window.checked_mul(4)
        });
        let found = windows
            .map(|window| {
                let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
                now.checked_sub(window).map_or(last, |from| from.max(last))
            })
            .find_map(|from| times(from).last());
        Self {
            latest: found.or(latest),
            too_many: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use galleria_manifest::model::Resource;

    use super::*;

    fn cron_job(schedule: &str, fields: &str) -> CronJob {
        let yaml = format!(
            "apiVersion: batch/v1
kind: CronJob
metadata: {{name: c}}
spec:
  schedule: \"{schedule}\"
  {fields}
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{{name: c, image: \"c:v1\"}}]
"
        );
        let read = galleria_manifest::read_str("cron.yaml".as_ref(), &yaml);
        match read.objects.first().map(|object| &object.resource) {
            Some(Resource::CronJob(cron_job)) => cron_job.clone(),
            other => unreachable!("{other:?}: {:?}", read.diagnostics),
        }
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn start(cron_job: &CronJob, last: &str, active: usize, now: &str) -> Start {
        Due::at(cron_job, time(last), active, time(now)).start
    }

    #[test]
    fn nothing_is_due_before_the_next_time() {
        let hourly = cron_job("@hourly", "suspend: false");
        let due = Due::at(
            &hourly,
            time("2026-03-01T10:00:00Z"),
            0,
            time("2026-03-01T10:59:59Z"),
        );
        assert_eq!(due.start, Start::Nothing);
        assert_eq!(due.next, Some(time("2026-03-01T11:00:00Z")));
    }

    #[test]
    fn only_the_latest_of_several_missed_times_is_started() {
        let hourly = cron_job("@hourly", "suspend: false");
        assert_eq!(
            start(&hourly, "2026-03-01T10:00:00Z", 0, "2026-03-01T13:10:00Z"),
            Start::Now(time("2026-03-01T13:00:00Z"))
        );
    }

    #[test]
    fn start_that_is_later_than_the_deadline_is_skipped() {
        let nightly = cron_job("0 3 * * *", "startingDeadlineSeconds: 600");
        let last = "2026-03-01T03:00:00Z";
        let missed = time("2026-03-02T03:00:00Z");
        assert_eq!(
            start(&nightly, last, 0, "2026-03-02T03:10:00Z"),
            Start::Now(missed)
        );
        assert_eq!(
            start(&nightly, last, 0, "2026-03-02T03:10:01Z"),
            Start::TooLate(missed)
        );
    }

    #[test]
    fn concurrency_policy_decides_about_a_start_while_a_job_runs() {
        let (last, now) = ("2026-03-01T10:00:00Z", "2026-03-01T10:01:00Z");
        let due = time(now);
        for (policy, expected) in [
            ("Allow", Start::Now(due)),
            ("Forbid", Start::Waits),
            ("Replace", Start::Instead(due)),
        ] {
            let minutely = cron_job("* * * * *", &format!("concurrencyPolicy: {policy}"));
            assert_eq!(start(&minutely, last, 1, now), expected, "{policy}");
            assert_eq!(start(&minutely, last, 0, now), Start::Now(due), "{policy}");
        }
    }

    #[test]
    fn suspended_cron_job_starts_nothing_but_has_a_next_time() {
        let suspended = cron_job("* * * * *", "suspend: true");
        let due = Due::at(
            &suspended,
            time("2026-03-01T10:00:00Z"),
            0,
            time("2026-03-01T11:00:00Z"),
        );
        assert_eq!(due.start, Start::Nothing);
        assert_eq!(due.next, Some(time("2026-03-01T11:01:00Z")));
    }

    #[test]
    fn more_than_a_hundred_missed_times_are_an_error() {
        let minutely = cron_job("* * * * *", "suspend: false");
        let last = time("2026-03-01T00:00:00Z");
        let hundred = Due::at(&minutely, last, 0, time("2026-03-01T01:40:30Z"));
        assert!(!hundred.too_many_missed);
        let more = Due::at(&minutely, last, 0, time("2026-03-01T01:41:00Z"));
        assert!(more.too_many_missed);
        assert_eq!(more.start, Start::Now(time("2026-03-01T01:41:00Z")));
    }

    #[test]
    fn latest_missed_time_is_found_after_years() {
        let monthly = cron_job("0 0 1 * *", "suspend: false");
        let due = Due::at(
            &monthly,
            time("2010-01-15T00:00:00Z"),
            0,
            time("2026-03-20T00:00:00Z"),
        );
        assert!(due.too_many_missed);
        assert_eq!(due.start, Start::Now(time("2026-03-01T00:00:00Z")));
        let secondly = cron_job("@every 1s", "suspend: false");
        let due = Due::at(
            &secondly,
            time("2010-01-15T00:00:00Z"),
            0,
            time("2026-03-20T00:00:00Z"),
        );
        assert_eq!(due.start, Start::Now(time("2026-03-20T00:00:00Z")));
    }

    #[test]
    fn hour_that_exists_twice_starts_two_jobs() {
        let zone = cron_job("30 2 * * *", "timeZone: Europe/Berlin");
        let first = "2026-10-25T00:30:00Z";
        assert_eq!(
            start(&zone, "2026-10-24T00:30:00Z", 0, first),
            Start::Now(time(first))
        );
        assert_eq!(
            start(&zone, first, 0, "2026-10-25T01:30:00Z"),
            Start::Now(time("2026-10-25T01:30:00Z"))
        );
    }
}
