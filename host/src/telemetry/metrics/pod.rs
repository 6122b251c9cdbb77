//! Counts of one pod for its whole lifetime, across restarts of its guest.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::Histogram;

use super::Samples;
use super::register::histogram;
use crate::telemetry::names;

/// See the module's documentation.
pub(crate) struct PodMeters {
    started: AtomicU64,
    retired: [AtomicU64; RetirementReason::ALL.len()],
    queue_wait: Histogram,
    instance_start: Histogram,
    /// Rare events, so a lock is cheap enough.
    failures: Mutex<BTreeMap<&'static str, u64>>,
    probes: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

/// Why an instance was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetirementReason {
    /// It was created for one request, and has served it.
    Request,
    /// It was created to check that it starts.
    WarmUp,
    /// It was not needed.
    Idle,
    /// It has served the maximum number of requests.
    Spent,
    /// Its handles or memory kept growing from request to request.
    Grown,
    /// It trapped, or ended without a response.
    Failed,
    /// Its caller disconnected, or its deadline expired.
    Abandoned,
    /// The pod ended, or its environment changed.
    Ended,
}

impl RetirementReason {
    const ALL: [Self; 8] = [
        Self::Request,
        Self::WarmUp,
        Self::Idle,
        Self::Spent,
        Self::Grown,
        Self::Failed,
        Self::Abandoned,
        Self::Ended,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::WarmUp => "warm_up",
            Self::Idle => "idle",
            Self::Spent => "spent",
            Self::Grown => "grown",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Ended => "ended",
        }
    }
}

impl Default for PodMeters {
    fn default() -> Self {
        Self {
            started: AtomicU64::default(),
            retired: Default::default(),
            queue_wait: histogram(&names::QUEUE_WAIT),
            instance_start: histogram(&names::INSTANCE_START),
            failures: Mutex::default(),
            probes: Mutex::default(),
        }
    }
}

impl PodMeters {
    /// Counts a created instance.
    pub(crate) fn started(&self, took: Duration) {
        self.started.fetch_add(1, Relaxed);
        self.instance_start.observe(took.as_secs_f64());
    }

    /// Counts `count` dropped instances.
    pub(crate) fn retired(&self, why: RetirementReason, count: usize) {
        if let Some(retired) = self.retired.get(why as usize) {
            retired.fetch_add(count as u64, Relaxed);
        }
    }

    /// Counts a request that got its instance after waiting for `time`.
    pub(crate) fn waited(&self, time: Duration) {
        self.queue_wait.observe(time.as_secs_f64());
    }

    /// Counts a request that failed in the guest.
    pub(crate) fn failed(&self, reason: &'static str) {
        let mut failures = self.failures.lock();
        *failures.entry(reason).or_default() += 1;
    }

    pub(crate) fn probed(&self, probe: &'static str, result: &'static str) {
        let mut probes = self.probes.lock();
        *probes.entry((probe, result)).or_default() += 1;
    }

    /// `labels` are the labels of the pod.
    pub(crate) fn sample(&self, labels: [&str; 3], samples: &mut Samples) {
        let [namespace, workload, pod] = labels;
        let started = self.started.load(Relaxed);
        samples.count(&names::INSTANCES_STARTED, &labels, started);
        for (why, retired) in RetirementReason::ALL.iter().zip(&self.retired) {
            let labels = [namespace, workload, pod, why.name()];
            samples.count(&names::INSTANCES_RETIRED, &labels, retired.load(Relaxed));
        }
        samples.observed(&names::QUEUE_WAIT, &labels, &self.queue_wait);
        samples.observed(&names::INSTANCE_START, &labels, &self.instance_start);
        let failures = self.failures.lock();
        for (reason, count) in failures.iter() {
            let labels = [namespace, workload, pod, reason];
            samples.count(&names::GUEST_FAILURES, &labels, *count);
        }
        drop(failures);
        let probes = self.probes.lock();
        for ((probe, result), count) in probes.iter() {
            let labels = [namespace, workload, pod, probe, result];
            samples.count(&names::PROBES, &labels, *count);
        }
    }
}
