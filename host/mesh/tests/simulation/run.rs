//! Thousands of calls as a host makes them, to endpoints that follow a script. The clock
//! advances only when no call can make progress.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use galleria_mesh::{Admission, Driver, Failure, Outcome, RequestPermit, ResponseFlags, Step};
use http::StatusCode;
use rand::Rng;

use crate::world::{World, destination_rule, gateway, services, virtual_service};

/// How an endpoint serves a request: how long it takes, and the outcome.
type Script = dyn Fn(&str, Duration, &mut rand::rngs::StdRng) -> (Duration, Outcome);

/// The result of one call.
#[derive(Debug, Clone)]
struct CallResult {
    status: u16,
    flags: ResponseFlags,
    attempts: u32,
    took: Duration,
    waited: Duration,
    /// The endpoint of the last attempt.
    endpoint: Option<String>,
}

enum Stage {
    /// A fault's delay.
    Delay(Instant),
    Admission(Admission),
    Attempt {
        until: Instant,
        outcome: Outcome,
    },
    /// The back-off before a retry.
    Pause(Instant),
}

/// A call in progress.
struct Running {
    began: Instant,
    admitted: Option<Instant>,
    driver: Driver,
    hash: Option<u64>,
    permit: Option<RequestPermit>,
    endpoint: Option<String>,
    last: Outcome,
    stage: Stage,
}

/// The host's side of the protocol.
struct Run<'a> {
    world: &'a mut World,
    script: &'a Script,
    path: &'a str,
    start: Instant,
    running: Vec<Running>,
    ended: Vec<CallResult>,
    retries_most: u32,
    active_most: usize,
}

impl<'a> Run<'a> {
    fn new(world: &'a mut World, path: &'a str, script: &'a Script) -> Self {
        let start = world.now;
        Self {
            world,
            script,
            path,
            start,
            running: Vec::new(),
            ended: Vec::new(),
            retries_most: 0,
            active_most: 0,
        }
    }

    /// Begins a call every `gap`, and runs until all calls have ended.
    fn calls(mut self, count: usize, gap: Duration) -> (Vec<CallResult>, u32, usize) {
        let mut arrivals: VecDeque<Instant> = (0..count)
            .map(|number| self.start + gap * number as u32)
            .collect();
        while !(arrivals.is_empty() && self.running.is_empty()) {
            let next = self
                .next_event()
                .into_iter()
                .chain(arrivals.front().copied())
                .min();
            let next = next.expect("something is always due: no wait is without a limit");
            self.world.now = next.max(self.world.now);
            while arrivals.front().is_some_and(|at| *at <= self.world.now) {
                arrivals.pop_front();
                self.begin();
            }
            self.step_all();
        }
        (self.ended, self.retries_most, self.active_most)
    }

    fn next_event(&self) -> Option<Instant> {
        let due = |call: &Running| {
            let own = match &call.stage {
                Stage::Admission(_) => None,
                Stage::Delay(until) | Stage::Pause(until) | Stage::Attempt { until, .. } => {
                    Some(*until)
                }
            };
            own.into_iter().chain(call.driver.deadline()).min()
        };
        self.running.iter().filter_map(due).min()
    }

    fn begin(&mut self) {
        let url = format!("http://shop.example{}", self.path);
        let begun = self.world.edge(&url).begin();
        let call = Running {
            began: self.world.now,
            admitted: None,
            driver: begun.driver,
            hash: begun.hash,
            permit: None,
            endpoint: None,
            last: Outcome::default(),
            stage: Stage::Delay(self.world.now),
        };
        if let Some(call) = self.advance(call) {
            self.running.push(call);
        }
    }

    /// Advances every call as far as possible at the current time.
    fn step_all(&mut self) {
        loop {
            let mut moved = false;
            let mut left = Vec::new();
            for call in std::mem::take(&mut self.running) {
                match self.step(call) {
                    (Some(call), progress) => {
                        moved |= progress;
                        left.push(call);
                    }
                    (None, _) => moved = true,
                }
            }
            self.running = left;
            let active = self.running.iter().filter(|it| it.permit.is_some()).count();
            self.active_most = self.active_most.max(active);
            let retries = self.running.iter().filter(|call| match &call.stage {
                Stage::Attempt { .. } => call.driver.attempts() > 1,
                Stage::Pause(_) => true,
                Stage::Delay(_) | Stage::Admission(_) => false,
            });
            self.retries_most = self.retries_most.max(retries.count() as u32);
            if !moved {
                return;
            }
        }
    }

    /// Advances one call by one step, and returns whether it made progress; `None` if the
    /// call has ended.
    fn step(&mut self, mut call: Running) -> (Option<Running>, bool) {
        let now = self.world.now;
        let is_over = match &mut call.stage {
            Stage::Delay(until) | Stage::Pause(until) => *until <= now,
            Stage::Admission(admission) => {
                let mut context = Context::from_waker(Waker::noop());
                match Pin::new(admission).poll(&mut context) {
                    Poll::Ready(permit) => {
                        call.permit = Some(permit);
                        call.admitted = Some(now);
                        true
                    }
                    Poll::Pending => false,
                }
            }
            Stage::Attempt { until, outcome } if *until <= now => {
                call.last = *outcome;
                call.driver.ended(outcome, true, now, &mut self.world.rng);
                true
            }
            Stage::Attempt { .. } => false,
        };
        if is_over {
            return (self.advance(call), true);
        }
        if call
            .driver
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            let (reply, _) = call.driver.timed_out(now);
            self.end(&call, reply.status.as_u16(), reply.flags);
            return (None, true);
        }
        (Some(call), false)
    }

    /// Follows the driver until there is something to wait for; `None` if the call has
    /// ended.
    fn advance(&mut self, mut call: Running) -> Option<Running> {
        let now = self.world.now;
        loop {
            call.stage = match call.driver.step(now, &mut self.world.rng) {
                Step::Prepare => {
                    call.driver.set_hash(call.hash);
                    continue;
                }
                Step::Delay(delay) => Stage::Delay(now + delay),
                Step::Admit(admission) => Stage::Admission(admission),
                Step::Attempt(attempt) => {
                    let name = attempt.picked.endpoint.name.clone();
                    let elapsed = now - self.start;
                    let (mut time, mut outcome) =
                        (self.script)(&name, elapsed, &mut self.world.rng);
                    if let Some(limit) = attempt.per_try_timeout.filter(|limit| *limit < time) {
                        (time, outcome) = (limit, Outcome::failure(Failure::Timeout));
                    }
                    call.endpoint = Some(name);
                    Stage::Attempt {
                        until: now + time,
                        outcome,
                    }
                }
                Step::Pause(pause) => Stage::Pause(now + pause),
                Step::NoEndpoint(reply) | Step::Reply(reply) => {
                    self.end(&call, reply.status.as_u16(), reply.flags);
                    return None;
                }
                Step::Answer => {
                    let status = call.last.status.map_or(503, |status| status.as_u16());
                    self.end(&call, status, ResponseFlags::NONE);
                    return None;
                }
            };
            return Some(call);
        }
    }

    fn end(&mut self, call: &Running, status: u16, flags: ResponseFlags) {
        let now = self.world.now;
        self.ended.push(CallResult {
            status,
            flags: call.driver.flags() | flags,
            attempts: call.driver.attempts(),
            took: now - call.began,
            waited: call.admitted.unwrap_or(now) - call.began,
            endpoint: call.endpoint.clone(),
        });
    }
}

/// Four pods of `a` behind a gateway.
fn world(rule: &str, policy: &str) -> World {
    let spec = format!("  hosts: ['*']\n  gateways: [gw]\n  http:\n    - {rule}");
    let yaml = services(&[("shop", "a")])
        + &gateway("shop", "gw")
        + &virtual_service("shop", "vs", &spec)
        + &destination_rule(
            "shop",
            "rule",
            &format!("  host: a\n  trafficPolicy: {policy}"),
        );
    World::new(&yaml).pods("shop", "a", &[("app", "a")], 4)
}

fn ok(time: Duration) -> (Duration, Outcome) {
    (time, Outcome::response(StatusCode::OK))
}

const ROUTE: &str = "route: [{destination: {host: a}}]";
const MS: Duration = Duration::from_millis(1);

fn count(ended: &[CallResult], status: u16) -> usize {
    ended.iter().filter(|it| it.status == status).count()
}

#[test]
fn healthy_endpoints_share_the_load_and_every_call_succeeds() {
    let mut world = world(ROUTE, "{loadBalancer: {simple: LEAST_REQUEST}}");
    let script = |_: &str, _, rng: &mut rand::rngs::StdRng| ok(MS * rng.random_range(1..20));
    let (ended, _, _) = Run::new(&mut world, "/", &script).calls(8000, MS);
    assert_eq!(count(&ended, 200), 8000);
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    for call in &ended {
        *shares
            .entry(call.endpoint.clone().unwrap_or_default())
            .or_default() += 1;
    }
    assert!(
        shares.values().all(|share| (1700..2300).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn least_request_sends_less_to_a_slow_endpoint() {
    let mut world = world(ROUTE, "{loadBalancer: {simple: LEAST_REQUEST}}");
    let script = |pod: &str, _, _: &mut rand::rngs::StdRng| {
        ok(if pod == "shop/a-0" { MS * 200 } else { MS * 5 })
    };
    let (ended, _, _) = Run::new(&mut world, "/", &script).calls(8000, MS);
    let slow = ended
        .iter()
        .filter(|it| it.endpoint.as_deref() == Some("shop/a-0"))
        .count();
    assert!(slow < 800, "{slow} of 8000");
}

#[test]
fn attempts_stay_within_the_policy_and_the_deadline() {
    let rule = format!(
        "{ROUTE}\n      timeout: 300ms\n      retries: {{attempts: 3, perTryTimeout: 80ms, retryOn: '5xx'}}"
    );
    let mut world = world(&rule, "{loadBalancer: {simple: RANDOM}}");
    let script = |_: &str, _, rng: &mut rand::rngs::StdRng| match rng.random_range(0..4) {
        0 => ok(MS * 10),
        1 => (MS * 10, Outcome::response(StatusCode::BAD_GATEWAY)),
        2 => (MS * 500, Outcome::response(StatusCode::OK)),
        _ => (MS * 2, Outcome::failure(Failure::Termination)),
    };
    let (ended, _, _) = Run::new(&mut world, "/", &script).calls(5000, MS);
    assert_eq!(ended.len(), 5000);
    let most = ended.iter().map(|it| it.attempts).max();
    assert_eq!(most, Some(4));
    let longest = ended.iter().map(|it| it.took).max().expect("some");
    assert!(longest <= MS * 300, "{longest:?}");
    for call in &ended {
        let explained = call.status == 200
            || call.flags == ResponseFlags::URX
            || call.flags == ResponseFlags::UT;
        assert!(explained, "{call:?}");
    }
    assert!(
        count(&ended, 200) > 3000,
        "{} succeeded",
        count(&ended, 200)
    );
}

#[test]
fn retries_in_progress_never_exceed_max_retries() {
    let rule = format!("{ROUTE}\n      retries: {{attempts: 5, retryOn: '5xx'}}");
    let mut world = world(&rule, "{connectionPool: {http: {maxRetries: 3}}}");
    let script = |_: &str, _, _: &mut rand::rngs::StdRng| {
        (MS * 20, Outcome::response(StatusCode::BAD_GATEWAY))
    };
    let (ended, retries_most, _) = Run::new(&mut world, "/", &script).calls(2000, MS);
    assert!(retries_most <= 3, "{retries_most}");
    assert!(ended.iter().any(|it| it.flags == ResponseFlags::UO));
}

#[test]
fn an_outage_is_hidden_by_retries_and_its_endpoint_ejected_until_it_recovers() {
    let rule = format!("{ROUTE}\n      retries: {{attempts: 2, retryOn: '5xx'}}");
    let policy = "{outlierDetection: {consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 50}}";
    let mut world = world(&rule, policy);
    let outage = Duration::from_secs(2)..Duration::from_secs(4);
    let script = move |pod: &str, at: Duration, _: &mut rand::rngs::StdRng| {
        if pod == "shop/a-0" && outage.contains(&at) {
            (MS, Outcome::failure(Failure::Termination))
        } else {
            ok(MS * 3)
        }
    };
    let (ended, _, _) = Run::new(&mut world, "/", &script).calls(10_000, MS);
    assert_eq!(count(&ended, 200), 10_000);
    let retried = ended.iter().filter(|it| it.attempts > 1).count();
    assert!((5..60).contains(&retried), "{retried} calls met the outage");
    let back = ended.iter().rev().take(3000);
    assert!(
        back.filter(|it| it.endpoint.as_deref() == Some("shop/a-0"))
            .count()
            > 300
    );
}

#[test]
fn ejected_endpoints_never_exceed_the_percentage() {
    for percent in [0, 10, 25, 50, 74, 75, 100] {
        let policy = format!(
            "{{outlierDetection: {{consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3s, maxEjectionPercent: {percent}}}}}"
        );
        let mut world = world(ROUTE, &policy);
        let outcomes = [
            StatusCode::OK,
            StatusCode::BAD_GATEWAY,
            StatusCode::INTERNAL_SERVER_ERROR,
        ];
        for call in 0..3000 {
            if call % 500 == 499 {
                let ready = world.rng.random_bool(0.5);
                world.set_ready("a-3", ready);
            }
            let answer = world.edge("http://shop.example/").send();
            let crate::world::Answer::Sent(sent) = answer else {
                world.advance(MS * 500);
                continue;
            };
            let outcome = Outcome::response(outcomes[world.rng.random_range(0..3)]);
            sent.picked.record(&outcome, world.now);
            let cluster = &sent.forward.cluster;
            let ready = cluster.endpoints().iter().filter(|it| it.is_ready());
            let (mut total, mut ejected) = (0, 0);
            for endpoint in ready {
                total += 1;
                ejected +=
                    usize::from(cluster.is_ejected(sent.forward.caller, endpoint.id, world.now));
            }
            // A pod that becomes ready lowers the share. A pod that becomes unready can raise
            // it, but does not end an ejection early.
            let allowed = 4 * percent / 100;
            assert!(ejected <= allowed, "{ejected} of {total} at {percent} %");
            world.advance(MS * 37);
        }
    }
}

#[test]
fn max_connections_limits_requests_and_the_queue_has_a_limit() {
    let rule = format!("{ROUTE}\n      timeout: 100ms");
    let mut world = world(
        &rule,
        "{connectionPool: {tcp: {maxConnections: 5}, http: {http1MaxPendingRequests: 10}}}",
    );
    let script = |_: &str, _, _: &mut rand::rngs::StdRng| ok(MS * 10);
    let (ended, _, active_most) = Run::new(&mut world, "/", &script).calls(5000, MS);
    assert_eq!(ended.len(), 5000);
    assert_eq!(active_most, 5);
    let refused = ended
        .iter()
        .filter(|it| it.flags == ResponseFlags::UO)
        .count();
    // Five at a time for 10 ms each are 500 per second, of 1000 that arrive.
    assert!((2300..2700).contains(&refused), "{refused} of 5000");
    let longest = ended.iter().map(|it| it.waited).max().expect("some");
    assert!(
        longest > Duration::ZERO && longest <= MS * 30,
        "{longest:?}"
    );
}

#[test]
fn max_requests_refuses_without_waiting() {
    let mut world = world(ROUTE, "{connectionPool: {http: {http2MaxRequests: 7}}}");
    let script = |_: &str, _, _: &mut rand::rngs::StdRng| ok(MS * 20);
    let (ended, _, active_most) = Run::new(&mut world, "/", &script).calls(2000, MS);
    assert_eq!(active_most, 7);
    assert!(ended.iter().all(|it| it.waited == Duration::ZERO));
    assert!(count(&ended, 503) > 1000);
}

#[test]
fn weights_converge_within_three_sigma() {
    for weights in [[90, 10], [50, 50], [1, 99], [80, 2]] {
        let rule = format!(
            "route: [{{destination: {{host: a, subset: x}}, weight: {}}}, {{destination: {{host: a, subset: y}}, weight: {}}}]",
            weights[0], weights[1]
        );
        let spec = format!("  hosts: ['*']\n  gateways: [gw]\n  http:\n    - {rule}");
        let subsets =
            "  host: a\n  subsets: [{name: x, labels: {app: a}}, {name: y, labels: {app: a}}]";
        let yaml = services(&[("shop", "a")])
            + &gateway("shop", "gw")
            + &virtual_service("shop", "vs", &spec)
            + &destination_rule("shop", "rule", subsets);
        let mut world = World::new(&yaml).pods("shop", "a", &[("app", "a")], 1);
        let calls = 10_000;
        let hits = (0..calls)
            .filter(|_| {
                let sent = world.edge("http://shop.example/").send().sent();
                sent.forward.cluster.subset.as_deref() == Some("x")
            })
            .count();
        let share = f64::from(weights[0]) / f64::from(weights[0] + weights[1]);
        let sigma = (f64::from(calls) * share * (1.0 - share)).sqrt();
        let off = (hits as f64 - f64::from(calls) * share).abs();
        assert!(off < 3.0 * sigma, "{hits} of {calls} at {weights:?}");
    }
}
