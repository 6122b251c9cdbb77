//! The immutable result of a compilation, on which every request is decided.

use std::time::Instant;

use rand::Rng;

use crate::{
    Caller, Decision, Explanation, Listener, LocalReply, RequestHead, RouteStatus, ServiceStatus,
};

/// All listeners, routes and destinations, as one consistent whole.
#[derive(Debug)]
pub struct Snapshot {}

impl Snapshot {
    /// One for every distinct port.
    pub fn listeners(&self) -> &[Listener] {
        &[]
    }

    /// Decides a request. Everything random about the route (the weighted
    /// choice) is decided here.
    pub fn route(
        &self,
        caller: Caller<'_>,
        request: &RequestHead<'_>,
        rng: &mut impl Rng,
    ) -> Decision {
        let _ = (caller, request, rng);
        Decision::Reply(LocalReply::no_route())
    }

    /// The same decision with its reasons, by the same matching code.
    pub fn explain(
        &self,
        caller: Caller<'_>,
        request: &RequestHead<'_>,
        now: Instant,
    ) -> Explanation {
        let _ = (caller, request, now);
        Explanation {}
    }

    /// Services with their ports, clusters and endpoints, for status pages.
    pub fn services(&self) -> Vec<ServiceStatus> {
        Vec::new()
    }

    /// VirtualServices and Ingresses with their rules, for status pages.
    pub fn routes(&self) -> Vec<RouteStatus> {
        Vec::new()
    }
}
