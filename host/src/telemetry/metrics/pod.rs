//! What is counted of one pod for as long as it lives, whatever its guest is
//! started with.

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
    retired: [AtomicU64; Retired::ALL.len()],
    queue_wait: Histogram,
    instance_start: Histogram,
    /// Rare, so behind locks.
    failures: Mutex<BTreeMap<&'static str, u64>>,
    probes: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

/// Why an instance was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retired {
    /// It was made for one request, and has answered it.
    Request,
    /// It was made to see that it starts.
    WarmUp,
    /// It was not needed.
    Idle,
    /// It has served as many requests as one may.
    Spent,
    /// It kept more and more handles or memory from one request to the next.
    Grown,
    /// It trapped, or ended without an answer.
    Failed,
    /// Its caller left, or its time was over.
    Abandoned,
    /// The pod ended, or its environment changed.
    Ended,
}

impl Retired {
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
    /// An instance was made.
    pub(crate) fn started(&self, took: Duration) {
        self.started.fetch_add(1, Relaxed);
        self.instance_start.observe(took.as_secs_f64());
    }

    /// `count` instances were dropped.
    pub(crate) fn retired(&self, why: Retired, count: usize) {
        if let Some(retired) = self.retired.get(why as usize) {
            retired.fetch_add(count as u64, Relaxed);
        }
    }

    /// A request got its instance.
    pub(crate) fn waited(&self, time: Duration) {
        self.queue_wait.observe(time.as_secs_f64());
    }

    /// A request failed in the guest.
    pub(crate) fn failed(&self, reason: &'static str) {
        let mut failures = self.failures.lock();
        *failures.entry(reason).or_default() += 1;
    }

    pub(crate) fn probed(&self, probe: &'static str, result: &'static str) {
        let mut probes = self.probes.lock();
        *probes.entry((probe, result)).or_default() += 1;
    }

    /// `labels` are the pod's.
    pub(crate) fn sample(&self, labels: [&str; 3], samples: &mut Samples) {
        let [namespace, workload, pod] = labels;
        let started = self.started.load(Relaxed);
        samples.count(&names::INSTANCES_STARTED, &labels, started);
        for (why, retired) in Retired::ALL.iter().zip(&self.retired) {
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
