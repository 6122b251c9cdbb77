//! How guests that compute share the cores.
//!
//! A guest that runs into a tick of the epoch has had a turn on the thread that
//! serves everybody. Its next turns, and those of the requests that its pod gets
//! until one ends without a tick, it has beside: once its pod is within its
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
use wasmtime::{CallHook, Store, StoreContextMut, UpdateDeadline};

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
        let mut ticked = false;
        loop {
            let polled = if ticked || self.cpu.computes() {
                self.compute(guest.as_mut()).await
            } else {
                self.serve(guest.as_mut()).await
            };
            if let Poll::Ready(output) = polled {
                self.cpu.set_computes(ticked);
                return output;
            }
            if self.ticked.swap(false, Ordering::Relaxed) {
                ticked = true;
                self.cpu.set_computes(true);
            } else {
                woken().await;
            }
        }
    }

    /// A turn on the thread that serves everybody.
    async fn serve<F: Future>(&self, mut guest: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        self.cpu.within_budget().await;
        poll_fn(|context| {
            let began = Instant::now();
            let polled = guest.as_mut().poll(context);
            self.cpu.charge_since(began);
            Poll::Ready(polled)
        })
        .await
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
/// the ticks. `called` sees every call of the host by the guest first.
pub(in crate::guest) fn take_turns_inside(
    store: &mut Store<GuestState>,
    called: fn(&mut StoreContextMut<'_, GuestState>),
) {
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

    /// A guest that runs into `ticks`; answers whether it had a lane at its begin.
    async fn request(cpu: &Arc<PodCpu>, lanes: &Lanes, ticks: usize) -> bool {
        let turn = Turn::new(cpu.clone(), lanes.clone());
        let (ticked, all) = (turn.ticked.clone(), Lanes::new().0.available_permits());
        let (mut left, mut in_lane) = (ticks, None);
        let guest = poll_fn(|_| {
            let taken = lanes.0.available_permits() < all;
            let began = *in_lane.get_or_insert(taken);
            if left == 0 {
                return Poll::Ready(began);
            }
            assert_eq!(taken, began || left < ticks, "a lane after the first tick");
            left -= 1;
            ticked.store(true, Ordering::Relaxed);
            Poll::Pending
        });
        turn.take(guest).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_tick_requests_begin_in_a_lane_until_one_is_short() {
        let (cpu, lanes) = (PodCpu::new(None), Lanes::new());
        assert!(!request(&cpu, &lanes, 0).await, "nothing is known yet");
        assert!(!request(&cpu, &lanes, 3).await);
        assert!(request(&cpu, &lanes, 1).await, "the one before computed");
        assert!(request(&cpu, &lanes, 0).await);
        assert!(!request(&cpu, &lanes, 0).await, "the one before was short");
    }
}
