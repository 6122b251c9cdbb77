//! The decisions of the controllers: which pods to start and to stop next, given the
//! current pods and the time.
//!
//! The functions are pure: they do not start or stop anything, do not wait and do not read
//! a clock. The caller carries out the actions and asks again, until there are no more.

pub(crate) mod autoscaler;
pub(crate) mod budget;
pub(crate) mod deployment;
pub(crate) mod progress;
pub(crate) mod replica_set;
pub(crate) mod stateful_set;

use std::time::{Duration, Instant};

use galleria_manifest::model::IntOrPercent;

/// A pod that is not terminating, as controllers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodView {
    /// Newer pods have larger numbers.
    pub target: usize,
    /// `pod-template-hash`.
    pub revision: String,
    /// Its ordinal in a StatefulSet.
    pub ordinal: Option<usize>,
    pub ready_since: Option<Instant>,
}

/// One step of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Start {
        revision: String,
        /// For a StatefulSet.
        ordinal: Option<usize>,
    },
    Stop {
        target: usize,
    },
}

impl Action {
    fn start(revision: &str) -> Self {
        Self::Start {
            revision: revision.to_owned(),
            ordinal: None,
        }
    }

    fn stop(pod: &PodView) -> Self {
        Self::Stop { target: pod.target }
    }
}

impl PodView {
    /// Whether it has been ready for `min_ready` without interruption.
    pub(crate) fn is_available(&self, min_ready: Duration, now: Instant) -> bool {
        self.ready_since
            .is_some_and(|since| now.saturating_duration_since(since) >= min_ready)
    }
}

/// A count, or a percentage of `replicas` rounded up.
pub(crate) fn rounded_up(value: IntOrPercent, replicas: usize) -> usize {
    match value {
        IntOrPercent::Int(count) => count as usize,
        IntOrPercent::Percent(percent) => (replicas * percent as usize).div_ceil(100),
    }
}

/// As [`rounded_up`], but rounded down.
pub(crate) fn rounded_down(value: IntOrPercent, replicas: usize) -> usize {
    match value {
        IntOrPercent::Int(count) => count as usize,
        IntOrPercent::Percent(percent) => replicas * percent as usize / 100,
    }
}

/// Sorts pods by the cost of stopping them: first those that are not available, of them
/// those that are not ready first, and newer pods before older ones.
pub(crate) fn cheapest_first(pods: &mut [&PodView], min_ready: Duration, now: Instant) {
    pods.sort_by_key(|pod| {
        let is_available = pod.is_available(min_ready, now);
        let is_ready = pod.ready_since.is_some();
        (is_available, is_ready, std::cmp::Reverse(pod.target))
    });
}
