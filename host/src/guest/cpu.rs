//! The CPU time of one pod: how long the code of its guests ran, and how long it may run
//! (`resources.limits.cpu`).
//!
//! Time is measured with the clock around each poll of a guest ([`CpuTurn::count`]). That costs
//! two readings of the clock; the kernel's time of the thread would cost ten times as much. The
//! result includes time that the kernel gave to other processes, which matters only on an
//! overloaded machine.
//!
//! SQLite statements are included (`guest/sql/sqlite/caller.rs`). The host's other work for a
//! pod, such as HTTP and routing, is not.

mod budget;
mod compute;
mod turn;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, SemaphorePermit};

use budget::Budget;
pub(crate) use budget::Throttling;
pub(super) use compute::ComputeThreads;
pub(super) use turn::{CpuTurn, give_way_at_ticks, take_turns_inside};

/// What the instances of one pod share.
#[derive(Debug)]
pub(crate) struct PodCpu {
    used_nanos: AtomicU64,
    /// Whether the latest request computed for a whole turn.
    computes: AtomicBool,
    /// `None` if there is no limit.
    limit: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    budget: Mutex<Budget>,
    /// One permit per core of the limit, for guests that compute. A small pod then spends its
    /// budget on one core, and leaves the others to its neighbours.
    cores: Semaphore,
}

impl PodCpu {
    /// `limit` is in thousandths of a core.
    pub(crate) fn new(limit: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            used_nanos: AtomicU64::new(0),
            computes: AtomicBool::new(false),
            limit: limit.map(Limit::new),
        })
    }

    /// CPU time since the start of the pod, over all cores.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_nanos.load(Ordering::Relaxed))
    }

    /// How much the limit has throttled the pod.
    pub(crate) fn throttling(&self) -> Throttling {
        self.budget()
            .map(|budget| budget.throttling())
            .unwrap_or_default()
    }

    /// Whether the next request is expected to compute for a whole turn.
    fn computes(&self) -> bool {
        self.computes.load(Ordering::Relaxed)
    }

    fn set_computes(&self, computes: bool) {
        // The value rarely changes; without a write, no cache line moves between cores.
        if self.computes() != computes {
            self.computes.store(computes, Ordering::Relaxed);
        }
    }

    /// When a guest of the pod may run; `None` means now.
    pub(super) fn resumes_at(&self, now: Instant) -> Option<Instant> {
        self.budget()?.resumes_at(now)
    }

    /// Waits until a guest of the pod may run.
    pub(super) async fn within_budget(&self) {
        while let Some(resumes) = self.resumes_at(Instant::now()) {
            tokio::time::sleep_until(resumes.into()).await;
        }
    }

    /// Waits for one of the cores that the pod may compute on; `None` if there is no limit.
    async fn core(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.limit.as_ref()?.cores.acquire().await.ok()
    }

    /// Counts the time since a guest started to run.
    pub(super) fn charge_since(&self, began: Instant) {
        let now = Instant::now();
        self.charge(now - began, now);
    }

    /// Counts time that a guest has used until `now`.
    fn charge(&self, spent: Duration, now: Instant) {
        let nanos = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.used_nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Some(mut budget) = self.budget() {
            budget.charge(spent, now);
        }
    }

    fn budget(&self) -> Option<MutexGuard<'_, Budget>> {
        let limit = self.limit.as_ref()?;
        Some(limit.budget.lock())
    }
}

impl Limit {
    fn new(millicores: u64) -> Self {
        let cores = usize::try_from(millicores.div_ceil(1000)).unwrap_or(usize::MAX);
        Self {
            budget: Mutex::new(Budget::new(millicores, Instant::now())),
            cores: Semaphore::new(cores.min(Semaphore::MAX_PERMITS)),
        }
    }
}
