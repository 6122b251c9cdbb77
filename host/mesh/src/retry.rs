//! Whether a try that failed is made again, and after which pause.
//!
//! The conditions are Envoy's (`x-envoy-retry-on`), the defaults Istio's since
//! 1.24: `connect-failure,refused-stream,unavailable,cancelled`, two retries,
//! a base interval of 25 ms. The policy decides on data alone; the host makes
//! the tries, keeps the bodies and the time.

use std::time::Duration;

use galleria_manifest::model::Retries;
use http::Method;
use rand::Rng;

use crate::{Failure, Outcome};

/// Retries where a rule says nothing.
const ATTEMPTS_DEFAULT: u32 = 2;
/// Envoy's `retry_back_off.base_interval`.
const BACKOFF_BASE: Duration = Duration::from_millis(25);
/// The largest pause, in base intervals.
const BACKOFF_CAP: u32 = 10;

/// `http[].retries`, with its defaults filled in.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Tries at most, the first included; 1 means no retries.
    pub max_attempts: u32,
    /// The time of one try; `None` leaves it to the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// The base of the back-off.
    pub backoff: Duration,
    conditions: Conditions,
    /// Nothing in the manifest asks for these conditions: a request whose
    /// method is not safe is repeated only where it never reached a guest.
    by_default: bool,
}

/// What becomes of a try that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Try again after this pause.
    Retry(Duration),
    /// It would be tried again, but the tries are used up: the answer goes to
    /// the caller with flag URX.
    Exhausted,
    /// The answer is final.
    Final,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Conditions {
    any_5xx: bool,
    gateway_error: bool,
    reset: bool,
    reset_before_request: bool,
    connect_failure: bool,
    refused_stream: bool,
    retriable_4xx: bool,
    rate_limited: bool,
    statuses: Vec<u16>,
    grpc_statuses: Vec<u16>,
}

impl RetryPolicy {
    /// The policy of a rule; Istio's default where it has none.
    pub fn new(retries: Option<&Retries>) -> Self {
        let retry_on = retries.and_then(|retries| retries.retry_on.as_ref());
        let conditions = match retry_on {
            Some(words) => Conditions::read(words.iter().map(|word| word.value.as_str())),
            None => Conditions::istio_default(),
        };
        Self {
            max_attempts: 1 + retries.map_or(ATTEMPTS_DEFAULT, |retries| retries.attempts),
            per_try_timeout: retries.and_then(|retries| retries.per_try_timeout),
            backoff: retries
                .and_then(|retries| retries.backoff)
                .unwrap_or(BACKOFF_BASE),
            conditions,
            by_default: retry_on.is_none(),
        }
    }

    /// A policy that never retries.
    pub fn never() -> Self {
        Self {
            max_attempts: 1,
            ..Self::new(None)
        }
    }

    /// Decides after `attempt` tries (1 after the first).
    pub fn decide(
        &self,
        attempt: u32,
        method: &Method,
        outcome: &Outcome,
        rng: &mut impl Rng,
    ) -> RetryDecision {
        if !self.conditions.hold(outcome) {
            return RetryDecision::Final;
        }
        if self.by_default && !method.is_safe() && outcome.request_sent {
            return RetryDecision::Final;
        }
        if attempt >= self.max_attempts {
            return if self.max_attempts > 1 {
                RetryDecision::Exhausted
            } else {
                RetryDecision::Final
            };
        }
        RetryDecision::Retry(self.pause(attempt, rng))
    }

    /// Full jitter over `[0, (2^n - 1) * base)` before the n-th retry, capped.
    fn pause(&self, retry: u32, rng: &mut impl Rng) -> Duration {
        let intervals = 2_u32
            .saturating_pow(retry)
            .saturating_sub(1)
            .clamp(1, BACKOFF_CAP);
        let ceiling = self.backoff.saturating_mul(intervals);
        ceiling.mul_f64(rng.random_range(0.0..1.0))
    }

    /// The conditions as Envoy writes them, for `explain`.
    pub fn retry_on(&self) -> String {
        self.conditions.to_text()
    }
}

/// Envoy's words and the field each of them sets.
type Flag = (&'static str, fn(&mut Conditions) -> &mut bool);
const WORDS: &[Flag] = &[
    ("5xx", |conditions| &mut conditions.any_5xx),
    ("gateway-error", |conditions| &mut conditions.gateway_error),
    ("reset", |conditions| &mut conditions.reset),
    ("reset-before-request", |conditions| {
        &mut conditions.reset_before_request
    }),
    ("connect-failure", |conditions| {
        &mut conditions.connect_failure
    }),
    ("refused-stream", |conditions| {
        &mut conditions.refused_stream
    }),
    ("retriable-4xx", |conditions| &mut conditions.retriable_4xx),
    ("envoy-ratelimited", |conditions| {
        &mut conditions.rate_limited
    }),
];
const GRPC_WORDS: &[(&str, u16)] = &[
    ("cancelled", 1),
    ("deadline-exceeded", 4),
    ("resource-exhausted", 8),
    ("internal", 13),
    ("unavailable", 14),
];

impl Conditions {
    fn istio_default() -> Self {
        Self::read(
            [
                "connect-failure",
                "refused-stream",
                "unavailable",
                "cancelled",
            ]
            .into_iter(),
        )
    }

    /// Words that Envoy does not know are left out; the reader has reported them.
    fn read<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut conditions = Self::default();
        for word in words {
            if let Some((_, field)) = WORDS.iter().find(|(name, _)| *name == word) {
                *field(&mut conditions) = true;
            } else if let Some((_, code)) = GRPC_WORDS.iter().find(|(name, _)| *name == word) {
                conditions.grpc_statuses.push(*code);
            } else if let Ok(status) = word.parse() {
                conditions.statuses.push(status);
            }
        }
        conditions
    }

    fn hold(&self, outcome: &Outcome) -> bool {
        match outcome.failure {
            Some(failure) => self.hold_for_failure(failure, outcome.request_sent),
            None => self.hold_for_response(outcome),
        }
    }

    /// `5xx`, `gateway-error` and `reset` include every try without a response.
    fn hold_for_failure(&self, failure: Failure, request_sent: bool) -> bool {
        let any = self.any_5xx || self.gateway_error || self.reset;
        any || match failure {
            Failure::ConnectFailure => self.connect_failure,
            Failure::Refused | Failure::Overflow => self.refused_stream,
            Failure::Reset | Failure::Termination => self.reset_before_request && !request_sent,
            Failure::Timeout => false,
        }
    }

    fn hold_for_response(&self, outcome: &Outcome) -> bool {
        let status = outcome.status.map_or(0, |status| status.as_u16());
        let by_grpc = outcome
            .grpc_status
            .is_some_and(|code| self.grpc_statuses.contains(&code));
        by_grpc
            || (self.any_5xx && (500..600).contains(&status))
            || (self.gateway_error && (502..=504).contains(&status))
            || (self.retriable_4xx && status == 409)
            || (self.rate_limited && outcome.rate_limited)
            || self.statuses.contains(&status)
    }

    fn to_text(&self) -> String {
        let mut copy = self.clone();
        let flags = WORDS
            .iter()
            .filter(|(_, field)| *field(&mut copy))
            .map(|(name, _)| *name);
        let mut words: Vec<String> = flags.map(String::from).collect();
        let grpc = GRPC_WORDS
            .iter()
            .filter(|(_, code)| self.grpc_statuses.contains(code));
        words.extend(grpc.map(|(name, _)| String::from(*name)));
        words.extend(self.statuses.iter().map(u16::to_string));
        words.join(",")
    }
}
