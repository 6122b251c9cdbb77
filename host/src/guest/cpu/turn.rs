//! How guests that compute share the cores.
//!
//! A guest that runs into a tick of the epoch has had a turn on the thread that
//! serves everybody. Its next turns it has beside: once its pod is within its
//! budget and a lane is free, on a thread of its own, so that the kernel
//! divides the cores between it and what only needs a moment. There is a lane
//! for each core of the machine, and no pod takes more of them than its limit has
//! cores; they are given in the order of asking.
//!
//! WASI 0.3 services, which wasmtime polls, have no lanes: they give way at
//! ticks and wait while their pod is over its budget. Pods are not weighed
//! against each other (`requests.cpu`).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use tokio::sync::Semaphore;
use wasmtime::{Store, UpdateDeadline};

use super::PodCpu;
use crate::guest::deadline::DeadlinePassed;
use crate::guest::state::GuestState;

/// A lane for each core.
#[derive(Debug, Clone)]
pub(in crate::guest) struct Lanes(Arc<Semaphore>);

impl Lanes {
    pub(in crate::guest) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(cores)))
    }
}

/// One instance's place among all that compute.
#[derive(Debug, Clone)]
pub(in crate::guest) struct Turn {
    cpu: Arc<PodCpu>,
    lanes: Lanes,
    /// The guest gave way to a tick: it did not wait for anything.
    ticked: Arc<AtomicBool>,
}

impl Turn {
    pub(in crate::guest) fn new(cpu: Arc<PodCpu>, lanes: Lanes) -> Self {
        Self {
            cpu,
            lanes,
            ticked: Arc::default(),
        }
    }

    /// Runs `guest`, a future that is in guest code whenever it is polled:
    /// counts its time and takes turns.
    pub(in crate::guest) async fn take<F: Future>(self, guest: F) -> F::Output {
        let mut guest = pin!(guest);
        loop {
            self.cpu.within_budget().await;
            let first = poll_fn(|context| {
                let began = Instant::now();
                let polled = guest.as_mut().poll(context);
                self.cpu.charge_since(began);
                Poll::Ready(polled)
            });
            if let Poll::Ready(output) = first.await {
                return output;
            }
            while self.ticked.swap(false, Ordering::Relaxed) {
                let next = self.compute(guest.as_mut());
                if let Poll::Ready(output) = next.await {
                    return output;
                }
            }
            woken().await;
        }
    }

    /// A turn in a lane.
    async fn compute<F: Future>(&self, mut guest: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        let core = self.cpu.core().await;
        let lane = loop {
            self.cpu.within_budget().await;
            let lane = self.lanes.0.acquire().await;
            // Others of its pod may have spent the budget meanwhile.
            if self.cpu.resumes_at(Instant::now()).is_none() {
                break lane;
            }
        };
        let polled = poll_fn(|context| {
            let turn = || {
                let began = Instant::now();
                let polled = guest.as_mut().poll(context);
                self.cpu.charge_since(began);
                polled
            };
            Poll::Ready(tokio::task::block_in_place(turn))
        })
        .await;
        drop((lane, core));
        polled
    }
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

/// Makes the store's guest look at its deadline and give way at every tick.
pub(in crate::guest) fn give_way_at_ticks(store: &mut Store<GuestState>) {
    store.epoch_deadline_callback(|store| {
        let state = store.data();
        if state.deadline.has_passed() {
            return Err(DeadlinePassed.into());
        }
        state.turn.ticked.store(true, Ordering::Relaxed);
        Ok(UpdateDeadline::Yield(1))
    });
    store.set_epoch_deadline(1);
}

/// The same for a store that only wasmtime polls: its guest's time is counted
/// from every entry into its code to the next way out, and its pauses are in
/// the ticks.
pub(in crate::guest) fn take_turns_inside(store: &mut Store<GuestState>) {
    store.epoch_deadline_callback(|store| {
        let state = store.data();
        if state.deadline.has_passed() {
            return Err(DeadlinePassed.into());
        }
        let cpu = state.turn.cpu.clone();
        let next = Box::pin(async move {
            tokio::task::yield_now().await;
            cpu.within_budget().await;
        });
        Ok(UpdateDeadline::YieldCustom(1, next))
    });
    let cpu = store.data().turn.cpu.clone();
    let mut entered = Instant::now();
    store.call_hook(move |_, hook| {
        if hook.entering_host() {
            cpu.charge_since(entered);
        } else {
            entered = Instant::now();
        }
        Ok(())
    });
}
