//! What each controller wants next: from the pods that there are, and the time,
//! to the pods to start and to stop.
//!
//! Pure: nothing here starts, stops, waits or reads a clock. Whoever asks does
//! what is answered and asks again, until nothing more is answered.

pub(crate) mod autoscaler;
pub(crate) mod budget;
pub(crate) mod deployment;
pub(crate) mod progress;
pub(crate) mod replica_set;
pub(crate) mod stateful_set;

use std::time::{Duration, Instant};

use galleria_manifest::model::IntOrPercent;

/// A pod that is not leaving, as controllers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodView {
    /// The younger the pod, the larger.
    pub target: usize,
    /// `pod-template-hash`.
    pub revision: String,
    /// Its number in a StatefulSet.
    pub ordinal: Option<usize>,
    pub ready_since: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Start {
        revision: String,
        /// In a StatefulSet.
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
    /// Ready for `min_ready`, without a break.
    pub(crate) fn is_available(&self, min_ready: Duration, now: Instant) -> bool {
        self.ready_since
            .is_some_and(|since| now.saturating_duration_since(since) >= min_ready)
    }
}

/// How many of `replicas` a count or percentage means, a fraction rounded up.
pub(crate) fn rounded_up(value: IntOrPercent, replicas: usize) -> usize {
    match value {
        IntOrPercent::Int(count) => count as usize,
        IntOrPercent::Percent(percent) => (replicas * percent as usize).div_ceil(100),
    }
}

/// As [`rounded_up`], a fraction rounded down.
pub(crate) fn rounded_down(value: IntOrPercent, replicas: usize) -> usize {
    match value {
        IntOrPercent::Int(count) => count as usize,
        IntOrPercent::Percent(percent) => replicas * percent as usize / 100,
    }
}

/// Puts pods that cost least to stop first: what is not available, then what is
/// not ready, then the younger before the older.
pub(crate) fn cheapest_first(pods: &mut [&PodView], min_ready: Duration, now: Instant) {
    pods.sort_by_key(|pod| {
        let is_available = pod.is_available(min_ready, now);
        let is_ready = pod.ready_since.is_some();
        (is_available, is_ready, std::cmp::Reverse(pod.target))
    });
}
