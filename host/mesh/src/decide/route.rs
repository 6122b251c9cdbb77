//! The decision: listener, host, rule, destination.
//!
//! It has two parts. [`Snapshot::resolve`], [`RouteMatch::own_reply`] and [`RouteMatch::forward`]
//! follow from the request alone; [`Snapshot::explain`] reports them. [`Snapshot::decide`]
//! adds what is random.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;

use super::condition::MatchContext;
use super::headers::HeaderChanges;
use super::redirect;
use super::rule::{Action, ForwardAction, Rule};
use super::snapshot::{Snapshot, Via};
use super::substitution::RequestFacts;
use super::virtual_host::{RouteMatch, VirtualHost};
use crate::grpc;
use crate::inbound::RequestPrincipal;
use crate::{
    Caller, CallerKey, Decision, Forward, LocalReply, ObjectRef, OutboundPolicy, RequestHead,
    ResponseFlags, RouteDecision,
};

/// The part of a decision that follows from the request alone.
pub(crate) struct Resolution<'a> {
    /// The host whose rules apply; `None` where nothing declares it.
    pub(crate) host: Option<&'a VirtualHost>,
    /// The rules that were searched.
    pub(crate) rules: &'a [Arc<Rule>],
    pub(crate) result: Result<RouteMatch<'a>, OwnReply>,
}

/// A reply of the mesh itself, and the reason for it.
pub(crate) struct OwnReply {
    pub(crate) reason: ReplyReason,
    pub(crate) reply: LocalReply,
}

/// Why the mesh replies instead of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyReason {
    Refused,
    Redirect,
    DirectResponse,
    Preflight,
}

/// The timeouts of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// Of all attempts together.
    pub(crate) route: Option<Duration>,
    pub(crate) per_try: Option<Duration>,
}

/// What the lookup of a request's host found.
pub(crate) enum Lookup<'a> {
    Host(&'a Arc<VirtualHost>),
    /// The service has no such port.
    NoPort(&'a Arc<VirtualHost>),
    /// At the edge: no such host on this port.
    NotServed,
    /// In the mesh: nothing declares the host.
    Undeclared,
}

impl Snapshot {
    /// Decides a request. Everything random about the route (the weighted choice, and the
    /// fault of a rule that answers itself) is decided here.
    pub fn route(
        &self,
        caller: Caller<'_>,
        request: &RequestHead<'_>,
        rng: &mut impl Rng,
    ) -> Decision {
        self.decide(caller, request, rng).decision
    }

    /// As [`Snapshot::route`], with the rule that matched the request.
    pub fn decide(
        &self,
        caller: Caller<'_>,
        request: &RequestHead<'_>,
        rng: &mut impl Rng,
    ) -> RouteDecision {
        self.decide_authenticated(caller, request, None, rng)
    }

    /// As [`Snapshot::decide`], for a request whose token a gateway has verified.
    pub fn decide_authenticated(
        &self,
        caller: Caller<'_>,
        request: &RequestHead<'_>,
        principal: Option<&RequestPrincipal>,
        rng: &mut impl Rng,
    ) -> RouteDecision {
        let via = Via {
            principal,
            ..self.via(caller, request)
        };
        match self.resolve(&via, request).result {
            Ok(matched) => RouteDecision {
                decision: matched.decide(&via, request, rng),
                route: matched.rule.id.clone(),
            },
            Err(own) => RouteDecision {
                decision: Decision::Reply(own.reply),
                route: None,
            },
        }
    }

    /// Finds the rule for a request.
    pub(crate) fn resolve<'a>(
        &'a self,
        via: &Via<'_>,
        request: &RequestHead<'_>,
    ) -> Resolution<'a> {
        let host = match self.lookup(via, request) {
            Lookup::Host(host) => host,
            Lookup::NotServed => return Resolution::refused(None, LocalReply::no_route()),
            Lookup::NoPort(host) => {
                return Resolution::refused(Some(host), no_port(host, request));
            }
            Lookup::Undeclared => return self.resolve_undeclared(via, request),
        };
        if host.https_redirect {
            return Resolution {
                host: Some(host),
                rules: &[],
                result: Err(self.https_redirect(request)),
            };
        }
        let (table, matched) = host.find(&via.context(request));
        Resolution {
            host: Some(host),
            rules: &table.rules,
            result: matched.ok_or_else(|| OwnReply::refused(LocalReply::no_route())),
        }
    }

    /// The outbound policy decides about a host that nothing declares.
    fn resolve_undeclared<'a>(
        &'a self,
        via: &Via<'_>,
        request: &RequestHead<'_>,
    ) -> Resolution<'a> {
        match self.outbound_policy(via) {
            OutboundPolicy::AllowAny => {
                let host = self.passthrough();
                let matched = host.table.find(&via.context(request));
                Resolution {
                    host: Some(host),
                    rules: &host.table.rules,
                    result: matched.ok_or_else(|| OwnReply::refused(LocalReply::no_route())),
                }
            }
            OutboundPolicy::RegistryOnly => {
                let reply = match self.hiding(via, request) {
                    Some(sidecar) => hidden(sidecar, request),
                    None => undeclared(request),
                };
                Resolution::refused(None, reply)
            }
        }
    }

    fn https_redirect(&self, request: &RequestHead<'_>) -> OwnReply {
        match redirect::to_https(request, self.options().https_redirect_port) {
            Some(location) => {
                OwnReply::new(ReplyReason::Redirect, LocalReply::https_redirect(&location))
            }
            None => OwnReply::refused(LocalReply::bad_request("invalid_authority")),
        }
    }
}

impl<'a> Resolution<'a> {
    fn refused(host: Option<&'a Arc<VirtualHost>>, reply: LocalReply) -> Self {
        Self {
            host: host.map(Arc::as_ref),
            rules: &[],
            result: Err(OwnReply::refused(reply)),
        }
    }
}

impl OwnReply {
    fn new(reason: ReplyReason, reply: LocalReply) -> Self {
        Self { reason, reply }
    }

    fn refused(reply: LocalReply) -> Self {
        Self::new(ReplyReason::Refused, reply)
    }
}

impl RouteMatch<'_> {
    /// The mesh's own reply, or a destination selected by weight.
    fn decide(&self, via: &Via<'_>, request: &RequestHead<'_>, rng: &mut impl Rng) -> Decision {
        let action = self.rule.forward_action();
        let number = action.and_then(|action| action.split(rng)).unwrap_or(0);
        let reply = match self.own_reply(via, request) {
            Some(own) => own.reply,
            None => match self.forward(number, via, request) {
                Ok(forward) => return Decision::Forward(forward),
                Err(reply) => reply,
            },
        };
        // Envoy's fault filter comes before that for CORS, and after the selection of a
        // destination, whether it exists or not.
        let fault = self.rule.fault.as_ref();
        let abort = fault.and_then(|fault| fault.plan(rng).abort).map(|abort| {
            let destination = action.and_then(|action| action.destinations.get(number));
            let abort = match destination {
                Some(it) => self.changed(&it.response_headers, abort, via.port, request),
                None => abort,
            };
            self.with_rule_headers(abort, via.port, request)
        });
        Decision::Reply(abort.unwrap_or(reply))
    }

    /// The reply of a rule that does not forward the request.
    pub(crate) fn own_reply(&self, via: &Via<'_>, request: &RequestHead<'_>) -> Option<OwnReply> {
        match &self.rule.action {
            Action::Forward(_) => {
                let preflight = self.rule.cors.as_ref()?.preflight(request)?;
                Some(OwnReply::new(ReplyReason::Preflight, preflight))
            }
            Action::Redirect(redirect) => {
                let Some(location) = redirect.location(request, via.port, self.uri()) else {
                    let reply = LocalReply::bad_request("invalid_redirect");
                    return Some(OwnReply::refused(reply));
                };
                let reply = LocalReply::redirect(redirect.status, &location);
                let reply = self.with_headers(reply, via.port, request);
                Some(OwnReply::new(ReplyReason::Redirect, reply))
            }
            Action::Direct { status, body } => {
                let flags = ResponseFlags::NONE;
                let reply = LocalReply::new(*status, flags, body.clone(), "direct_response");
                let reply = self.with_headers(reply, via.port, request);
                Some(OwnReply::new(ReplyReason::DirectResponse, reply))
            }
        }
    }

    /// Forwards to the destination with this number.
    ///
    /// # Errors
    /// The reply where the destination does not exist.
    pub(crate) fn forward(
        &self,
        number: usize,
        via: &Via<'_>,
        request: &RequestHead<'_>,
    ) -> Result<Forward, LocalReply> {
        let action = self.rule.forward_action();
        let destination = action.and_then(|it| Some((it, it.destinations.get(number)?)));
        let Some((action, destination)) = destination else {
            return Err(self.with_headers(LocalReply::no_route(), via.port, request));
        };
        let cluster = destination.cluster.for_port(via.port).map_err(|missing| {
            let reply = self.rule.no_cluster(missing);
            let changes = &destination.response_headers;
            let reply = self.changed(changes, reply, via.port, request);
            self.with_headers(reply, via.port, request)
        })?;
        let timeouts = Timeouts::of(action, via, request);
        let facts = self.rule.substitutes(destination).then(|| {
            let (route, cluster) = (&self.rule.name, Some(cluster.name.as_str()));
            Box::new(RequestFacts::new(request, via.port, route, cluster))
        });
        Ok(Forward {
            cluster: Arc::clone(cluster),
            caller: via.caller,
            timeout: timeouts.route,
            per_try_timeout: timeouts.per_try,
            authority: None,
            rule: Arc::clone(self.rule),
            block: self.block,
            destination: number,
            port: via.port,
            facts,
            set_cookie: None,
        })
    }

    /// The mesh's own replies get the rule's header operations and CORS headers too:
    /// without these, a browser could not read them.
    fn with_headers(
        &self,
        mut reply: LocalReply,
        port: u16,
        request: &RequestHead<'_>,
    ) -> LocalReply {
        if let Some(cors) = &self.rule.cors {
            let mut headers: HeaderMap = reply.headers.into_iter().collect();
            cors.apply(request.headers.get(http::header::ORIGIN), &mut headers);
            reply.headers = pairs(&headers);
        }
        self.with_rule_headers(reply, port, request)
    }

    fn with_rule_headers(
        &self,
        reply: LocalReply,
        port: u16,
        request: &RequestHead<'_>,
    ) -> LocalReply {
        self.changed(&self.rule.response_headers, reply, port, request)
    }

    fn changed(
        &self,
        changes: &HeaderChanges,
        mut reply: LocalReply,
        port: u16,
        request: &RequestHead<'_>,
    ) -> LocalReply {
        let mut headers: HeaderMap = reply.headers.into_iter().collect();
        let facts = changes
            .substitutes()
            .then(|| RequestFacts::new(request, port, &self.rule.name, None));
        let message = facts
            .as_ref()
            .map(|facts| facts.own_reply(request, reply.status));
        changes.apply(&mut headers, message.as_ref());
        reply.headers = pairs(&headers);
        reply
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

impl Timeouts {
    /// The timeouts of the route, or those that a workload sets in `x-envoy-…` headers. The
    /// headers of callers outside the mesh are ignored. A gRPC request takes no longer than its
    /// `grpc-timeout`, whoever calls.
    pub(crate) fn of(action: &ForwardAction, via: &Via<'_>, request: &RequestHead<'_>) -> Self {
        let requested = |name| {
            let headers = (via.caller != CallerKey::EDGE).then_some(request.headers);
            headers.and_then(|headers| milliseconds(headers, name))
        };
        let route = match requested("x-envoy-upstream-rq-timeout-ms") {
            Some(timeout) => Some(timeout).filter(|timeout| !timeout.is_zero()),
            None => shorter(grpc::timeout(request.headers), action.timeout),
        };
        let per_try = requested("x-envoy-upstream-rq-per-try-timeout-ms")
            .filter(|timeout| !timeout.is_zero())
            .or(action.retry.per_try_timeout);
        Self {
            route,
            // An attempt that may take longer than all attempts together has no limit of
            // its own.
            per_try: per_try.filter(|per_try| route.is_none_or(|route| *per_try < route)),
        }
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

fn milliseconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    headers
        .get(name)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_millis)
}

fn no_port(host: &VirtualHost, request: &RequestHead<'_>) -> LocalReply {
    let ports: Vec<String> = host
        .ports
        .iter()
        .flatten()
        .map(|port| port.to_string())
        .collect();
    LocalReply::blocked(format!(
        "{} has no port {}; its ports: {}",
        host.domain,
        request.port(),
        ports.join(", ")
    ))
}

/// The reply to a call to a host that the caller's Sidecar hides.
fn hidden(sidecar: &ObjectRef, request: &RequestHead<'_>) -> LocalReply {
    LocalReply::blocked(format!(
        "the Sidecar {} does not contain {}:{}; its namespace and full name in egress.hosts would \
         allow it",
        sidecar.qualified_name(),
        request.host(),
        request.port()
    ))
}

/// The reply to a call to an undeclared host. Its details name the ServiceEntry that would
/// allow it.
fn undeclared(request: &RequestHead<'_>) -> LocalReply {
    let (host, port) = (request.host(), request.port());
    let protocol = match request.scheme {
        "tcp" => "TCP",
        scheme if scheme.eq_ignore_ascii_case("https") => "HTTPS",
        _ => "HTTP",
    };
    let name = protocol.to_ascii_lowercase();
    LocalReply::blocked(format!(
        "no Service and no ServiceEntry declares {host}:{port}; a ServiceEntry with \
         hosts: [{host}], ports: [{{number: {port}, name: {name}, protocol: {protocol}}}], \
         resolution: DNS would allow it"
    ))
}

impl<'a> Via<'a> {
    pub(crate) fn context(&self, request: &'a RequestHead<'a>) -> MatchContext<'a> {
        MatchContext {
            request,
            port: self.port,
            workload: self.workload,
            principal: self.principal,
        }
    }
}
