//! A decision to forward: everything a rule says about one request, resolved.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, request, response};
use rand::Rng;

use crate::{CallerKey, Cluster, FaultPlan, LocalReply, ObjectRef, RequestHead, RetryPolicy};

/// What the mesh decided about a request.
#[derive(Debug)]
pub enum Decision {
    /// The mesh answers itself.
    Reply(LocalReply),
    Forward(Forward),
}

/// Where a request goes and what happens on the way. It holds what it needs,
/// so it outlives the snapshot that made it.
#[derive(Debug)]
pub struct Forward {
    /// The destination, chosen by weight.
    pub cluster: Arc<Cluster>,
    /// For [`Cluster::acquire`] and [`crate::PickContext`].
    pub caller: CallerKey,
    /// `http[].timeout` over all tries and pauses; begins after the fault's
    /// delay. A workload's `x-envoy-upstream-rq-timeout-ms` takes its place.
    pub timeout: Option<Duration>,
    /// `retries.perTryTimeout`; a workload's
    /// `x-envoy-upstream-rq-per-try-timeout-ms` takes its place.
    pub per_try_timeout: Option<Duration>,
}

/// A copy of a request, sent besides and forgotten.
#[derive(Debug, Clone)]
pub struct MirrorForward {
    pub cluster: Arc<Cluster>,
    pub caller: CallerKey,
}

impl Forward {
    /// `http[].name`, or `default`.
    pub fn route_name(&self) -> &str {
        "default"
    }

    /// The VirtualService or Ingress whose rule matched; `None` where a service
    /// is called that has neither.
    pub fn virtual_service(&self) -> Option<&ObjectRef> {
        None
    }

    /// The rule's place in `spec.http`.
    pub fn rule_index(&self) -> usize {
        0
    }

    /// Throws the fault's dice; once a request, before `timeout` begins.
    pub fn fault(&self, rng: &mut impl Rng) -> FaultPlan {
        let _ = rng;
        FaultPlan::default()
    }

    /// The rewrite, then the header operations of the route, then of the destination.
    pub fn apply_request(&self, parts: &mut request::Parts) {
        let _ = parts;
    }

    /// Header operations, CORS headers for `request_origin`, the hash's cookie.
    pub fn apply_response(
        &self,
        request_origin: Option<&HeaderValue>,
        parts: &mut response::Parts,
    ) {
        let _ = (request_origin, parts);
    }

    /// The key of consistent hashing; `None` where the destination does not
    /// hash, or the request lacks what it hashes. Makes up the cookie's value
    /// where one has to be set, for `apply_response`.
    pub fn hash(&mut self, request: &RequestHead<'_>, rng: &mut impl Rng) -> Option<u64> {
        let _ = (request, rng);
        None
    }

    pub fn retry_policy(&self) -> &RetryPolicy {
        static NEVER: std::sync::LazyLock<RetryPolicy> =
            std::sync::LazyLock::new(RetryPolicy::never);
        &NEVER
    }

    /// The copies to send, thrown by percentage.
    pub fn mirrors(&self, rng: &mut impl Rng) -> impl Iterator<Item = MirrorForward> {
        let _ = rng;
        std::iter::empty()
    }
}
