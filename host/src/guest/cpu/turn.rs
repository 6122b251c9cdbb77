//! Turns: how long a guest runs before others can run.
//!
//! A guest starts on the task of its caller, on a serving thread. When it has computed for a
//! tick without a pause, it moves to the compute threads as a task of its own, and stays there
//! until its request ends. If the latest request of a pod computed, its next request starts
//! there.
//!
//! A client that does not read its response does not delay other guests: a guest takes one of
//! its pod's cores only for one turn, in a task that only the runtime polls.
//!
//! A pod uses no more compute threads than its limit has cores. WASI 0.3 services, whose
//! instances are shared, do not move: they yield when their turn is over, and wait while their
//! pod exceeds its budget. There are no weights between pods (`requests.cpu`).

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use wasmtime::{Store, UpdateDeadline};

use super::{ComputeThreads, PodCpu};
use crate::guest::deadline::since_origin;
use crate::guest::engine::EPOCH_TICK;
use crate::guest::outgoing::DrivenCall;
use crate::guest::state::GuestState;

/// The minimum duration of a turn. Ticks follow the clock: a guest that has waited finds a
/// tick in the past when it resumes, which says nothing about how long it ran.
const TURN_MIN: Duration = EPOCH_TICK.checked_div(2).expect("not by zero");

thread_local! {
    /// How long other guests have run inside the current poll of a guest, which drives its call
    /// to them.
    static CALLED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The turns of one instance.
#[derive(Debug, Clone)]
pub(in crate::guest) struct CpuTurn {
    cpu: Arc<PodCpu>,
    threads: ComputeThreads,
    running: Arc<Running>,
    driven: DrivenCall,
}

/// Shared between the code inside the guest and the code that polls it.
#[derive(Debug, Default)]
struct Running {
    /// When the current poll started, see [`since_origin`], in nanoseconds.
    began_nanos: AtomicU64,
    /// The guest yielded at a tick; it did not wait for anything.
    ticked: AtomicBool,
    /// The guest runs on a compute thread.
    computes: AtomicBool,
}

impl CpuTurn {
    pub(in crate::guest) fn new(cpu: Arc<PodCpu>, threads: ComputeThreads) -> Self {
        Self {
            cpu,
            threads,
            running: Arc::default(),
            driven: DrivenCall::new(),
        }
    }

    /// Runs `guest`, a future that runs guest code whenever it is polled. Counts its time and
    /// takes turns. Dropping it drops the guest.
    pub(in crate::guest) async fn take<F>(self, mut guest: Pin<Box<F>>) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let expected = self.cpu.computes();
        if !expected && let Some(output) = self.serve(guest.as_mut()).await {
            return output;
        }
        let threads = self.threads.clone();
        threads.run(self.compute(guest, !expected)).await
    }

    /// The outgoing call that the guest's task drives.
    pub(in crate::guest) fn driven_call(&self) -> &DrivenCall {
        &self.driven
    }

    /// Whether the guest runs on a compute thread.
    pub(in crate::guest) fn computes(&self) -> bool {
        self.running.computes.load(Ordering::Relaxed)
    }

    /// Takes turns on a serving thread, until the end or the first tick.
    async fn serve<F: Future>(&self, mut guest: Pin<&mut F>) -> Option<F::Output> {
        loop {
            self.within_budget().await;
            match self.poll(guest.as_mut()).await {
                Poll::Ready(output) => return Some(output),
                Poll::Pending if self.ticked() => return None,
                Poll::Pending => woken().await,
            }
        }
    }

    /// Takes turns on a compute thread, until the end. `computed` says whether the guest has
    /// already run into a tick.
    async fn compute<F: Future>(self, mut guest: Pin<Box<F>>, mut computed: bool) -> F::Output {
        self.running.computes.store(true, Ordering::Relaxed);
        self.driven.suspended(false);
        loop {
            let core = self.cpu.core().await;
            self.within_budget().await;
            let polled = self.poll(guest.as_mut()).await;
            drop(core);
            match polled {
                Poll::Ready(output) => {
                    self.running.computes.store(false, Ordering::Relaxed);
                    self.cpu.set_computes(computed);
                    return output;
                }
                Poll::Pending if self.ticked() => {
                    computed = true;
                    tokio::task::yield_now().await;
                }
                Poll::Pending => woken().await,
            }
        }
    }

    /// Waits until the guest may run. Its call does not wait with it, because it occupies an
    /// instance of another pod.
    async fn within_budget(&self) {
        if self.cpu.resumes_at(Instant::now()).is_some() {
            self.driven.suspended(false);
            self.cpu.within_budget().await;
        }
    }

    /// Polls once and counts the time.
    async fn poll<F: Future>(&self, mut guest: Pin<&mut F>) -> Poll<F::Output> {
        poll_fn(|context| {
            let polled = self.count(|| guest.as_mut().poll(context));
            if polled.is_pending() {
                self.driven.suspended(!self.computes());
            }
            Poll::Ready(polled)
        })
        .await
    }

    /// Runs code of the guest and counts the time, without that of called guests that run
    /// meanwhile.
    pub(in crate::guest) fn count<R>(&self, run: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        self.running
            .began_nanos
            .store(nanos(began), Ordering::Relaxed);
        let called_before = CALLED.replace(Duration::ZERO);
        let result = run();
        let now = Instant::now();
        let took = now.saturating_duration_since(began);
        self.cpu.charge(took.saturating_sub(CALLED.get()), now);
        CALLED.set(called_before + took);
        result
    }

    /// Whether the previous poll ended at a tick.
    fn ticked(&self) -> bool {
        let ticked = self.running.ticked.swap(false, Ordering::Relaxed);
        if ticked {
            self.cpu.set_computes(true);
        }
        ticked
    }

    /// Called inside the guest at a tick. Returns whether its turn is over.
    fn is_over(&self) -> bool {
        let began = self.running.began_nanos.load(Ordering::Relaxed);
        let ran = Duration::from_nanos(nanos(Instant::now()).saturating_sub(began));
        let over = ran.saturating_sub(CALLED.get()) >= TURN_MIN;
        if over {
            self.running.ticked.store(true, Ordering::Relaxed);
        }
        over
    }
}

fn nanos(instant: Instant) -> u64 {
    u64::try_from(since_origin(instant).as_nanos()).unwrap_or(u64::MAX)
}

/// Waits until the task is polled again.
async fn woken() {
    let mut polled = false;
    poll_fn(|_| match std::mem::replace(&mut polled, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// Makes the guest check its deadline at every tick, and yield when its turn is over.
pub(in crate::guest) fn give_way_at_ticks(store: &mut Store<GuestState>) {
    store.epoch_deadline_callback(|store| {
        let state = store.data();
        state.may_run_on()?;
        Ok(if state.turn.is_over() {
            UpdateDeadline::Yield(1)
        } else {
            UpdateDeadline::Continue(1)
        })
    });
    store.set_epoch_deadline(1);
}

/// The same for a store whose event loop runs several tasks of the guest. The guest stays on
/// its thread: it pauses when its turn is over, and while its pod exceeds its budget.
pub(in crate::guest) fn take_turns_inside(store: &mut Store<GuestState>) {
    store.epoch_deadline_callback(|store| {
        let state = store.data();
        state.may_run_on()?;
        let cpu = &state.turn.cpu;
        if !state.turn.is_over() && cpu.resumes_at(Instant::now()).is_none() {
            return Ok(UpdateDeadline::Continue(1));
        }
        let cpu = cpu.clone();
        let next = Box::pin(async move {
            tokio::task::yield_now().await;
            cpu.within_budget().await;
        });
        Ok(UpdateDeadline::YieldCustom(1, next))
    });
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::oneshot;
    use wasmtime_wasi::p2::Pollable;

    use super::*;

    /// A guest that computes for this many turns. Returns the kinds of thread on which it
    /// started and ended.
    async fn request(cpu: &Arc<PodCpu>, threads: &ComputeThreads, turns: usize) -> [String; 2] {
        let turn = CpuTurn::new(cpu.clone(), threads.clone());
        let running = turn.running.clone();
        let (mut left, mut began) = (turns, None);
        let guest = poll_fn(move |_| {
            let thread = std::thread::current();
            let here = thread.name().unwrap_or_default().to_owned();
            let first = began.get_or_insert_with(|| here.clone()).clone();
            if left == 0 {
                return Poll::Ready([first, here]);
            }
            left -= 1;
            running.ticked.store(true, Ordering::Relaxed);
            Poll::Pending
        });
        turn.take(Box::pin(guest)).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn requests_start_on_a_compute_thread_after_one_that_computed() {
        let (cpu, threads) = (PodCpu::new(None), ComputeThreads::default());
        let mut ran = Vec::new();
        for turns in [0, 3, 1, 0, 0] {
            let [began, ended] = request(&cpu, &threads, turns).await;
            ran.push([began == "compute", ended == "compute"]);
        }
        assert_eq!(
            ran,
            [
                [false, false],
                [false, true],
                [true, true],
                [true, true],
                [false, false],
            ]
        );
    }

    #[tokio::test]
    async fn call_of_a_throttled_guest_continues() {
        let cpu = PodCpu::new(Some(10));
        let turn = CpuTurn::new(cpu.clone(), ComputeThreads::default());
        let driven = turn.driven.clone();
        let (answer, answered) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let future = async move {
            answered.await.expect("an answer");
            end.send(()).expect("the test waits for it");
            Err(wasmtime_wasi_http::Error::DestinationUnavailable)
        };
        let mut future = Some(future.boxed());
        let resumed = Arc::new(AtomicBool::new(false));
        let second_poll = resumed.clone();
        let mut call = None;
        let guest = tokio::spawn(turn.take(Box::pin(poll_fn(move |context| {
            let Some(future) = future.take() else {
                second_poll.store(true, Ordering::Relaxed);
                call = None;
                return Poll::Ready(());
            };
            let begun = call.insert(driven.drive(future));
            assert!(begun.ready().poll_unpin(context).is_pending());
            // The pod has used more than the quota of several periods.
            cpu.charge(Duration::from_millis(5), Instant::now());
            context.waker().wake_by_ref();
            Poll::Pending
        }))));
        tokio::task::yield_now().await;
        answer.send(()).expect("the call waits");
        ended.await.expect("the call continues");
        assert!(!resumed.load(Ordering::Relaxed), "the guest still waits");
        guest.await.expect("no panic");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn guest_that_is_not_polled_delays_no_other() {
        let (cpu, threads) = (PodCpu::new(Some(1000)), ComputeThreads::default());
        let turn = CpuTurn::new(cpu.clone(), threads.clone());
        let running = turn.running.clone();
        let endless = poll_fn(move |_| {
            running.ticked.store(true, Ordering::Relaxed);
            Poll::<()>::Pending
        });
        let mut endless = Box::pin(turn.take(Box::pin(endless)));
        // Polled once and never again, as by a client that does not read.
        let polled = futures::poll!(endless.as_mut());
        assert!(polled.is_pending());
        for _ in 0..3 {
            request(&cpu, &threads, 2).await;
        }
    }
}
