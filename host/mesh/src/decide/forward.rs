//! A decision to forward: everything a rule says about one request, resolved.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue, SET_COOKIE};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{request, response};
use rand::Rng;

use super::fault::happens;
use super::hash::hash_request;
use super::rule::{ForwardAction, Rule, WeightedDestination};
use crate::{
    CallerKey, Cluster, FaultPlan, LocalReply, ObjectRef, RequestHead, RetryPolicy, RouteId,
};

/// What the mesh decided about a request.
#[derive(Debug)]
pub enum Decision {
    /// The mesh answers itself.
    Reply(LocalReply),
    Forward(Forward),
}

/// A decision, and the rule that it comes from.
#[derive(Debug)]
pub struct Decided {
    pub decision: Decision,
    /// `None` where no rule of a resource took the request.
    pub route: Option<Arc<RouteId>>,
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
    pub(crate) rule: Arc<Rule>,
    /// The match block that held.
    pub(crate) block: Option<usize>,
    pub(crate) destination: usize,
    /// The port that the request came to.
    pub(crate) port: u16,
    /// The cookie that consistent hashing made up.
    pub(crate) set_cookie: Option<HeaderValue>,
}

/// A copy of a request, sent besides and forgotten: of the request as
/// [`Forward::apply_request`] has left it, its host included.
#[derive(Debug, Clone)]
pub struct MirrorForward {
    pub cluster: Arc<Cluster>,
    pub caller: CallerKey,
}

impl Forward {
    /// `http[].name`, or `default`.
    pub fn route_name(&self) -> &str {
        &self.rule.name
    }

    /// The VirtualService or Ingress whose rule matched; `None` where a service
    /// is called that has neither.
    pub fn virtual_service(&self) -> Option<&ObjectRef> {
        self.rule.object.as_deref()
    }

    /// The rule's place in `spec.http`.
    pub fn rule_index(&self) -> usize {
        self.rule.index
    }

    /// Throws the fault's dice; once a request, before `timeout` begins.
    pub fn fault(&self, rng: &mut impl Rng) -> FaultPlan {
        let Some(fault) = &self.rule.fault else {
            return FaultPlan::default();
        };
        let plan = fault.plan(rng);
        self.cluster
            .count_fault(self.caller, plan.delay.is_some(), plan.abort.is_some());
        plan
    }

    /// The rewrite, then the header operations of the route, then of the
    /// destination. Once a request, before the first try.
    pub fn apply_request(&self, parts: &mut request::Parts) {
        let Some(action) = self.action() else { return };
        let destination = self.destination();
        if let Some(path) = action.rewrite.path(parts.uri.path(), self.matched_uri()) {
            set_path(parts, &path);
        }
        self.rule.request_headers.apply(&mut parts.headers);
        if let Some(destination) = destination {
            destination.request_headers.apply(&mut parts.headers);
        }
        let authority = self
            .rule
            .request_headers
            .authority
            .as_ref()
            .or(action.rewrite.authority.as_ref())
            .or(destination.and_then(|destination| destination.request_headers.authority.as_ref()));
        if let Some(authority) = authority {
            set_authority(parts, authority);
        }
    }

    /// Header operations of the route, then of the destination, CORS headers
    /// for `request_origin`, and the cookie of consistent hashing. For whatever
    /// the caller gets, the mesh's own replies after this decision included, as
    /// in Envoy: without CORS headers a browser cannot read a 503.
    pub fn apply_response(
        &self,
        request_origin: Option<&HeaderValue>,
        parts: &mut response::Parts,
    ) {
        if let Some(cors) = &self.rule.cors {
            cors.apply(request_origin, &mut parts.headers);
        }
        self.rule.response_headers.apply(&mut parts.headers);
        if let Some(destination) = self.destination() {
            destination.response_headers.apply(&mut parts.headers);
        }
        if let Some(cookie) = &self.set_cookie {
            parts.headers.append(SET_COOKIE, cookie.clone());
        }
    }

    /// The key of consistent hashing; `None` where the destination does not
    /// hash, or the request lacks what it hashes. Once a request: where a cookie
    /// has to be set, its value is made up here and set by `apply_response`.
    pub fn hash(&mut self, request: &RequestHead<'_>, rng: &mut impl Rng) -> Option<u64> {
        let hashed = hash_request(self.cluster.hash_key()?, request, rng)?;
        self.set_cookie = hashed.set_cookie;
        Some(hashed.hash)
    }

    /// `http[].retries`, with its defaults.
    pub fn retry_policy(&self) -> &RetryPolicy {
        self.rule.retry_policy()
    }

    /// The copies to send, thrown by percentage. A mirror whose cluster does
    /// not exist is left out.
    pub fn mirrors(&self, rng: &mut impl Rng) -> impl Iterator<Item = MirrorForward> {
        let mirrors = self.action().map_or(&[][..], |action| &action.mirrors);
        mirrors.iter().filter_map(move |(choice, percent)| {
            let cluster = choice.for_port(self.port).ok()?;
            happens(*percent, rng).then(|| MirrorForward {
                cluster: Arc::clone(cluster),
                caller: self.caller,
            })
        })
    }

    fn action(&self) -> Option<&ForwardAction> {
        self.rule.forward_action()
    }

    fn destination(&self) -> Option<&WeightedDestination> {
        self.action()?.destinations.get(self.destination)
    }

    fn matched_uri(&self) -> Option<&super::condition::UriMatch> {
        self.rule.blocks.get(self.block?)?.uri()
    }
}

/// Keeps the query, and remembers the path as Envoy does. A path that no URI
/// can have leaves the request as it is.
fn set_path(parts: &mut request::Parts, path: &str) {
    let original = parts.uri.path_and_query().cloned();
    let text = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let Ok(path_and_query) = text.parse::<PathAndQuery>() else {
        return;
    };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(path_and_query);
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    if let Some(value) = original.and_then(|original| HeaderValue::from_str(original.as_str()).ok())
    {
        parts
            .headers
            .insert(HeaderName::from_static("x-envoy-original-path"), value);
    }
}

/// In the URI where it has an authority, and in `Host` where that is what
/// carries it.
fn set_authority(parts: &mut request::Parts, authority: &HeaderValue) {
    if parts.uri.authority().is_some()
        && let Ok(new) = Authority::try_from(authority.as_bytes())
    {
        let mut uri = parts.uri.clone().into_parts();
        uri.authority = Some(new);
        if let Ok(uri) = Uri::from_parts(uri) {
            parts.uri = uri;
        }
        if !parts.headers.contains_key(HOST) {
            return;
        }
    }
    parts.headers.insert(HOST, authority.clone());
}
