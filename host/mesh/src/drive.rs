//! The protocol of one call, without I/O: fault, admission, attempts, retries, deadline.
//!
//! A [`Driver`] decides what to do next ([`Driver::step`]), and the host reports what
//! happened. The host sleeps, sends requests and watches the deadline, but decides nothing.
//! Time and random numbers are passed in, so simulations drive calls with the same code as
//! the host.
//!
//! ```text
//! Delay ──→ Prepare ──→ Admit ──→ Attempt ──→ ended() ──→ Answer
//!   └→ Reply   └→ Reply             ↑  └→ NoEndpoint  └→ Pause ─┐
//!      (abort)    (overflow)        └───────────────────────────┘
//! ```
//!
//! [`Driver::deadline`] is `None` until [`Step::Prepare`], because a fault's delay is not
//! part of the timeout. From then on the host waits for nothing beyond the deadline: when
//! it passes, [`Driver::timed_out`] ends the call. A wait that ends exactly at the deadline
//! is in time.
//!
//! # Example
//!
//! A host drives a call like this. `sleep`, `until` and `send` stand for its runtime and
//! its endpoints.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use galleria_mesh::{Driver, Forward, LocalReply, Outcome, RequestHead, Step};
//! # use std::sync::{Arc, atomic::AtomicBool};
//! # use galleria_mesh::{Caller, Decision, Location, Options, Pod, State, Workload, compile};
//! # async fn sleep(_: Duration) {}
//! # async fn until<T>(_: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
//! #     Some(work.await)
//! # }
//! # async fn send(number: u32) -> Outcome {
//! #     let code = if number == 1 { 503 } else { 200 };
//! #     Outcome::response(http::StatusCode::from_u16(code).unwrap())
//! # }
//!
//! async fn call(forward: &mut Forward, head: &RequestHead<'_>) -> Result<Outcome, LocalReply> {
//!     let mut driver = Driver::new(forward, head.method, None, &mut rand::rng());
//!     let (mut permit, mut answer) = (None, None);
//!     loop {
//!         let step = driver.step(Instant::now(), &mut rand::rng());
//!         let waited = match step {
//!             Step::Delay(delay) => Some(sleep(delay).await),
//!             Step::Prepare => {
//!                 driver.set_hash(forward.hash(head, &mut rand::rng()));
//!                 // Here the host calls `forward.apply_request` on the request's head.
//!                 Some(())
//!             }
//!             Step::Admit(admission) => {
//!                 permit = until(driver.deadline(), admission).await;
//!                 // Here it sends the copies of `forward.mirrors`.
//!                 permit.as_ref().map(|_| ())
//!             }
//!             Step::Attempt(attempt) => {
//!                 answer = until(driver.deadline(), send(attempt.number)).await;
//!                 answer.as_ref().map(|outcome| {
//!                     // `Some` is worth a line in the log.
//!                     driver.ended(outcome, true, Instant::now(), &mut rand::rng());
//!                 })
//!             }
//!             // Here it may call `replace_cluster` and go on.
//!             Step::NoEndpoint(reply) | Step::Reply(reply) => return Err(reply),
//!             Step::Pause(pause) => {
//!                 answer = None;
//!                 until(driver.deadline(), sleep(pause)).await
//!             }
//!             // The permit is held until the response's body has ended.
//!             Step::Answer => return Ok(answer.expect("an attempt has ended")),
//!         };
//!         if waited.is_none() {
//!             return Err(driver.timed_out(Instant::now()).0);
//!         }
//!     }
//! }
//! # let yaml = "apiVersion: v1
//! # kind: Service
//! # metadata: {name: a, namespace: shop}
//! # spec: {selector: {app: a}, ports: [{port: 80}]}
//! # ---
//! # apiVersion: networking.istio.io/v1
//! # kind: VirtualService
//! # metadata: {name: a, namespace: shop}
//! # spec: {hosts: [a], http: [{route: [{destination: {host: a}}], retries: {attempts: 1, retryOn: 5xx}}]}";
//! # let objects = galleria_manifest::read_str(std::path::Path::new("a.yaml"), yaml).objects;
//! # let labels = galleria_manifest::model::Labels::from([("app".into(), "a".into())]);
//! # let workload = Arc::new(Workload::new("shop", "a", "a", labels.clone()));
//! # let pods = [Pod { name: "a-0".into(), workload: workload.clone(), labels, ports: vec![],
//! #     ready: Arc::new(AtomicBool::new(true)), location: Location::Here(0) }];
//! # let state = State::new(Instant::now());
//! # let snapshot = compile(&objects, &pods, &Options::default(), &state).snapshot;
//! # let headers = http::HeaderMap::new();
//! # let head = RequestHead { method: &http::Method::GET, scheme: "http", authority: "a",
//! #     path: "/", query: None, headers: &headers, source_ip: None };
//! # let Decision::Forward(mut forward) =
//! #     snapshot.route(Caller::Workload(&workload), &head, &mut rand::rng()) else { panic!() };
//! # let mut work = std::pin::pin!(call(&mut forward, &head));
//! # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! # let std::task::Poll::Ready(outcome) = work.as_mut().poll(&mut context) else { panic!() };
//! # assert_eq!(outcome.unwrap().status, Some(http::StatusCode::OK));
//! ```

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use rand::Rng;

use crate::decide::rule::Rule;
use crate::{
    Admission, CallerKey, Cluster, Ejection, EndpointId, Failure, FaultPlan, Forward, LocalReply,
    MirrorForward, Outcome, PickContext, PickedEndpoint, ResponseFlags, RetryDecision, RetryPermit,
};

/// How long a mirrored request may take, the body of its response included.
const MIRROR_TIMEOUT: Duration = Duration::from_secs(15);

/// One call on its way to an answer. Drop it when there is an answer: it holds the last
/// endpoint and the permit of a retry.
#[derive(Debug)]
pub struct Driver {
    mode: Mode,
    next: Next,
    /// Where attempts go: the forward's cluster, or its successor in a newer snapshot.
    cluster: Arc<Cluster>,
    caller: CallerKey,
    /// The shorter of the route's timeout and the caller's own.
    timeout: Option<Duration>,
    /// Whether the deadline is also for the response's body.
    limits_body: bool,
    per_try_timeout: Option<Duration>,
    deadline: Option<Instant>,
    hash: Option<u64>,
    /// Endpoints of earlier attempts. It allocates only if there is a retry.
    tried: Vec<EndpointId>,
    attempts: u32,
    /// The endpoint of the last attempt. It counts as busy until the next one is picked.
    picked: Option<Arc<PickedEndpoint>>,
    /// Whether the outcome of the last attempt is still to come.
    is_attempting: bool,
    retry: Option<RetryPermit>,
    flags: ResponseFlags,
}

/// What to do next.
#[derive(Debug)]
#[must_use = "a call does not progress until the step is carried out"]
pub enum Step {
    /// Sleep for a fault's delay. [`Driver::flags`] has DI from here on.
    Delay(Duration),
    /// Compute the hash ([`Forward::hash`], [`Driver::set_hash`]), then apply the changes of
    /// the route ([`Forward::apply_request`]). The timeout begins here.
    Prepare,
    /// Await the permit until the deadline. Hold it until the response's body has ended.
    Admit(Admission),
    /// Send the request to this endpoint, then call [`Driver::ended`].
    Attempt(Attempt),
    /// No endpoint is available: answer with this, or continue with
    /// [`Driver::replace_cluster`].
    NoEndpoint(LocalReply),
    /// Drop the answer of the last attempt and sleep, at most until the deadline: the
    /// back-off before a retry.
    Pause(Duration),
    /// The call is over: the mesh answers itself.
    Reply(LocalReply),
    /// The call is over: the answer of the last attempt is final.
    Answer,
}

/// One attempt at one endpoint.
#[derive(Debug)]
pub struct Attempt {
    /// Keep it until the response's body has ended: it counts as an active request.
    pub picked: Arc<PickedEndpoint>,
    /// 1 for the first.
    pub number: u32,
    /// If the response head takes longer, the outcome is [`Failure::Timeout`].
    pub per_try_timeout: Option<Duration>,
}

#[derive(Debug)]
enum Mode {
    Call {
        rule: Arc<Rule>,
        method: Method,
    },
    /// One attempt, which is never retried, and which outlier detection does not count.
    Mirror,
}

/// What the next call of [`Driver::step`] does.
#[derive(Debug)]
enum Next {
    Fault(FaultPlan),
    Admit,
    Pick,
    Pause(Duration),
    Answer,
}

impl Driver {
    /// Drives the call of a decision. `caller_timeout` is how long the caller itself waits
    /// for the response head.
    ///
    /// The fault is sampled here, once per call.
    pub fn new(
        forward: &Forward,
        method: &Method,
        caller_timeout: Option<Duration>,
        rng: &mut impl Rng,
    ) -> Self {
        let rule = Arc::clone(&forward.rule);
        let method = method.clone();
        Self {
            timeout: [forward.timeout, caller_timeout]
                .into_iter()
                .flatten()
                .min(),
            limits_body: forward.timeout.is_some(),
            per_try_timeout: forward.per_try_timeout,
            ..Self::begin(
                Mode::Call { rule, method },
                Next::Fault(forward.fault(rng)),
                &forward.cluster,
                forward.caller,
            )
        }
    }

    /// Drives a mirrored request: one attempt, without a fault and without admission. Its
    /// deadline begins now and includes the body of the response.
    pub fn mirror(mirror: &MirrorForward, now: Instant) -> Self {
        Self {
            timeout: Some(MIRROR_TIMEOUT),
            limits_body: true,
            deadline: now.checked_add(MIRROR_TIMEOUT),
            ..Self::begin(Mode::Mirror, Next::Pick, &mirror.cluster, mirror.caller)
        }
    }

    fn begin(mode: Mode, next: Next, cluster: &Arc<Cluster>, caller: CallerKey) -> Self {
        Self {
            mode,
            next,
            cluster: Arc::clone(cluster),
            caller,
            timeout: None,
            limits_body: false,
            per_try_timeout: None,
            deadline: None,
            hash: None,
            tried: Vec::new(),
            attempts: 0,
            picked: None,
            is_attempting: false,
            retry: None,
            flags: ResponseFlags::NONE,
        }
    }

    /// What to do next. Call it again once that is done, until [`Step::Reply`] or
    /// [`Step::Answer`].
    pub fn step(&mut self, now: Instant, rng: &mut impl Rng) -> Step {
        match mem::replace(&mut self.next, Next::Answer) {
            Next::Fault(plan) => self.inject(plan, now),
            Next::Admit => self.admit(),
            Next::Pick => self.pick(now, rng),
            Next::Pause(pause) => {
                self.next = Next::Pick;
                Step::Pause(pause)
            }
            Next::Answer => Step::Answer,
        }
    }

    fn inject(&mut self, plan: FaultPlan, now: Instant) -> Step {
        match plan {
            FaultPlan {
                delay: Some(delay),
                abort,
            } => {
                self.flags |= ResponseFlags::DI;
                self.next = Next::Fault(FaultPlan { delay: None, abort });
                Step::Delay(delay)
            }
            FaultPlan {
                abort: Some(reply), ..
            } => Step::Reply(reply),
            FaultPlan { .. } => self.prepare(now),
        }
    }

    fn prepare(&mut self, now: Instant) -> Step {
        self.deadline = self.timeout.and_then(|timeout| now.checked_add(timeout));
        self.next = Next::Admit;
        Step::Prepare
    }

    fn admit(&mut self) -> Step {
        match self.cluster.acquire(self.caller) {
            Ok(admission) => {
                self.next = Next::Pick;
                Step::Admit(admission)
            }
            Err(reply) => Step::Reply(reply),
        }
    }

    fn pick(&mut self, now: Instant, rng: &mut impl Rng) -> Step {
        let context = PickContext {
            caller: self.caller,
            now,
            hash: self.hash,
            tried: &self.tried,
        };
        match self.cluster.pick(&context, rng) {
            Ok(picked) => {
                let picked = Arc::new(picked);
                self.attempts += 1;
                self.picked = Some(Arc::clone(&picked));
                self.is_attempting = true;
                Step::Attempt(Attempt {
                    picked,
                    number: self.attempts,
                    per_try_timeout: self.per_try_timeout,
                })
            }
            Err(reply) => {
                self.next = Next::Pick;
                Step::NoEndpoint(reply)
            }
        }
    }

    /// The key of consistent hashing, for every attempt.
    pub fn set_hash(&mut self, hash: Option<u64>) {
        self.hash = hash;
    }

    /// Continues with the same destination in a newer snapshot. A call that has waited keeps
    /// its route, and still finds the endpoints that replaced those of its own snapshot.
    pub fn replace_cluster(&mut self, successor: Arc<Cluster>) {
        self.cluster = successor;
        self.tried.clear();
    }

    /// Reports the outcome of the attempt: outlier detection counts it, and the retry policy
    /// decides. `can_repeat` is whether the request's body can be sent again.
    ///
    /// `Some` means that this failure ejected the endpoint.
    pub fn ended(
        &mut self,
        outcome: &Outcome,
        can_repeat: bool,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Ejection> {
        self.is_attempting = false;
        // A retry that has ended gives its permit back before the next one asks for it.
        self.retry = None;
        let (Mode::Call { rule, method }, Some(picked)) = (&self.mode, &self.picked) else {
            return None;
        };
        let ejection = picked.record(outcome, now);
        let policy = rule.retry_policy();
        match policy.decide(self.attempts, method, outcome, rng) {
            RetryDecision::Retry(pause) if can_repeat => {
                self.retry = self.cluster.acquire_retry(self.caller);
                if self.retry.is_some() {
                    self.tried.push(picked.endpoint.id);
                    self.next = Next::Pause(pause);
                } else {
                    self.flags |= ResponseFlags::UO;
                }
            }
            RetryDecision::Exhausted => self.flags |= ResponseFlags::URX,
            RetryDecision::Retry(_) | RetryDecision::Final => {}
        }
        ejection
    }

    /// Ends the call with 504 UT, because the deadline has passed. It counts as a failure of
    /// the endpoint of an attempt in progress, which may eject the endpoint.
    pub fn timed_out(&mut self, now: Instant) -> (LocalReply, Option<Ejection>) {
        self.retry = None;
        let ejection = match (&self.mode, &self.picked) {
            (Mode::Call { .. }, Some(picked)) if self.is_attempting => {
                picked.record(&Outcome::failure(Failure::Timeout), now)
            }
            _ => None,
        };
        (LocalReply::upstream_timeout(), ejection)
    }

    /// When the call must have an answer; `None` before [`Step::Prepare`], and without a
    /// timeout.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// When the response's body must be complete. The timeout of a route includes the body,
    /// the caller's own timeout only the head.
    pub fn body_deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.limits_body)
    }

    /// DI after a fault's delay, URX if the limit of attempts was reached, UO if `maxRetries`
    /// refused a retry. The flags of a [`LocalReply`] come in addition.
    pub fn flags(&self) -> ResponseFlags {
        self.flags
    }

    /// Attempts so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The cluster of the next attempt.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }
}
