//! The decision: listener, host, rule, destination.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use rand::Rng;

use super::condition::MatchContext;
use super::redirect;
use super::rule::{Action, ForwardAction};
use super::snapshot::{Snapshot, Via};
use super::virtual_host::{Matched, VirtualHost};
use crate::{
    Caller, CallerKey, Decided, Decision, Forward, LocalReply, OutboundPolicy, RequestHead,
};

/// What the host part of a request came to.
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
    /// Decides a request. Everything random about the route (the weighted
    /// choice, and the fault of a rule that answers itself) is decided here.
    pub fn route(
        &self,
        caller: Caller<'_>,
        request: &RequestHead<'_>,
        rng: &mut impl Rng,
    ) -> Decision {
        self.decide(caller, request, rng).decision
    }

    /// As [`Snapshot::route`], with the rule that took the request.
    pub fn decide(
        &self,
        caller: Caller<'_>,
        request: &RequestHead<'_>,
        rng: &mut impl Rng,
    ) -> Decided {
        let no_rule = |reply| Decided {
            decision: Decision::Reply(reply),
            route: None,
        };
        let via = self.via(caller, request);
        let found = match self.lookup(&via, request) {
            Lookup::Host(found) => found,
            Lookup::NotServed => return no_rule(LocalReply::no_route()),
            Lookup::NoPort(host) => return no_rule(no_port(host, request)),
            Lookup::Undeclared => match self.options().outbound_policy {
                OutboundPolicy::AllowAny => self.passthrough(),
                OutboundPolicy::RegistryOnly => return no_rule(undeclared(request)),
            },
        };
        if found.https_redirect {
            return no_rule(self.to_https(request));
        }
        match found.table.find(&via.context(request)) {
            Some(matched) => Decided {
                decision: decide(&matched, &via, request, rng),
                route: matched.rule.id.clone(),
            },
            None => no_rule(LocalReply::no_route()),
        }
    }

    pub(crate) fn to_https(&self, request: &RequestHead<'_>) -> LocalReply {
        match redirect::to_https(request, self.options().https_redirect_port) {
            Some(location) => LocalReply::https_redirect(&location),
            None => LocalReply::bad_request("invalid_authority"),
        }
    }
}

/// What the rule makes of the request: an answer, or a destination.
fn decide(
    matched: &Matched<'_>,
    via: &Via<'_>,
    request: &RequestHead<'_>,
    rng: &mut impl Rng,
) -> Decision {
    let rule = matched.rule;
    let reply = match &rule.action {
        Action::Forward(action) => {
            match rule.cors.as_ref().and_then(|cors| cors.preflight(request)) {
                Some(preflight) => preflight,
                None => match forward(matched, action, via, request, rng) {
                    Decision::Reply(reply) => with_headers(reply, matched, request),
                    decided @ Decision::Forward(_) => return decided,
                },
            }
        }
        Action::Redirect(redirect) => match redirect.location(request, via.port, matched.uri()) {
            Some(location) => {
                let reply = LocalReply::redirect(redirect.status, &location);
                with_headers(reply, matched, request)
            }
            None => LocalReply::bad_request("invalid_redirect"),
        },
        Action::Direct { status, body } => {
            let flags = crate::ResponseFlags::NONE;
            let reply = LocalReply::new(*status, flags, body.clone(), "direct_response");
            with_headers(reply, matched, request)
        }
    };
    let abort = rule
        .fault
        .as_ref()
        .and_then(|fault| fault.plan(rng).abort)
        .map(|abort| with_headers(abort, matched, request));
    Decision::Reply(abort.unwrap_or(reply))
}

/// What the mesh answers itself gets the rule's header operations and CORS
/// headers too, or a browser could not read it.
fn with_headers(
    mut reply: LocalReply,
    matched: &Matched<'_>,
    request: &RequestHead<'_>,
) -> LocalReply {
    let mut headers: HeaderMap = reply.headers.into_iter().collect();
    if let Some(cors) = &matched.rule.cors {
        cors.apply(request.headers.get(http::header::ORIGIN), &mut headers);
    }
    matched.rule.response_headers.apply(&mut headers);
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    reply.headers = pairs.collect();
    reply
}

fn forward(
    matched: &Matched<'_>,
    action: &ForwardAction,
    via: &Via<'_>,
    request: &RequestHead<'_>,
    rng: &mut impl Rng,
) -> Decision {
    let number = action.split(rng).unwrap_or(0);
    let Some(destination) = action.destinations.get(number) else {
        return Decision::Reply(LocalReply::no_route());
    };
    let cluster = match destination.cluster.for_port(via.port) {
        Ok(cluster) => Arc::clone(cluster),
        Err(missing) => return Decision::Reply(matched.rule.no_cluster(missing)),
    };
    // Only callers inside may steer the proxy; the edge ignores these headers.
    let asked = |name| {
        let headers = (via.caller != CallerKey::EDGE).then_some(request.headers);
        headers.and_then(|headers| milliseconds(headers, name))
    };
    let timeout = match asked("x-envoy-upstream-rq-timeout-ms") {
        Some(timeout) => Some(timeout).filter(|timeout| !timeout.is_zero()),
        None => action.timeout,
    };
    let per_try = asked("x-envoy-upstream-rq-per-try-timeout-ms");
    let per_try = per_try
        .filter(|timeout| !timeout.is_zero())
        .or(action.retry.per_try_timeout);
    Decision::Forward(Forward {
        cluster,
        caller: via.caller,
        timeout,
        // A try that may take longer than all tries together has no limit of its own.
        per_try_timeout: per_try.filter(|per_try| timeout.is_none_or(|timeout| *per_try < timeout)),
        rule: Arc::clone(matched.rule),
        block: matched.block,
        destination: number,
        port: via.port,
        set_cookie: None,
    })
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

pub(crate) fn no_port(host: &VirtualHost, request: &RequestHead<'_>) -> LocalReply {
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

/// The reply to a call of a host that nothing declares, with what would allow it.
pub(crate) fn undeclared(request: &RequestHead<'_>) -> LocalReply {
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
        }
    }
}
