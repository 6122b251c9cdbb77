//! One instance: its event loop, and the tasks that run it.
//!
//! Whoever brings a request runs the event loop on its own task, until the guest has responded
//! or waits. A short request is so served without a switch to another task. What the guest
//! waits for wakes the instance's keeper, a task that only the runtime polls: no request
//! depends on the task of another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use wasmtime_wasi_http::handler::Proxy;

use super::Arrival;
use super::event_loop::{EventLoop, event_loop};
use super::instances::{Instances, Place};
use super::progress::{Answer, Progress, Rank, RequestId, Rules, Verdict};
use super::schedule::Schedule;
use crate::guest::cpu::CpuTurn;
use crate::guest::instance::Instance;
use crate::guest::{Failure, GuestSetup};
use crate::telemetry::metrics::{PodMeters, RetirementReason};

/// How long a task runs an instance on behalf of its own request. A guest that keeps going
/// continues on the keeper's task. The code of a guest is interrupted only at ticks.
const RUN_MAX: Duration = Duration::from_millis(1);

pub(super) struct SharedInstance {
    schedule: Arc<Schedule>,
    /// Wakes the instance.
    waker: Waker,
    /// `None` if it has ended.
    event_loop: Mutex<Option<EventLoop>>,
    progress: Arc<Progress>,
    instances: Arc<Instances>,
    place: Mutex<Option<Place>>,
    counts_as_busy: AtomicBool,
    turn: CpuTurn,
    meters: Arc<PodMeters>,
    killed: CancellationToken,
}

/// The right to run an instance. Must not be held while waiting.
pub(super) struct Claim {
    pub(super) instance: Arc<SharedInstance>,
    since: Instant,
}

/// Whether an instance accepts a request now.
pub(super) enum Availability {
    Open(Claim),
    /// Another task runs it.
    Running,
    Closed,
}

impl SharedInstance {
    pub(super) async fn start(
        setup: &GuestSetup,
        rules: Rules,
        instances: &Arc<Instances>,
        mut place: Place,
    ) -> Result<Claim, Failure> {
        let began = Instant::now();
        let Instance { store, proxy, .. } = *Instance::start(setup).await?;
        setup.meters.started(began.elapsed());
        let Proxy::P3(service) = proxy else {
            let text = "only a WASI 0.3 instance serves several requests at once";
            return Err(Failure::Start(text.into()));
        };
        place.started();
        let rank = match instances.existing.fetch_add(1, Relaxed) {
            0 => Rank::First,
            _ => Rank::Additional,
        };
        let turn = store.data().turn.clone();
        let progress = Arc::new(Progress::new(rules, rank));
        let schedule = Arc::<Schedule>::default();
        let meters = setup.meters.clone();
        let event_loop = event_loop(store, service, progress.clone(), meters.clone());
        let instance = Arc::new(Self {
            waker: schedule.clone().into(),
            schedule,
            event_loop: Mutex::new(Some(event_loop)),
            progress,
            instances: instances.clone(),
            place: Mutex::new(Some(place)),
            counts_as_busy: AtomicBool::new(false),
            turn,
            meters,
            killed: setup.killed.clone(),
        });
        let claim = instance.claim().ok_or(Failure::Overflow)?;
        tokio::spawn(instance.clone().keep());
        if rules.total_max > 1 {
            instances.add(&instance);
        }
        Ok(claim)
    }

    /// `None` if another task runs it.
    pub(super) fn claim(self: &Arc<Self>) -> Option<Claim> {
        self.schedule.try_run().then(|| self.claimed())
    }

    fn claimed(self: &Arc<Self>) -> Claim {
        Claim {
            instance: self.clone(),
            since: Instant::now(),
        }
    }

    /// The right to run it, if it accepts a request.
    pub(super) fn availability(self: &Arc<Self>) -> Availability {
        if !self.progress.is_open() {
            return Availability::Closed;
        }
        if !self.schedule.try_run() {
            return Availability::Running;
        }
        if self.progress.is_open() {
            Availability::Open(self.claimed())
        } else {
            self.schedule.stop();
            Availability::Closed
        }
    }

    /// It finishes its requests, and accepts no more.
    pub(super) fn retire(&self) {
        self.progress.retire();
        self.schedule.wake();
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    fn poll_once(&self) {
        self.schedule.begin_poll();
        let polled = {
            let mut event_loop = self.event_loop.lock();
            let Some(event_loop) = event_loop.as_mut() else {
                return;
            };
            let mut context = Context::from_waker(&self.waker);
            self.turn
                .count(|| catch_unwind(AssertUnwindSafe(|| event_loop.poll_unpin(&mut context))))
        };
        match polled {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) => self.end(None),
            // The panic has been logged.
            Err(_) => self.end(Some(Failure::Trap("the host panicked".into()))),
        }
    }

    fn end(&self, failure: Option<Failure>) {
        let event_loop = self.event_loop.lock().take();
        if event_loop.is_none() {
            return;
        }
        self.progress.end(failure);
        drop(event_loop);
        self.instances.remove(self);
        self.meters.retired(self.retirement(), 1);
        self.instances.existing.fetch_sub(1, Relaxed);
        self.leave_place();
        self.schedule.wake_keeper();
    }

    fn leave_place(&self) {
        let place = self.place.lock().take();
        drop(place);
    }

    fn retirement(&self) -> RetirementReason {
        let rules = self.progress.rules();
        let total = self.progress.total();
        match self.progress.has_failed() {
            _ if self.killed.is_cancelled() => RetirementReason::Ended,
            true => RetirementReason::Failed,
            false if self.progress.has_grown() => RetirementReason::Grown,
            false if total < rules.total_max => RetirementReason::Idle,
            false if rules.total_max == 1 => RetirementReason::Request,
            false => RetirementReason::Spent,
        }
    }

    fn count_busy(&self, busy: bool) {
        if self.counts_as_busy.swap(busy, Relaxed) != busy {
            match busy {
                true => self.instances.busy.fetch_add(1, Relaxed),
                false => self.instances.busy.fetch_sub(1, Relaxed),
            };
        }
    }

    /// The keeper: runs the instance when no request does, and ends it when it is due.
    async fn keep(self: Arc<Self>) {
        let mut killed = pin!(self.killed.cancelled());
        let mut timer = pin!(tokio::time::sleep_until(self.progress.due().into()));
        std::future::poll_fn(|context| self.poll_keep(context, timer.as_mut(), killed.as_mut()))
            .await;
    }

    fn poll_keep(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        killed: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> Poll<()> {
        self.schedule.register_keeper(context);
        if self.progress.has_ended() {
            return Poll::Ready(());
        }
        let killed = killed.poll(context).is_ready();
        let is_due = timer.as_mut().poll(context).is_ready();
        if killed || is_due {
            match self.claim() {
                Some(mut claim) if killed => claim.end(Failure::Killed),
                Some(mut claim) => claim.look(),
                None => self.schedule.call_back(),
            }
        } else if self.schedule.try_run_if_woken() {
            self.claimed().run();
        }
        if self.progress.has_ended() {
            return Poll::Ready(());
        }
        let due = self.progress.due().into();
        if timer.deadline() != due {
            timer.as_mut().reset(due);
            if timer.poll(context).is_ready() {
                context.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

impl Claim {
    /// Starts a request and runs the instance.
    ///
    /// # Errors
    /// The instance did not take the request.
    pub(super) fn serve(&mut self, arrival: Arrival) -> Result<RequestId, Box<Arrival>> {
        let id = self.instance.progress.offer(arrival);
        self.run();
        match self.instance.progress.withdraw() {
            Some(arrival) => Err(Box::new(arrival)),
            None => Ok(id),
        }
    }

    /// Runs the instance until it waits, or for [`RUN_MAX`].
    fn run(&mut self) {
        self.instance.poll_once();
        while self.go_on() {}
    }

    /// Runs the instance a little further, if it can and has time.
    pub(super) fn go_on(&mut self) -> bool {
        let on = self.instance.schedule.is_woken() && self.since.elapsed() < RUN_MAX;
        if on {
            self.instance.poll_once();
        }
        on
    }

    /// The answer to a request, if it is there.
    pub(super) fn answer(&self, id: RequestId) -> Option<Answer> {
        self.instance.progress.answer(id)
    }

    /// Receives the answer when it is there.
    pub(super) fn wait_for(&self, id: RequestId) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        self.instance.progress.reply(id, reply);
        answer
    }

    fn look(&mut self) {
        self.run();
        match self.instance.progress.look(Instant::now()) {
            Verdict::Keep => {}
            Verdict::Retire => self.instance.poll_once(),
            Verdict::End => self.end(Failure::Deadline),
        }
    }

    fn end(&mut self, failure: Failure) {
        self.instance.end(Some(failure));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let instance = &*self.instance;
        instance.count_busy(instance.progress.is_serving());
        // Another instance may start while this one finishes its requests.
        if instance.progress.is_retiring() && instance.progress.rules().total_max > 1 {
            instance.leave_place();
        }
        let earlier = instance.progress.pause(Instant::now());
        instance.schedule.stop();
        if earlier {
            instance.schedule.wake_keeper();
        }
        instance.progress.send_answers();
        instance.instances.freed();
    }
}
