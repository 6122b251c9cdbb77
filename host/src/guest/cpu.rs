//! The CPU time of one pod: how long the code of its guests ran, and how long
//! it may (`resources.limits.cpu`).
//!
//! Measured by the clock around each poll of a guest ([`CpuTurn::take`]), or, where
//! wasmtime polls it, around each stay in it ([`take_turns_inside`]). That costs two
//! readings of the clock; asking the kernel for the thread's own time would
//! cost ten times as much. What the kernel gives to other processes meanwhile
//! is counted too, which matters on an overloaded machine alone.
//!
//! Statements of SQLite count too (`guest/sql/sqlite/caller.rs`). It does not count
//! the host's other work for a pod: HTTP, routing.

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

/// What the instances of one pod use together.
#[derive(Debug)]
pub(crate) struct PodCpu {
    used_nanos: AtomicU64,
    /// The request that ended last, or one under way, computed for a whole turn.
    computes: AtomicBool,
    /// None: it may use what there is.
    limit: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    budget: Mutex<Budget>,
    /// As many of its guests may compute at once as the limit has cores, begun
    /// ones included: a small pod spends its budget on one core, and leaves
    /// the others to its neighbours.
    cores: Semaphore,
}

impl PodCpu {
    /// `limit` in thousandths of a core.
    pub(crate) fn new(limit: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            used_nanos: AtomicU64::new(0),
            computes: AtomicBool::new(false),
            limit: limit.map(Limit::new),
        })
    }

    /// Time on a core since the pod began, over all cores.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_nanos.load(Ordering::Relaxed))
    }

    /// How much its limit held it back.
    pub(crate) fn throttling(&self) -> Throttling {
        self.budget()
            .map(|budget| budget.throttling())
            .unwrap_or_default()
    }

    /// Whether the next request is likely to need more than a moment.
    fn computes(&self) -> bool {
        self.computes.load(Ordering::Relaxed)
    }

    fn set_computes(&self, computes: bool) {
        // Nearly always the same as before: no cache line changes hands then.
        if self.computes() != computes {
            self.computes.store(computes, Ordering::Relaxed);
        }
    }

    /// When a guest of the pod may run; None is now.
    pub(super) fn resumes_at(&self, now: Instant) -> Option<Instant> {
        self.budget()?.resumes_at(now)
    }

    /// Ready when a guest of the pod may run.
    async fn within_budget(&self) {
        while let Some(resumes) = self.resumes_at(Instant::now()) {
            tokio::time::sleep_until(resumes.into()).await;
        }
    }

    /// One of the cores that the pod may compute on; None where it has no limit.
    async fn core(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed.
        self.limit.as_ref()?.cores.acquire().await.ok()
    }

    /// Counts the time since a guest began to run.
    pub(super) fn charge_since(&self, began: Instant) {
        let now = Instant::now();
        let spent = now - began;
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
