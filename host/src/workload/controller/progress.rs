//! Whether a rollout makes progress: `spec.progressDeadlineSeconds`.

use std::time::{Duration, Instant};

/// The pods of a Deployment, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub wanted: usize,
    /// All pods that are not terminating.
    pub total: usize,
    /// Pods of the newest revision.
    pub updated: usize,
    pub updated_available: usize,
    pub ready: usize,
    pub available: usize,
}

/// The condition `Progressing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progressing {
    Complete,
    Underway,
    Paused,
    DeadlineExceeded,
}

/// When a rollout last made progress.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    revision: String,
    counts: Counts,
    since: Instant,
    /// A complete rollout stays complete, whatever happens to its pods.
    complete: bool,
}

impl Counts {
    pub(crate) fn is_complete(&self) -> bool {
        self.updated == self.wanted && self.total == self.wanted && self.available >= self.wanted
    }

    /// Progress as in a cluster: more new pods, fewer old pods, or more pods that are ready
    /// or available.
    fn is_further_than(&self, before: &Self) -> bool {
        self.updated > before.updated
            || self.total - self.updated < before.total - before.updated
            || self.updated_available > before.updated_available
            || self.ready > before.ready
            || self.available > before.available
    }
}

impl Progress {
    pub(crate) fn new(revision: String, counts: Counts, now: Instant) -> Self {
        Self {
            revision,
            complete: counts.is_complete(),
            counts,
            since: now,
        }
    }

    /// Updates the progress by `counts`; returns the state of the rollout.
    pub(crate) fn observe(
        &mut self,
        revision: &str,
        counts: Counts,
        deadline: Duration,
        paused: bool,
        now: Instant,
    ) -> Progressing {
        let is_new = self.revision != revision || self.counts.wanted != counts.wanted;
        if is_new || paused || counts.is_further_than(&self.counts) {
            self.since = now;
        }
        if self.revision != revision {
            revision.clone_into(&mut self.revision);
            self.complete = false;
        }
        self.counts = counts;
        self.complete |= counts.is_complete();
        if paused {
            Progressing::Paused
        } else if self.complete {
            Progressing::Complete
        } else if now.saturating_duration_since(self.since) >= deadline {
            Progressing::DeadlineExceeded
        } else {
            Progressing::Underway
        }
    }

    /// When the deadline expires if there is no progress before.
    pub(crate) fn due(&self, deadline: Duration) -> Option<Instant> {
        (!self.complete).then(|| self.since + deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(600);

    fn counts(updated: usize, available: usize) -> Counts {
        Counts {
            wanted: 3,
            total: 3,
            updated,
            updated_available: available.min(updated),
            ready: available,
            available,
        }
    }

    #[test]
    fn rollout_without_progress_exceeds_its_deadline_until_it_progresses() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new("a".into(), counts(3, 3), start);
        let mut observe = |updated, available, seconds| {
            progress.observe(
                "b",
                counts(updated, available),
                DEADLINE,
                false,
                at(seconds),
            )
        };
        assert_eq!(observe(1, 2, 0), Progressing::Underway);
        assert_eq!(observe(1, 2, 599), Progressing::Underway);
        assert_eq!(observe(2, 2, 599), Progressing::Underway);
        assert_eq!(observe(2, 2, 1_198), Progressing::Underway);
        assert_eq!(observe(2, 2, 1_199), Progressing::DeadlineExceeded);
        assert_eq!(observe(3, 3, 1_300), Progressing::Complete);
        assert_eq!(
            observe(3, 1, 9_000),
            Progressing::Complete,
            "it stays complete"
        );
    }

    #[test]
    fn paused_time_does_not_count() {
        let start = Instant::now();
        let mut progress = Progress::new("a".into(), counts(3, 3), start);
        let late = start + 2 * DEADLINE;
        let paused = progress.observe("b", counts(1, 2), DEADLINE, true, late);
        assert_eq!(paused, Progressing::Paused);
        let resumed = progress.observe("b", counts(1, 2), DEADLINE, false, late);
        assert_eq!(resumed, Progressing::Underway);
        assert_eq!(progress.due(DEADLINE), Some(late + DEADLINE));
    }
}
