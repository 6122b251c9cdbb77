//! Decisions of services outside of the mesh: external authorization, rate limits, and the keys
//! of issuers that are fetched.

use prometheus::{IntCounter, IntCounterVec};

use super::names;
use super::register::Register;

/// Decisions about requests. Their series are as many as the providers in the manifests.
pub(crate) struct Decisions(IntCounterVec);

/// What a service is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DecisionKind {
    ExternalAuthorization,
    RateLimit,
}

/// What it decided.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DecisionResult {
    Ok,
    Denied,
    /// It gave no decision.
    Error,
}

impl Decisions {
    pub(super) fn new(register: &mut Register) -> Self {
        Self(register.counters(&names::DECISIONS))
    }

    pub(crate) fn count(&self, kind: DecisionKind, provider: &str, result: DecisionResult) {
        let kind = match kind {
            DecisionKind::ExternalAuthorization => "ext_authz",
            DecisionKind::RateLimit => "ratelimit",
        };
        let result = match result {
            DecisionResult::Ok => "ok",
            DecisionResult::Denied => "denied",
            DecisionResult::Error => "error",
        };
        self.0.with_label_values(&[kind, provider, result]).inc();
    }
}

/// Fetches of key sets.
pub(crate) struct KeyFetches {
    successes: IntCounter,
    failures: IntCounter,
}

impl KeyFetches {
    pub(super) fn new(register: &mut Register) -> Self {
        let counters = register.counters(&names::KEY_FETCHES);
        Self {
            successes: counters.with_label_values(&["success"]),
            failures: counters.with_label_values(&["failure"]),
        }
    }

    pub(crate) fn count(&self, is_success: bool) {
        match is_success {
            true => self.successes.inc(),
            false => self.failures.inc(),
        }
    }
}
