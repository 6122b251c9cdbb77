//! The protocol of one call, step by step: the steps of [`Driver`], their order, and how it
//! reacts to outcomes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use galleria_mesh::{
    Attempt, Cluster, Driver, Failure, Forward, LocalReply, MirrorForward, Outcome, RequestPermit,
    Step,
};
use http::StatusCode;

use crate::world::{World, destination_rule, services, virtual_service};

const MS: Duration = Duration::from_millis(1);

/// A call that a test drives by hand.
pub(crate) struct DrivenCall {
    pub(crate) forward: Forward,
    pub(crate) driver: Driver,
    /// For [`Step::Prepare`].
    pub(crate) hash: Option<u64>,
}

impl DrivenCall {
    pub(crate) fn step(&mut self, world: &mut World) -> Step {
        let step = self.driver.step(world.now, &mut world.rng);
        if let Step::Prepare = &step {
            self.driver.set_hash(self.hash);
        }
        step
    }

    /// Advances to the next attempt, sleeping as needed, and returns the name of its
    /// endpoint.
    #[track_caller]
    pub(crate) fn attempt(&mut self, world: &mut World) -> String {
        loop {
            match self.step(world) {
                Step::Delay(time) | Step::Pause(time) => world.advance(time),
                Step::Prepare => {}
                Step::Admit(admission) => assert!(!admission.is_waiting()),
                Step::Attempt(attempt) => return attempt.picked.endpoint.name.clone(),
                step => panic!("no attempt: {step:?}"),
            }
        }
    }

    #[track_caller]
    fn prepare(&mut self, world: &mut World) {
        let step = self.step(world);
        assert!(matches!(step, Step::Prepare), "{step:?}");
    }

    pub(crate) fn ended(&mut self, world: &mut World, outcome: &Outcome) {
        self.driver.ended(outcome, true, world.now, &mut world.rng);
    }

    /// Ends the next attempt with this outcome, and returns the following step.
    #[track_caller]
    fn attempt_ends(&mut self, world: &mut World, outcome: &Outcome) -> Step {
        self.attempt(world);
        self.ended(world, outcome);
        self.step(world)
    }
}

/// A `trafficPolicy` that changes nothing.
const DEFAULT: &str = "{loadBalancer: {simple: LEAST_REQUEST}}";

/// Service `a` with two pods, and a workload `client`. `rule` is added to the route of `a`,
/// and `policy` is its `trafficPolicy`.
fn world(rule: &str, policy: &str) -> World {
    let spec =
        format!("  hosts: [a]\n  http:\n    - route: [{{destination: {{host: a}}}}]\n{rule}");
    let policy = format!("  host: a\n  trafficPolicy: {policy}");
    let yaml = services(&[("shop", "a"), ("shop", "b")])
        + &virtual_service("shop", "vs", &spec)
        + &destination_rule("shop", "rule", &policy);
    World::new(&yaml)
        .pods("shop", "a", &[("app", "a")], 2)
        .pods("shop", "b", &[("app", "b")], 1)
        .pods("shop", "client", &[], 1)
}

fn begin(world: &mut World) -> DrivenCall {
    world.from("shop", "client", "http://a/").begin()
}

fn status(code: u16) -> Outcome {
    Outcome::response(StatusCode::from_u16(code).expect("a status"))
}

fn admitted(step: Step) -> RequestPermit {
    let Step::Admit(mut admission) = step else {
        panic!("not admitted: {step:?}")
    };
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(&mut admission).poll(&mut context) {
        Poll::Ready(permit) => permit,
        Poll::Pending => panic!("has to wait"),
    }
}

fn flags(call: &DrivenCall) -> String {
    call.driver.flags().to_string()
}

const RETRIES: &str = "      retries: {attempts: 2, retryOn: 5xx}\n";

#[test]
fn a_call_is_prepared_then_admitted_then_attempted() {
    let mut world = world("      timeout: 1s\n", DEFAULT);
    let mut call = begin(&mut world);
    call.prepare(&mut world);
    let permit = admitted(call.step(&mut world));
    let Step::Attempt(Attempt {
        picked,
        number: 1,
        per_try_timeout: None,
    }) = call.step(&mut world)
    else {
        panic!("no attempt")
    };
    assert!(picked.endpoint.name.starts_with("shop/a-"));
    call.ended(&mut world, &status(200));
    assert!(matches!(call.step(&mut world), Step::Answer));
    assert_eq!((flags(&call).as_str(), call.driver.attempts()), ("-", 1));
    drop(permit);
}

#[test]
fn the_timeout_begins_after_the_delay_of_a_fault() {
    let rule =
        "      timeout: 100ms\n      fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}\n";
    let mut world = world(rule, DEFAULT);
    let mut call = begin(&mut world);
    assert!(matches!(call.step(&mut world), Step::Delay(delay) if delay == MS * 2000));
    assert_eq!(
        (flags(&call).as_str(), call.driver.deadline()),
        ("DI", None)
    );
    world.advance(MS * 2000);
    call.prepare(&mut world);
    assert_eq!(call.driver.deadline(), Some(world.now + MS * 100));
}

#[test]
fn an_abort_follows_the_delay_and_ends_the_call() {
    let rule = "      fault:\n        delay: {fixedDelay: 1s, percentage: {value: 100}}\n        \
                abort: {httpStatus: 418, percentage: {value: 100}}\n";
    let mut world = world(rule, DEFAULT);
    let mut call = begin(&mut world);
    assert!(matches!(call.step(&mut world), Step::Delay(_)));
    let Step::Reply(reply) = call.step(&mut world) else {
        panic!("not aborted")
    };
    assert_eq!((reply.status.as_u16(), flags(&call).as_str()), (418, "DI"));
}

#[test]
fn the_shorter_of_route_timeout_and_caller_timeout_applies() {
    let deadline = |rule: &str, timeout: Option<Duration>| {
        let mut world = world(rule, DEFAULT);
        let mut call = world.from("shop", "client", "http://a/");
        if let Some(timeout) = timeout {
            call = call.timeout(timeout);
        }
        let mut call = call.begin();
        call.prepare(&mut world);
        let remaining = |it: std::time::Instant| it - world.now;
        (
            call.driver.deadline().map(remaining),
            call.driver.body_deadline().map(remaining),
        )
    };
    let route = "      timeout: 300ms\n";
    assert_eq!(deadline("", None), (None, None));
    assert_eq!(deadline(route, None), (Some(MS * 300), Some(MS * 300)));
    // The caller's own timeout is for the response head, the route's for the body too.
    assert_eq!(deadline("", Some(MS * 50)), (Some(MS * 50), None));
    assert_eq!(
        deadline(route, Some(MS * 50)),
        (Some(MS * 50), Some(MS * 50))
    );
    assert_eq!(deadline(route, Some(MS * 900)).0, Some(MS * 300));
    // A deadline beyond the range of the clock is no deadline.
    assert_eq!(deadline("", Some(Duration::MAX)), (None, None));
}

#[test]
fn a_refused_admission_ends_the_call() {
    let mut world = world("", "{connectionPool: {http: {http2MaxRequests: 1}}}");
    let mut first = begin(&mut world);
    first.prepare(&mut world);
    let permit = admitted(first.step(&mut world));
    let mut second = begin(&mut world);
    second.prepare(&mut world);
    let Step::Reply(reply) = second.step(&mut world) else {
        panic!("not refused")
    };
    assert_eq!(reply, LocalReply::overflow());
    drop(permit);
    let mut third = begin(&mut world);
    third.attempt(&mut world);
}

#[test]
fn exhausted_retries_set_the_flag_urx() {
    let mut world = world(RETRIES, DEFAULT);
    let mut call = begin(&mut world);
    for _ in 0..2 {
        let step = call.attempt_ends(&mut world, &status(503));
        assert!(
            matches!(step, Step::Pause(pause) if pause < MS * 75),
            "{step:?}"
        );
        assert_eq!(flags(&call), "-");
    }
    let step = call.attempt_ends(&mut world, &status(503));
    assert!(matches!(step, Step::Answer));
    assert_eq!((flags(&call).as_str(), call.driver.attempts()), ("URX", 3));
}

#[test]
fn a_retry_that_succeeds_leaves_no_flag() {
    let mut world = world(RETRIES, DEFAULT);
    let mut call = begin(&mut world);
    let first = call.attempt(&mut world);
    call.ended(&mut world, &Outcome::failure(Failure::ConnectFailure));
    let second = call.attempt(&mut world);
    assert_ne!(first, second);
    call.ended(&mut world, &status(200));
    assert!(matches!(call.step(&mut world), Step::Answer));
    assert_eq!(flags(&call), "-");
}

#[test]
fn a_body_that_cannot_be_repeated_makes_the_answer_final() {
    let mut world = world(RETRIES, DEFAULT);
    let mut call = begin(&mut world);
    call.attempt(&mut world);
    let (now, rng) = (world.now, &mut world.rng);
    call.driver.ended(&status(503), false, now, rng);
    assert!(matches!(call.step(&mut world), Step::Answer));
    assert_eq!(flags(&call), "-");
}

#[test]
fn a_retry_over_max_retries_makes_the_answer_final() {
    let mut world = world(RETRIES, "{connectionPool: {http: {maxRetries: 1}}}");
    let mut first = begin(&mut world);
    assert!(matches!(
        first.attempt_ends(&mut world, &status(503)),
        Step::Pause(_)
    ));
    let mut second = begin(&mut world);
    assert!(matches!(
        second.attempt_ends(&mut world, &status(503)),
        Step::Answer
    ));
    assert_eq!(flags(&second), "UO");
    // The permit is returned when the first call has its answer.
    assert!(matches!(
        first.attempt_ends(&mut world, &status(200)),
        Step::Answer
    ));
    let mut third = begin(&mut world);
    assert!(matches!(
        third.attempt_ends(&mut world, &status(503)),
        Step::Pause(_)
    ));
}

#[test]
fn a_second_retry_reuses_the_permit_of_the_first() {
    let mut world = world(RETRIES, "{connectionPool: {http: {maxRetries: 1}}}");
    let mut call = begin(&mut world);
    for _ in 0..2 {
        let step = call.attempt_ends(&mut world, &status(503));
        assert!(matches!(step, Step::Pause(_)), "{step:?}");
    }
    let step = call.attempt_ends(&mut world, &status(503));
    assert!(matches!(step, Step::Answer), "{step:?}");
    assert_eq!(flags(&call), "URX");
}

#[test]
fn a_timeout_between_attempts_counts_for_no_endpoint() {
    let policy = "{outlierDetection: {consecutive5xxErrors: 2, maxEjectionPercent: 100}}";
    let mut world = world(RETRIES, policy);
    let mut call = begin(&mut world);
    let step = call.attempt_ends(&mut world, &status(503));
    assert!(matches!(step, Step::Pause(_)), "{step:?}");
    let (reply, ejection) = call.driver.timed_out(world.now);
    assert_eq!(reply, LocalReply::upstream_timeout());
    assert!(ejection.is_none(), "one failure is not two");
}

#[test]
fn a_timeout_counts_as_a_failure_of_the_endpoint() {
    let mut world = world(
        "      timeout: 100ms\n",
        "{outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}}",
    );
    let mut call = begin(&mut world);
    let endpoint = call.attempt(&mut world);
    world.advance(MS * 100);
    let (reply, ejection) = call.driver.timed_out(world.now);
    assert_eq!(reply, LocalReply::upstream_timeout());
    assert_eq!(ejection.map(|it| it.endpoint), Some(endpoint));
}

#[test]
fn a_timeout_before_the_first_attempt_is_not_a_failure_of_an_endpoint() {
    let mut world = world("      timeout: 100ms\n", DEFAULT);
    let mut call = begin(&mut world);
    call.prepare(&mut world);
    let (reply, ejection) = call.driver.timed_out(world.now + MS * 100);
    assert_eq!((reply.status.as_u16(), ejection), (504, None));
}

#[test]
fn a_call_without_endpoints_can_continue_with_a_newer_snapshot() {
    let mut world = world(RETRIES, DEFAULT);
    let mut call = begin(&mut world);
    call.attempt(&mut world);
    call.ended(&mut world, &Outcome::failure(Failure::ConnectFailure));
    assert!(matches!(call.step(&mut world), Step::Pause(_)));
    // A rollout replaces the pods of the call's own snapshot.
    world.set_ready("a-0", false);
    world.set_ready("a-1", false);
    let Step::NoEndpoint(reply) = call.step(&mut world) else {
        panic!("an endpoint is left")
    };
    assert_eq!(reply, LocalReply::no_healthy_upstream());
    world.scale("shop", "a", &[("app", "a")], 1);
    let successor = successor(&mut world, call.driver.cluster());
    call.driver.replace_cluster(successor);
    let step = call.step(&mut world);
    let Step::Attempt(Attempt { number: 2, .. }) = &step else {
        panic!("no second attempt: {step:?}")
    };
}

/// The cluster of the same name in the current snapshot.
fn successor(world: &mut World, cluster: &Cluster) -> Arc<Cluster> {
    let mut clusters = world.snapshot.services().iter().flat_map(|it| &it.clusters);
    let found = clusters.find(|it| it.name == cluster.name);
    Arc::clone(found.expect("the service is still there"))
}

#[test]
fn a_mirrored_request_is_one_attempt_without_consequences() {
    let policy = "{connectionPool: {http: {http2MaxRequests: 1}}, \
                  outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}}";
    let mut world = world("      mirror: {host: a}\n", policy);
    let forward = begin(&mut world).forward;
    let mirrors: Vec<MirrorForward> = forward.mirrors(&mut world.rng).collect();
    let mut driver = Driver::mirror(&mirrors[0], world.now);
    assert_eq!(driver.deadline(), Some(world.now + MS * 15_000));
    let Step::Attempt(attempt) = driver.step(world.now, &mut world.rng) else {
        panic!("no attempt")
    };
    assert_eq!((attempt.number, attempt.per_try_timeout), (1, None));
    let (now, rng) = (world.now, &mut world.rng);
    assert!(driver.ended(&status(503), true, now, rng).is_none());
    assert!(matches!(driver.step(now, rng), Step::Answer));
    assert!(driver.timed_out(now).1.is_none());
    assert!(driver.flags().is_empty());
}

#[test]
fn a_mirrored_request_without_an_endpoint_is_not_sent() {
    let mut world = world("      mirror: {host: b}\n", DEFAULT);
    let forward = begin(&mut world).forward;
    let mirror = forward.mirrors(&mut world.rng).next().expect("one");
    world.set_ready("b-0", false);
    let mut driver = Driver::mirror(&mirror, world.now);
    assert!(matches!(
        driver.step(world.now, &mut world.rng),
        Step::NoEndpoint(_)
    ));
}
