//! Compute slots: statements that take long share half of the cores, in time slices, in the
//! order in which they ask. Short statements need no slot.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// How often a waiting statement checks whether it is to end.
pub(super) const LOOK: Duration = Duration::from_millis(10);

struct ComputeSlots {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    free: usize,
    /// The tickets of the waiting statements.
    waiting: VecDeque<u64>,
    next: u64,
}

/// The permission to compute, returned when dropped.
pub(super) struct ComputeSlot(&'static ComputeSlots);

fn slots() -> &'static ComputeSlots {
    static SLOTS: OnceLock<ComputeSlots> = OnceLock::new();
    SLOTS.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        ComputeSlots {
            state: Mutex::new(State {
                free: (cores / 2).max(1),
                waiting: VecDeque::new(),
                next: 0,
            }),
            freed: Condvar::new(),
        }
    })
}

/// Waits for a slot. Returns None once `is_over` says that it is no longer needed.
pub(super) fn take(is_over: impl Fn() -> bool) -> Option<ComputeSlot> {
    let slots = slots();
    let mut state = slots.lock();
    let number = state.next;
    state.next += 1;
    state.waiting.push_back(number);
    loop {
        if state.free > 0 && state.waiting.front() == Some(&number) {
            state.free -= 1;
            state.waiting.pop_front();
            slots.freed.notify_all();
            return Some(ComputeSlot(slots));
        }
        if is_over() {
            state.waiting.retain(|waiting| *waiting != number);
            slots.freed.notify_all();
            return None;
        }
        slots.freed.wait_for(&mut state, LOOK);
    }
}

impl ComputeSlots {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Drop for ComputeSlot {
    fn drop(&mut self) {
        self.0.lock().free += 1;
        self.0.freed.notify_all();
    }
}
