//! The pod and request that a statement runs for, and when it must end: at the deadline of the
//! request, when nothing waits for it any more, when the pod is killed, when the host stops,
//! and at the latest after [`STATEMENT_MAX`].
//!
//! Its CPU time counts for the pod. While the pod has used up its `limits.cpu`, the statement
//! waits, as its guest does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use galleria_sqlite::{Budget, Watch};
use tokio_util::sync::CancellationToken;

use super::compute_slots::{self, ComputeSlot, LOOK};
use crate::guest::{Deadline, GuestSetup, PodCpu, PodMemory};

/// The maximum duration of a SQLite statement, the same as the default for PostgreSQL.
pub(super) const STATEMENT_MAX: Duration = Duration::from_secs(30);

/// A statement that has run for this time is not short: it continues in a compute slot, which
/// it gets for the same time at once.
const SLICE: Duration = Duration::from_millis(5);

/// How long statements may continue after the host has begun to stop.
const STOPPING_MAX: Duration = Duration::from_millis(500);

/// A pod, and the request that one of its instances serves.
pub(in crate::guest) struct Caller {
    deadline: Deadline,
    killed: CancellationToken,
    cpu: Arc<PodCpu>,
    memory: Arc<PodMemory>,
}

/// Accounts the memory of SQLite to the pod.
pub(super) struct PodBudget(Arc<PodMemory>);

/// When the host began to stop.
pub(in crate::guest::sql) type Stopping = Arc<OnceLock<Instant>>;

/// Shared by the task that waits for a statement and the thread that runs it.
pub(super) type AbandonFlag = Arc<AtomicBool>;

/// Held by the task that waits. Dropping it ends the statement.
pub(super) struct Waiting(AbandonFlag);

impl Caller {
    pub(in crate::guest) fn new(setup: &GuestSetup, deadline: Deadline) -> Arc<Self> {
        Arc::new(Self {
            deadline,
            killed: setup.killed.clone(),
            cpu: setup.cpu.clone(),
            memory: setup.memory.clone(),
        })
    }

    #[cfg(test)]
    pub(in crate::guest::sql) fn without_limits() -> Arc<Self> {
        let node = crate::guest::NodeMemory::new(u64::MAX);
        Arc::new(Self {
            deadline: Deadline::never(),
            killed: CancellationToken::new(),
            cpu: PodCpu::new(None),
            memory: PodMemory::new(u64::MAX, 0, &node),
        })
    }

    pub(super) fn budget(&self) -> Arc<PodBudget> {
        Arc::new(PodBudget(self.memory.clone()))
    }

    /// Whether `budget` is the memory of this pod.
    pub(super) fn is_of(&self, budget: &PodBudget) -> bool {
        Arc::ptr_eq(&self.memory, &budget.0)
    }

    /// Checks everything that can end a statement that begins now.
    pub(super) fn watch(
        self: &Arc<Self>,
        abandoned: &AbandonFlag,
        stopping: &Stopping,
        until: Instant,
    ) -> Watch {
        let began = Instant::now();
        let mut run = Run {
            caller: self.clone(),
            abandoned: abandoned.clone(),
            stopping: stopping.clone(),
            until: until.min(began + STATEMENT_MAX),
            slice: began,
            slot: None,
        };
        Box::new(move || run.has_to_end())
    }
}

/// A running statement.
struct Run {
    caller: Arc<Caller>,
    abandoned: AbandonFlag,
    stopping: Stopping,
    until: Instant,
    /// When its CPU time was last counted.
    slice: Instant,
    slot: Option<ComputeSlot>,
}

impl Run {
    fn has_to_end(&mut self) -> bool {
        let now = Instant::now();
        if now.saturating_duration_since(self.slice) < SLICE {
            return self.abandoned.load(Ordering::Relaxed);
        }
        self.caller.cpu.charge_since(self.slice);
        self.slot = None;
        let resumed = self.resume();
        self.slice = Instant::now();
        !resumed
    }

    /// Waits for a turn. Returns whether the statement is to continue.
    fn resume(&mut self) -> bool {
        loop {
            if self.is_over() {
                return false;
            }
            let now = Instant::now();
            if let Some(resumes) = self.caller.cpu.resumes_at(now) {
                std::thread::sleep(resumes.saturating_duration_since(now).min(LOOK));
                continue;
            }
            self.slot = compute_slots::take(|| self.is_over());
            return self.slot.is_some();
        }
    }

    fn is_over(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
            || self.caller.killed.is_cancelled()
            || self.caller.deadline.has_passed()
            || Instant::now() > self.until
            || is_over_since(&self.stopping)
    }
}

pub(super) fn is_over_since(stopping: &Stopping) -> bool {
    let since = stopping.get();
    since.is_some_and(|since| since.elapsed() > STOPPING_MAX)
}

/// Counts the CPU time since the last check.
impl Drop for Run {
    fn drop(&mut self) {
        self.caller.cpu.charge_since(self.slice);
    }
}

impl Waiting {
    pub(super) fn begin() -> (Self, AbandonFlag) {
        let abandoned = AbandonFlag::default();
        (Self(abandoned.clone()), abandoned)
    }

    pub(super) fn is_for(&self, abandoned: &AbandonFlag) -> bool {
        Arc::ptr_eq(&self.0, abandoned)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Budget for PodBudget {
    fn reserve(&self, bytes: u64) -> bool {
        self.0.reserve(bytes).is_ok()
    }

    fn release(&self, bytes: u64) {
        self.0.release(bytes);
    }
}
