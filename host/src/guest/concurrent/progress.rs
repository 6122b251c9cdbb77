//! What is known about an instance from outside of its store: its requests, whether it
//! accepts more, and when it must be looked at.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use wasmtime_wasi_http::WasiBody;

use super::Arrival;
use crate::guest::Failure;

/// How long the first instance of a pod is kept without requests.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The same for an instance that was started in addition to others.
const ADDITIONAL_IDLE_MAX: Duration = Duration::from_secs(10);

/// How long an instance that was retired because of an overdue request may take to end.
const OVERDUE_MAX: Duration = Duration::from_secs(1);

/// The minimum time between two looks at an overdue instance.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(10);

/// The response to one request, or why there is none.
pub(super) type Answer = Result<http::Response<WasiBody>, Failure>;

/// Identifies a request of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestId(usize);

/// How many requests an instance serves, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// At once.
    pub concurrent_max: usize,
    /// In its life.
    pub total_max: usize,
    /// The time until a response begins.
    pub response: Duration,
}

/// Whether there were other instances of the pod when one was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    First,
    Additional,
}

/// What the host must do about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// It finishes its requests, and accepts no more.
    Retire,
    /// Its guest took too long.
    End,
}

pub(super) struct Progress {
    rules: Rules,
    idle_max: Duration,
    state: Mutex<State>,
    /// Whether it accepts a request, as far as is known between two runs.
    open: AtomicBool,
    retiring: AtomicBool,
    /// It keeps too much to serve another request.
    grown: AtomicBool,
    /// No code of the guest is in the middle of anything.
    at_rest: AtomicBool,
    failure: OnceLock<Failure>,
}

struct State {
    arrival: Option<(RequestId, Arrival)>,
    /// Requests without a response.
    serving: Vec<Serving>,
    /// Answers that have not been taken yet.
    answers: Vec<(RequestId, Option<oneshot::Sender<Answer>>, Answer)>,
    /// How many requests it has started.
    total: usize,
    latest_start: Instant,
    /// The guest accepts calls (it has no backpressure).
    is_ready: bool,
    /// Tasks of the guest are in progress.
    works: bool,
    phase: Phase,
    /// The beginning of the phase.
    since: Instant,
    due: Instant,
    ended: bool,
}

struct Serving {
    id: RequestId,
    start: Instant,
    reply: Option<oneshot::Sender<Answer>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Requests,
    /// All requests have a response, but the guest is still working.
    PostReturn,
    Idle,
}

impl Progress {
    pub(super) fn new(rules: Rules, rank: Rank) -> Self {
        let now = Instant::now();
        let idle_max = match rank {
            Rank::First => IDLE_MAX,
            Rank::Additional => ADDITIONAL_IDLE_MAX,
        };
        Self {
            rules,
            idle_max,
            state: Mutex::new(State {
                arrival: None,
                serving: Vec::new(),
                answers: Vec::new(),
                total: 0,
                latest_start: now,
                is_ready: true,
                works: false,
                phase: Phase::Idle,
                since: now,
                due: now + idle_max,
                ended: false,
            }),
            open: AtomicBool::new(true),
            retiring: AtomicBool::new(false),
            grown: AtomicBool::new(false),
            at_rest: AtomicBool::new(true),
            failure: OnceLock::new(),
        }
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// The instance finishes its requests, and accepts no more.
    pub(super) fn retire(&self) {
        self.retiring.store(true, Ordering::Relaxed);
        self.open.store(false, Ordering::Release);
    }

    /// The same, because it keeps too much.
    pub(super) fn retire_grown(&self) {
        self.grown.store(true, Ordering::Relaxed);
        self.retire();
    }

    pub(super) fn has_grown(&self) -> bool {
        self.grown.load(Ordering::Relaxed)
    }

    pub(super) fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Relaxed)
    }

    /// Offers a request, which the event loop takes when it is polled.
    pub(super) fn offer(&self, arrival: Arrival) -> RequestId {
        let mut state = self.state.lock();
        let id = RequestId(state.total);
        state.arrival = Some((id, arrival));
        id
    }

    /// Takes back a request that the event loop did not take.
    pub(super) fn withdraw(&self) -> Option<Arrival> {
        self.state.lock().arrival.take().map(|(_, arrival)| arrival)
    }

    /// The next request for the event loop, and when it starts.
    pub(super) fn begin(&self) -> Option<(RequestId, Arrival, Instant)> {
        let mut state = self.state.lock();
        let (id, arrival) = state.arrival.take()?;
        let start = Instant::now();
        state.total += 1;
        state.latest_start = start;
        state.serving.push(Serving {
            id,
            start,
            reply: None,
        });
        if state.total >= self.rules.total_max {
            self.retire();
        }
        Some((id, arrival, start))
    }

    pub(super) fn finish(&self, id: RequestId, answer: Answer) {
        let mut state = self.state.lock();
        if let Some(place) = state.serving.iter().position(|it| it.id == id) {
            let reply = state.serving.swap_remove(place).reply;
            state.answers.push((id, reply, answer));
        }
    }

    /// The instance has ended, and with it all of its requests. Their failure is known before
    /// their bodies end.
    pub(super) fn end(&self, failure: Option<Failure>) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        self.retire();
        let serving = std::mem::take(&mut state.serving);
        if let Some(failure) = &failure {
            self.failure.get_or_init(|| failure.clone());
        }
        let failure =
            failure.unwrap_or_else(|| Failure::NoResponse("the instance has ended".into()));
        for Serving { id, reply, .. } in serving {
            state.answers.push((id, reply, Err(failure.clone())));
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// Whether the instance ended because of a failure.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Why the instance ended, if it failed.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.get().cloned()
    }

    /// The number of requests that the instance has started.
    pub(super) fn total(&self) -> usize {
        self.state.lock().total
    }

    pub(super) fn is_serving(&self) -> bool {
        !self.state.lock().serving.is_empty()
    }

    /// The answer to a request, if it is there.
    pub(super) fn answer(&self, id: RequestId) -> Option<Answer> {
        let mut state = self.state.lock();
        let place = state.answers.iter().position(|(of, ..)| *of == id)?;
        Some(state.answers.swap_remove(place).2)
    }

    /// Sends the answer to `reply` when it is there.
    pub(super) fn reply(&self, id: RequestId, reply: oneshot::Sender<Answer>) {
        let mut state = self.state.lock();
        if let Some(serving) = state.serving.iter_mut().find(|it| it.id == id) {
            serving.reply = Some(reply);
        }
    }

    /// Sends the answers that requests wait for. The others stay: their requests run the
    /// instance right now, and take them next.
    pub(super) fn send_answers(&self) {
        let answers: Vec<_> = {
            let mut state = self.state.lock();
            let awaited = state
                .answers
                .extract_if(.., |(_, reply, _)| reply.is_some());
            awaited.collect()
        };
        for (_, reply, answer) in answers {
            if let Some(reply) = reply {
                // The request may have been cancelled.
                let _ = reply.send(answer);
            }
        }
    }

    /// Called by the event loop when it has nothing to do.
    pub(super) fn rest(&self, is_ready: bool, works: bool) {
        let mut state = self.state.lock();
        state.is_ready = is_ready;
        state.works = works;
        self.at_rest.store(true, Ordering::Relaxed);
    }

    /// Called when code of the guest is entered. Returns whether the guest was at rest before,
    /// so that another of its tasks may run now.
    pub(super) fn stir(&self) -> bool {
        let rested = self.at_rest.load(Ordering::Relaxed);
        if rested {
            self.at_rest.store(false, Ordering::Relaxed);
        }
        rested
    }

    /// Called at the end of a run. Returns whether the instance must be looked at earlier than
    /// before.
    pub(super) fn pause(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let phase = match (state.serving.is_empty(), state.works) {
            (false, _) => Phase::Requests,
            (true, true) => Phase::PostReturn,
            (true, false) => Phase::Idle,
        };
        if phase != state.phase || state.latest_start > state.since {
            (state.phase, state.since) = (phase, now);
        }
        let open = self.at_rest.load(Ordering::Relaxed)
            && state.is_ready
            && !state.ended
            && !self.is_retiring()
            && state.serving.len() < self.rules.concurrent_max;
        self.open.store(open, Ordering::Release);
        let due = self.due_in(&state).max(now + LOOK_AGAIN_MIN);
        let earlier = due < state.due;
        state.due = state.due.min(due);
        earlier
    }

    /// When the instance must be looked at.
    pub(super) fn due(&self) -> Instant {
        self.state.lock().due
    }

    fn due_in(&self, state: &State) -> Instant {
        match state.phase {
            Phase::Requests if self.is_retiring() => {
                state.latest_start + self.rules.response + OVERDUE_MAX
            }
            Phase::Requests => {
                let starts = state.serving.iter().map(|serving| serving.start);
                starts.min().unwrap_or(state.latest_start) + self.rules.response
            }
            Phase::PostReturn => state.since + self.rules.response,
            Phase::Idle => state.since + self.idle_max,
        }
    }

    /// What must be done now.
    pub(super) fn look(&self, now: Instant) -> Verdict {
        let mut state = self.state.lock();
        let due = self.due_in(&state);
        let verdict = match state.phase {
            _ if now < due => Verdict::Keep,
            // A task that counts for nothing blocks it.
            Phase::Idle if self.is_retiring() && now >= due + OVERDUE_MAX => Verdict::End,
            Phase::Idle => Verdict::Retire,
            Phase::Requests if !self.is_retiring() => Verdict::Retire,
            Phase::Requests | Phase::PostReturn => Verdict::End,
        };
        if verdict == Verdict::Retire {
            self.retire();
        }
        state.due = self.due_in(&state).max(now + LOOK_AGAIN_MIN);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;

    use super::*;
    use crate::body;
    use crate::context::RequestContext;

    const RESPONSE: Duration = Duration::from_secs(10);

    fn progress(concurrent_max: usize, total_max: usize) -> Progress {
        let rules = Rules {
            concurrent_max,
            total_max,
            response: RESPONSE,
        };
        Progress::new(rules, Rank::First)
    }

    /// Starts a request, as a run does.
    fn begin(progress: &Progress) -> RequestId {
        let context = RequestContext::unrecorded(HeaderValue::from_static("1"));
        progress.offer(Arrival {
            request: http::Request::new(body::empty()),
            context: Arc::new(context),
            at: Instant::now(),
        });
        let (id, ..) = progress.begin().expect("the request");
        progress.rest(true, true);
        progress.pause(Instant::now());
        id
    }

    fn finish(progress: &Progress, id: RequestId) {
        progress.finish(id, Ok(http::Response::new(body::empty())));
        progress.rest(true, false);
        progress.pause(Instant::now());
    }

    #[test]
    fn accepts_as_many_requests_at_once_as_it_may() {
        let progress = progress(2, 100);
        let first = begin(&progress);
        assert!(progress.is_open());
        begin(&progress);
        assert!(!progress.is_open());
        finish(&progress, first);
        assert!(progress.is_open() && !progress.is_retiring());
    }

    #[test]
    fn accepts_no_request_while_the_guest_computes_or_refuses() {
        let progress = progress(2, 100);
        progress.stir();
        progress.pause(Instant::now());
        assert!(!progress.is_open(), "it computes");
        progress.rest(false, false);
        progress.pause(Instant::now());
        assert!(!progress.is_open(), "it has backpressure");
        progress.rest(true, false);
        progress.pause(Instant::now());
        assert!(progress.is_open());
    }

    #[test]
    fn retires_after_its_last_request() {
        let progress = progress(2, 2);
        begin(&progress);
        assert!(!progress.is_retiring());
        begin(&progress);
        assert!(progress.is_retiring() && !progress.is_open());
    }

    #[test]
    fn instance_with_an_overdue_request_retires_and_is_then_ended() {
        let progress = progress(2, 100);
        begin(&progress);
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(progress.look(now + RESPONSE - second), Verdict::Keep);
        assert_eq!(progress.look(now + RESPONSE + second / 2), Verdict::Retire);
        assert_eq!(progress.look(now + RESPONSE + second / 2), Verdict::Keep);
        assert_eq!(progress.look(now + RESPONSE + 2 * second), Verdict::End);
    }

    #[test]
    fn instance_without_requests_retires() {
        let progress = progress(2, 100);
        let id = begin(&progress);
        finish(&progress, id);
        let now = Instant::now();
        assert_eq!(progress.look(now + IDLE_MAX / 2), Verdict::Keep);
        assert_eq!(progress.look(now + IDLE_MAX), Verdict::Retire);
    }

    #[test]
    fn answers_that_nobody_waits_for_yet_are_kept() {
        let progress = progress(2, 100);
        let [first, second] = [(); 2].map(|()| begin(&progress));
        let (reply, mut answer) = oneshot::channel();
        progress.reply(first, reply);
        finish(&progress, first);
        finish(&progress, second);
        progress.send_answers();
        assert!(answer.try_recv().is_ok_and(|answer| answer.is_ok()));
        assert!(progress.answer(second).is_some_and(|answer| answer.is_ok()));
    }

    #[test]
    fn failure_of_the_instance_fails_all_of_its_requests() {
        let progress = progress(3, 100);
        let [first, second, third] = [(); 3].map(|()| begin(&progress));
        finish(&progress, first);
        let (reply, mut answer) = oneshot::channel();
        progress.reply(second, reply);
        progress.end(Some(Failure::Deadline));
        assert!(progress.has_failed() && progress.has_ended());
        assert!(progress.answer(first).is_some_and(|answer| answer.is_ok()));
        let failed = |answer| matches!(answer, Some(Err(Failure::Deadline)));
        assert!(failed(progress.answer(third)));
        progress.send_answers();
        assert!(failed(answer.try_recv().ok()));
    }
}
