//! Who runs an instance: at most one task at a time.
//!
//! A wake-up during a run is for the runner. Otherwise it is for the instance's keeper, a task
//! of its own. So a request that is served in one run wakes no other task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::task::{Context, Wake};

use futures::task::AtomicWaker;

/// There is something to do.
const WOKEN: u8 = 1;
/// A task runs the instance.
const RUNNING: u8 = 2;
/// The keeper wants to run it next.
const CALLED: u8 = 4;

#[derive(Debug, Default)]
pub(super) struct Schedule {
    state: AtomicU8,
    keeper: AtomicWaker,
}

impl Schedule {
    /// Becomes the runner, unless there is one.
    pub(super) fn try_run(&self) -> bool {
        self.state.fetch_or(RUNNING, SeqCst) & RUNNING == 0
    }

    /// The same, but only if there is something to do.
    pub(super) fn try_run_if_woken(&self) -> bool {
        self.state
            .compare_exchange(WOKEN, WOKEN | RUNNING, SeqCst, SeqCst)
            .is_ok()
    }

    /// Called by the runner before it polls the instance.
    pub(super) fn begin_poll(&self) {
        self.state.fetch_and(!WOKEN, SeqCst);
    }

    /// Whether there is something to do.
    pub(super) fn is_woken(&self) -> bool {
        self.state.load(SeqCst) & WOKEN != 0
    }

    /// Called by the runner when it leaves. What is left to do is for the keeper.
    pub(super) fn stop(&self) {
        let before = self.state.fetch_and(!(RUNNING | CALLED), SeqCst);
        if before & (WOKEN | CALLED) != 0 {
            self.keeper.wake();
        }
    }

    /// Wakes the keeper now, or at the end of the current run.
    pub(super) fn call_back(&self) {
        if self.state.fetch_or(CALLED, SeqCst) & RUNNING == 0 {
            self.state.fetch_and(!CALLED, SeqCst);
            self.keeper.wake();
        }
    }

    /// Called by the keeper before it looks for work.
    pub(super) fn register_keeper(&self, context: &Context<'_>) {
        self.keeper.register(context.waker());
    }

    pub(super) fn wake_keeper(&self) {
        self.keeper.wake();
    }

    pub(super) fn wake(&self) {
        if self.state.fetch_or(WOKEN, SeqCst) == 0 {
            self.keeper.wake();
        }
    }
}

impl Wake for Schedule {
    fn wake(self: Arc<Self>) {
        Self::wake(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Self::wake(self);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use super::*;

    #[derive(Default)]
    struct Wakeups(AtomicUsize);

    impl Wake for Wakeups {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn kept() -> (Schedule, Arc<Wakeups>) {
        let (schedule, wakeups) = (Schedule::default(), Arc::<Wakeups>::default());
        let waker = Waker::from(wakeups.clone());
        schedule.register_keeper(&Context::from_waker(&waker));
        (schedule, wakeups)
    }

    #[test]
    fn wakeup_during_a_run_is_for_the_runner() {
        let (schedule, wakeups) = kept();
        assert!(schedule.try_run());
        assert!(!schedule.try_run(), "there is a runner");
        schedule.wake();
        assert!(schedule.is_woken());
        schedule.begin_poll();
        assert!(!schedule.is_woken());
        schedule.stop();
        assert_eq!(wakeups.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn keeper_does_what_the_runner_leaves() {
        let (schedule, wakeups) = kept();
        assert!(!schedule.try_run_if_woken(), "there is nothing to do");
        assert!(schedule.try_run());
        schedule.wake();
        schedule.stop();
        assert_eq!(wakeups.0.load(Ordering::Relaxed), 1);
        assert!(schedule.try_run_if_woken());
    }

    #[test]
    fn keeper_is_called_back_when_the_runner_leaves() {
        let (schedule, wakeups) = kept();
        assert!(schedule.try_run());
        schedule.call_back();
        schedule.begin_poll();
        assert_eq!(wakeups.0.load(Ordering::Relaxed), 0);
        schedule.stop();
        assert_eq!(wakeups.0.load(Ordering::Relaxed), 1);
        assert!(!schedule.try_run_if_woken(), "nothing else is to do");
        assert!(schedule.try_run());
    }

    #[test]
    fn wakeup_outside_of_a_run_is_for_the_keeper() {
        let (schedule, wakeups) = kept();
        schedule.wake();
        schedule.wake();
        assert_eq!(wakeups.0.load(Ordering::Relaxed), 1);
        assert!(schedule.try_run_if_woken());
    }
}
