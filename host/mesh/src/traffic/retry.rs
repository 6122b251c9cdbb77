//! Whether an attempt is retried, and after which back-off.
//!
//! The conditions are those of Envoy (`x-envoy-retry-on`). The defaults are those of Istio
//! since 1.24: `connect-failure,refused-stream,unavailable,cancelled`, two retries, and a
//! base interval of 25 ms.

use std::time::Duration;

use galleria_manifest::model::Retries;
use http::Method;
use rand::Rng;

use crate::{Failure, Outcome};

/// The number of retries if the rule does not set it.
const ATTEMPTS_DEFAULT: u32 = 2;
/// Envoy's `retry_back_off.base_interval`.
const BACKOFF_BASE: Duration = Duration::from_millis(25);
/// The maximum back-off, in base intervals.
const BACKOFF_CAP: u32 = 10;

/// `http[].retries`, with its defaults filled in.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// The maximum number of attempts, including the first. 1 means no retries.
    pub max_attempts: u32,
    /// The timeout of one attempt; `None` means that only the route's timeout applies.
    pub per_try_timeout: Option<Duration>,
    /// The base interval of the back-off.
    pub backoff: Duration,
    conditions: Conditions,
    /// The conditions are defaults, not set in the manifest: a request with an unsafe
    /// method is retried only if it has not reached a guest.
    by_default: bool,
}

/// What happens after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Retry after this back-off.
    Retry(Duration),
    /// The attempt would be retried, but the limit of attempts is reached. The answer is
    /// final, with flag URX.
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
    /// The policy of a rule; Istio's default if it has none.
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

    /// Decides after `attempt` attempts (1 after the first).
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

    /// Full jitter over `[0, (2^n - 1) * base)` before the n-th retry, with a maximum.
    fn pause(&self, retry: u32, rng: &mut impl Rng) -> Duration {
        let intervals = 2_u32
            .saturating_pow(retry)
            .saturating_sub(1)
            .clamp(1, BACKOFF_CAP);
        let ceiling = self.backoff.saturating_mul(intervals);
        ceiling.mul_f64(rng.random_range(0.0..1.0))
    }

    /// The conditions in Envoy's notation, for `explain`.
    pub fn retry_on(&self) -> String {
        self.conditions.to_text()
    }
}

/// Envoy's names of the conditions, and the field of each.
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

    /// Unknown names are left out: the manifest reader has reported them.
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

    /// `5xx`, `gateway-error` and `reset` include every attempt without a response.
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

#[cfg(test)]
mod tests {
    use galleria_manifest::{Position, WithPosition};
    use http::StatusCode;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn policy(attempts: u32, words: &[&str]) -> RetryPolicy {
        let at = Position::new("test.yaml", 1, 1);
        let words = words
            .iter()
            .map(|word| WithPosition::new((*word).to_owned(), at.clone()));
        RetryPolicy::new(Some(&Retries {
            attempts,
            per_try_timeout: None,
            retry_on: Some(words.collect()),
            backoff: None,
        }))
    }

    fn retries(policy: &RetryPolicy, method: &Method, outcome: &Outcome) -> bool {
        let decision = policy.decide(1, method, outcome, &mut StdRng::seed_from_u64(1));
        matches!(decision, RetryDecision::Retry(_))
    }

    fn status(code: u16) -> Outcome {
        Outcome::response(StatusCode::from_u16(code).expect("a status"))
    }

    #[test]
    fn by_default_an_unsafe_method_is_retried_only_if_it_did_not_reach_the_guest() {
        let policy = RetryPolicy::new(None);
        assert_eq!((policy.max_attempts, policy.per_try_timeout), (3, None));
        assert_eq!(
            policy.retry_on(),
            "connect-failure,refused-stream,cancelled,unavailable"
        );
        for failure in [Failure::ConnectFailure, Failure::Refused, Failure::Overflow] {
            assert!(
                retries(&policy, &Method::POST, &Outcome::failure(failure)),
                "{failure:?}"
            );
        }
        let unavailable = Outcome {
            grpc_status: Some(14),
            ..status(200)
        };
        assert!(retries(&policy, &Method::GET, &unavailable));
        assert!(!retries(&policy, &Method::POST, &unavailable));
        for outcome in [
            status(503),
            status(500),
            Outcome::failure(Failure::Termination),
        ] {
            assert!(!retries(&policy, &Method::GET, &outcome), "{outcome:?}");
        }
    }

    #[test]
    fn explicit_conditions_apply_to_every_method() {
        let policy = policy(2, &["5xx"]);
        assert!(retries(&policy, &Method::POST, &status(500)));
        assert!(retries(
            &policy,
            &Method::POST,
            &Outcome::failure(Failure::Termination)
        ));
        assert!(!retries(&policy, &Method::POST, &status(404)));
    }

    #[test]
    fn each_condition_matches_its_own_failures() {
        let failure = Outcome::failure;
        for (word, outcome, expected) in [
            ("5xx", failure(Failure::Timeout), true),
            ("gateway-error", status(502), true),
            ("gateway-error", status(500), false),
            ("gateway-error", failure(Failure::Reset), true),
            ("reset", failure(Failure::Termination), true),
            ("reset", status(503), false),
            ("connect-failure", failure(Failure::ConnectFailure), true),
            ("connect-failure", failure(Failure::Termination), false),
            ("refused-stream", failure(Failure::Overflow), true),
            ("reset-before-request", failure(Failure::Reset), false),
            ("retriable-4xx", status(409), true),
            ("retriable-4xx", status(404), false),
            ("503", status(503), true),
            ("503", status(502), false),
            (
                "envoy-ratelimited",
                Outcome {
                    rate_limited: true,
                    ..status(429)
                },
                true,
            ),
            ("envoy-ratelimited", status(429), false),
            (
                "resource-exhausted",
                Outcome {
                    grpc_status: Some(8),
                    ..status(200)
                },
                true,
            ),
        ] {
            let policy = policy(2, &[word]);
            assert_eq!(
                retries(&policy, &Method::GET, &outcome),
                expected,
                "{word} {outcome:?}"
            );
        }
        let unsent = Outcome {
            request_sent: false,
            ..failure(Failure::Reset)
        };
        assert!(retries(
            &policy(2, &["reset-before-request"]),
            &Method::GET,
            &unsent
        ));
    }

    #[test]
    fn attempts_counts_retries_and_0_turns_them_off() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut decide = |policy: &RetryPolicy, attempt| {
            policy.decide(attempt, &Method::GET, &status(503), &mut rng)
        };
        let two = policy(2, &["503"]);
        assert!(matches!(decide(&two, 2), RetryDecision::Retry(_)));
        assert_eq!(decide(&two, 3), RetryDecision::Exhausted);
        assert_eq!(decide(&policy(0, &["503"]), 1), RetryDecision::Final);
    }

    #[test]
    fn the_back_off_grows_with_full_jitter_up_to_a_maximum() {
        let policy = policy(20, &["503"]);
        let mut rng = StdRng::seed_from_u64(1);
        for (retry, ceiling_ms) in [(1, 25), (2, 75), (3, 175), (4, 250), (15, 250)] {
            let pauses: Vec<Duration> = (0..2000).map(|_| policy.pause(retry, &mut rng)).collect();
            let most = pauses.iter().max().expect("some").as_millis();
            let least = pauses.iter().min().expect("some").as_millis();
            assert!(
                most < ceiling_ms && most * 10 > ceiling_ms * 9,
                "retry {retry}: {most}"
            );
            assert!(least * 20 < ceiling_ms, "retry {retry}: {least}");
        }
    }
}
