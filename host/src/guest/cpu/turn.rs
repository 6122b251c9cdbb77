//! Turns: how long a guest runs before it lets others run.
//!
//! A guest begins on the task of its caller, on the threads that serve everybody.
//! Once it has computed for a tick without a pause it moves to the compute
//! threads, as a task of its own, and stays there until its request ends. While
//! the latest request of a pod computed, its next one begins there.
//!
//! Whoever waits for a guest never holds what other guests wait for: a pod's
//! share of the cores is taken for one turn, by a task that only the runtime
//! polls, so a client that does not read its response keeps nobody waiting.
//!
//! No pod takes more compute threads than its limit has cores. WASI 0.3 services,
//! which wasmtime polls, stay where they are: they give way at ticks and wait
//! while their pod is over its budget. Pods are not weighed against each other
//! (`requests.cpu`).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use wasmtime::{CallHook, Store, StoreContextMut, UpdateDeadline};

use super::{ComputeThreads, PodCpu};
use crate::guest::deadline::since_origin;
use crate::guest::engine::EPOCH_TICK;
use crate::guest::state::GuestState;

/// How long a guest runs at least before a tick ends its turn. Ticks come by the
/// clock: a guest that waited finds one behind it as soon as it resumes, which
/// says nothing about how long it ran.
const TURN_MIN: Duration = EPOCH_TICK.checked_div(2).expect("not by zero");

/// One instance's turns.
#[derive(Debug, Clone)]
pub(in crate::guest) struct CpuTurn {
    cpu: Arc<PodCpu>,
    threads: ComputeThreads,
    running: Arc<Running>,
}

/// What the guest's side tells the outside.
#[derive(Debug, Default)]
struct Running {
    /// When the present poll began, see [`since_origin`], in nanoseconds.
    began_nanos: AtomicU64,
    /// The guest gave way to a tick: it did not wait for anything.
    ticked: AtomicBool,
    /// It runs on a compute thread.
    computes: AtomicBool,
}

impl CpuTurn {
    pub(in crate::guest) fn new(cpu: Arc<PodCpu>, threads: ComputeThreads) -> Self {
        Self {
            cpu,
            threads,
            running: Arc::default(),
        }
    }

    /// Runs `guest`, a future that is in guest code whenever it is polled: counts
    /// its time and takes turns. Dropping it drops the guest.
    pub(in crate::guest) async fn take<F>(self, guest: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut guest = Box::pin(guest);
        let expected = self.cpu.computes();
        if !expected && let Some(output) = self.serve(guest.as_mut()).await {
            return output;
        }
        let threads = self.threads.clone();
        threads.run(self.compute(guest, !expected)).await
    }

    /// Whether the guest runs on a compute thread.
    pub(in crate::guest) fn computes(&self) -> bool {
        self.running.computes.load(Ordering::Relaxed)
    }

    /// Turns on the thread that serves everybody, until the end or the first tick.
    async fn serve<F: Future>(&self, mut guest: Pin<&mut F>) -> Option<F::Output> {
        loop {
            self.cpu.within_budget().await;
            match self.poll(guest.as_mut()).await {
                Poll::Ready(output) => return Some(output),
                Poll::Pending if self.ticked() => return None,
                Poll::Pending => woken().await,
            }
        }
    }

    /// Turns on a compute thread, until the end. `computed`: it ran into a tick
    /// before.
    async fn compute<F: Future>(self, mut guest: Pin<Box<F>>, mut computed: bool) -> F::Output {
        self.running.computes.store(true, Ordering::Relaxed);
        loop {
            let core = self.cpu.core().await;
            self.cpu.within_budget().await;
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

    /// Polls once and counts the time.
    async fn poll<F: Future>(&self, mut guest: Pin<&mut F>) -> Poll<F::Output> {
        poll_fn(|context| {
            let began = Instant::now();
            self.running
                .began_nanos
                .store(nanos(began), Ordering::Relaxed);
            let polled = guest.as_mut().poll(context);
            self.cpu.charge_since(began);
            Poll::Ready(polled)
        })
        .await
    }

    /// Whether the poll before ended at a tick.
    fn ticked(&self) -> bool {
        let ticked = self.running.ticked.swap(false, Ordering::Relaxed);
        if ticked {
            self.cpu.set_computes(true);
        }
        ticked
    }

    /// At a tick, inside the guest: whether its turn is over.
    fn is_over(&self) -> bool {
        let began = self.running.began_nanos.load(Ordering::Relaxed);
        let ran = Duration::from_nanos(nanos(Instant::now()).saturating_sub(began));
        let over = ran >= TURN_MIN;
        if over {
            self.running.ticked.store(true, Ordering::Relaxed);
        }
        over
    }
}

fn nanos(instant: Instant) -> u64 {
    u64::try_from(since_origin(instant).as_nanos()).unwrap_or(u64::MAX)
}

/// Ready when the task is polled again.
async fn woken() {
    let mut polled = false;
    poll_fn(|_| match std::mem::replace(&mut polled, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// Makes the store's guest look at its deadline at every tick, and give way once
/// its turn is over.
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

/// The same for a store that only wasmtime polls: its guest's time is counted
/// from every entry into its code to the next way out, and its pauses are in
/// the ticks. `called` sees every call of the host by the guest first.
pub(in crate::guest) fn take_turns_inside(
    store: &mut Store<GuestState>,
    called: fn(&mut StoreContextMut<'_, GuestState>),
) {
    store.epoch_deadline_callback(|store| {
        let state = store.data();
        state.may_run_on()?;
        let cpu = state.turn.cpu.clone();
        let next = Box::pin(async move {
            tokio::task::yield_now().await;
            cpu.within_budget().await;
        });
        Ok(UpdateDeadline::YieldCustom(1, next))
    });
    let cpu = store.data().turn.cpu.clone();
    let mut entered = Instant::now();
    store.call_hook(move |mut context, hook| {
        if hook.entering_host() {
            cpu.charge_since(entered);
            if matches!(hook, CallHook::CallingHost) {
                called(&mut context);
            }
        } else {
            entered = Instant::now();
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that computes for so many turns; answers on which kind of thread it
    /// began and ended.
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
        turn.take(guest).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_tick_requests_begin_on_a_compute_thread_until_one_is_short() {
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

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_waits_for_a_guest_that_is_not_polled() {
        let (cpu, threads) = (PodCpu::new(Some(1000)), ComputeThreads::default());
        let turn = CpuTurn::new(cpu.clone(), threads.clone());
        let running = turn.running.clone();
        let mut endless = Box::pin(turn.take(poll_fn(move |_| {
            running.ticked.store(true, Ordering::Relaxed);
            Poll::<()>::Pending
        })));
        // Polled once and never again, as by a client that does not read.
        let polled = futures::poll!(endless.as_mut());
        assert!(polled.is_pending());
        for _ in 0..3 {
            request(&cpu, &threads, 2).await;
        }
    }
}
