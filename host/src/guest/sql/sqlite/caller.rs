//! For whom a statement runs, and when it has to end: at the deadline of the
//! request, when nobody waits for it any more, when the pod is killed, when the
//! host stops, and after [`STATEMENT_MAX`] whatever the rest says.
//!
//! What it computes is counted to the pod, and waits while the pod is over its
//! `limits.cpu`, as its guest does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use galleria_sqlite::{Budget, Watch};
use tokio_util::sync::CancellationToken;

use super::compute_slots::{self, ComputeSlot, LOOK};
use crate::guest::{Deadline, GuestSetup, PodCpu, PodMemory};

/// No statement of SQLite runs for longer; PostgreSQL's default here, too.
pub(super) const STATEMENT_MAX: Duration = Duration::from_secs(30);

/// A statement that has run so long is not short: it continues in a slot, which it
/// has for as long at a time.
const SLICE: Duration = Duration::from_millis(5);

/// Once the host is told to stop, statements may go on for so long.
const STOPPING_MAX: Duration = Duration::from_millis(500);

/// The pod, and the request that one of its instances serves.
pub(in crate::guest) struct Caller {
    deadline: Deadline,
    killed: CancellationToken,
    cpu: Arc<PodCpu>,
    memory: Arc<PodMemory>,
}

/// Gives the memory of SQLite to its pod.
pub(super) struct PodBudget(Arc<PodMemory>);

/// Since when the host stops.
pub(in crate::guest::sql) type Stopping = Arc<OnceLock<Instant>>;

/// Shared by whoever waits for a statement and the thread that runs it.
pub(super) type Abandoned = Arc<AtomicBool>;

/// Dropped by whoever waits, it ends the statement.
pub(super) struct Waiting(Abandoned);

impl Caller {
    pub(in crate::guest) fn new(setup: &GuestSetup, deadline: Deadline) -> Arc<Self> {
        Arc::new(Self {
            deadline,
            killed: setup.killed.clone(),
            cpu: setup.cpu.clone(),
            memory: setup.memory.clone(),
        })
    }

    pub(super) fn budget(&self) -> Arc<PodBudget> {
        Arc::new(PodBudget(self.memory.clone()))
    }

    /// The pod is the one whose memory this is.
    pub(super) fn is_of(&self, budget: &PodBudget) -> bool {
        Arc::ptr_eq(&self.memory, &budget.0)
    }

    /// Looks at everything that ends a statement that begins now.
    pub(super) fn watch(
        self: &Arc<Self>,
        abandoned: &Abandoned,
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

/// One statement while it runs.
struct Run {
    caller: Arc<Caller>,
    abandoned: Abandoned,
    stopping: Stopping,
    until: Instant,
    /// Since when its time is not counted yet.
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

    /// Waits for its turn; whether it is to use it.
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

/// A statement that ended: what it computed since the last look counts too.
impl Drop for Run {
    fn drop(&mut self) {
        self.caller.cpu.charge_since(self.slice);
    }
}

impl Waiting {
    pub(super) fn begin() -> (Self, Abandoned) {
        let abandoned = Abandoned::default();
        (Self(abandoned.clone()), abandoned)
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
