//! The decision to forward a request, with everything that its rule says about it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue, SET_COOKIE};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{request, response};
use rand::Rng;

use super::fault::happens;
use super::hash::hash_request;
use super::rule::{ForwardAction, Rule, WeightedDestination};
use super::substitution::RequestFacts;
use crate::{
    CallFacts, CallerKey, Cluster, FaultPlan, LocalReply, ObjectRef, RequestHead, ResponseFlags,
    RetryPolicy, RouteId,
};

/// What the mesh decided about a request.
#[derive(Debug)]
pub enum Decision {
    /// The mesh replies itself.
    Reply(LocalReply),
    Forward(Forward),
}

/// A decision, and the rule that made it.
#[derive(Debug)]
pub struct RouteDecision {
    pub decision: Decision,
    /// `None` if no rule of a resource matched the request.
    pub route: Option<Arc<RouteId>>,
}

/// The destination of a request and the changes that the route makes to it. It owns its
/// data, so it can outlive its snapshot.
#[derive(Debug)]
pub struct Forward {
    /// The destination, selected by weight.
    pub cluster: Arc<Cluster>,
    /// For [`Cluster::acquire`] and [`crate::PickContext`].
    pub caller: CallerKey,
    /// `http[].timeout`: the time of all attempts and back-offs, without a fault's delay. A
    /// workload can replace it with `x-envoy-upstream-rq-timeout-ms`.
    pub timeout: Option<Duration>,
    /// `retries.perTryTimeout`. A workload can replace it with
    /// `x-envoy-upstream-rq-per-try-timeout-ms`.
    pub per_try_timeout: Option<Duration>,
    /// The authority that the request is sent with, whatever its route says.
    pub authority: Option<HeaderValue>,
    pub(crate) rule: Arc<Rule>,
    /// The index of the match block that matched.
    pub(crate) block: Option<usize>,
    pub(crate) destination: usize,
    /// The port that the request was sent to.
    pub(crate) port: u16,
    /// If the headers of the route have substitutions.
    pub(crate) facts: Option<Box<RequestFacts>>,
    /// The cookie that consistent hashing generated.
    pub(crate) set_cookie: Option<HeaderValue>,
}

/// A mirrored request: a copy of the request as [`Forward::apply_request`] has changed it,
/// including its host. Its response is discarded.
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

    /// The VirtualService or Ingress whose rule matched; `None` if the service has neither.
    pub fn virtual_service(&self) -> Option<&ObjectRef> {
        self.rule.object.as_deref()
    }

    /// The index of the rule in `spec.http`.
    pub fn rule_index(&self) -> usize {
        self.rule.index
    }

    /// Samples the fault. Call it once per request, before `timeout` begins.
    pub fn fault(&self, rng: &mut impl Rng) -> FaultPlan {
        let Some(fault) = &self.rule.fault else {
            return FaultPlan::default();
        };
        let plan = fault.plan(rng);
        self.cluster
            .count_fault(self.caller, plan.delay.is_some(), plan.abort.is_some());
        plan
    }

    /// Whether the route writes headers with substitutions: for these, the host adds
    /// [`crate::CallFacts`] to the extensions of the request.
    pub fn substitutes(&self) -> bool {
        self.facts.is_some()
    }

    /// Applies the rewrite, then the header operations of the destination, then those of the
    /// route, as Envoy does. Call it once per request, before the first attempt.
    pub fn apply_request(&self, parts: &mut request::Parts) {
        let Some(action) = self.action() else { return };
        let destination = self.destination();
        if let Some(path) = action.rewrite.path(parts.uri.path(), self.matched_uri()) {
            set_path(parts, &path);
        }
        let facts = self.facts.as_deref();
        let call = facts.and_then(|_| parts.extensions.get::<CallFacts>().cloned());
        let message = facts.map(|facts| facts.request(parts.version, call.as_ref()));
        let message = message.as_ref();
        if let Some(destination) = destination {
            let changes = &destination.request_headers;
            changes.apply(&mut parts.headers, message);
        }
        self.rule.request_headers.apply(&mut parts.headers, message);
        let authority = self
            .authority
            .as_ref()
            .or(self.rule.request_headers.authority.as_ref())
            .or(action.rewrite.authority.as_ref())
            .or(destination.and_then(|destination| destination.request_headers.authority.as_ref()));
        if let Some(authority) = authority {
            if self.authority.is_none() {
                keep_original_host(parts);
            }
            set_authority(parts, authority);
        }
        if let Some(facts) = facts {
            facts.sent(parts);
        }
    }

    /// Applies the CORS headers for `request_origin`, the header operations of the destination,
    /// those of the route, and the cookie of consistent hashing. Call it for every
    /// response to the caller, including the mesh's own replies, as Envoy does: without
    /// CORS headers a browser cannot read a 503. Only the abort of a fault has none.
    pub fn apply_response(
        &self,
        request_origin: Option<&HeaderValue>,
        parts: &mut response::Parts,
    ) {
        // Envoy's fault filter comes before that for CORS.
        let flags = parts.extensions.get::<ResponseFlags>().copied();
        let is_abort = flags.is_some_and(|flags| flags.contains(ResponseFlags::FI));
        if let Some(cors) = &self.rule.cors
            && !is_abort
        {
            cors.apply(request_origin, &mut parts.headers);
        }
        let message = self
            .facts
            .as_deref()
            .map(|facts| facts.response(parts.status, flags.unwrap_or(ResponseFlags::NONE)));
        let message = message.as_ref();
        if let Some(destination) = self.destination() {
            let changes = &destination.response_headers;
            changes.apply(&mut parts.headers, message);
        }
        self.rule
            .response_headers
            .apply(&mut parts.headers, message);
        if let Some(cookie) = &self.set_cookie {
            parts.headers.append(SET_COOKIE, cookie.clone());
        }
    }

    /// The key of consistent hashing; `None` if the destination does not use it, or the
    /// request does not have the hashed part. Call it once per request: if a cookie must be
    /// set, its value is generated here, and `apply_response` sets it.
    pub fn hash(&mut self, request: &RequestHead<'_>, rng: &mut impl Rng) -> Option<u64> {
        let hashed = hash_request(self.cluster.hash_key()?, request, rng)?;
        self.set_cookie = hashed.set_cookie;
        Some(hashed.hash)
    }

    /// `http[].retries`, with its defaults.
    pub fn retry_policy(&self) -> &RetryPolicy {
        self.rule.retry_policy()
    }

    /// Samples the mirrors of the route. A mirror whose cluster does not exist is left out.
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

/// Keeps the query, and stores the original path in a header, as Envoy does. A path that is
/// not valid in a URI leaves the request unchanged.
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

/// Stores the original authority in a header, as Envoy does.
fn keep_original_host(parts: &mut request::Parts) {
    let of_uri = parts.uri.authority();
    let of_uri = of_uri.and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    if let Some(original) = of_uri.or_else(|| parts.headers.get(HOST).cloned()) {
        let name = HeaderName::from_static("x-envoy-original-host");
        parts.headers.insert(name, original);
    }
}

/// Changes the URI if it has an authority, and `Host` if the request has it or the URI has
/// no authority.
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
