//! Authorization in an explanation: at the gateway, and at each workload that a request can
//! reach, for the caller that [`super::authentication`] finds.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use galleria_manifest::model::Attribute;

use super::authentication::{authenticate, token};
use super::reply_step;
use super::steps::{DestinationStep, Explanation, TokenStep};
use crate::decide::snapshot::Via;
use crate::decide::virtual_host::RouteMatch;
use crate::inbound::authorization::AuthorizationStep;
use crate::inbound::jwt::TokenTime;
use crate::inbound::{InboundRequest, Peer};
use crate::{Caller, Cluster, LocalReply, RequestHead, Snapshot, Target, Workload};

/// A request to the destinations of the rule that matches it.
pub(super) struct InboundSide<'a> {
    pub(super) matched: &'a RouteMatch<'a>,
    pub(super) via: &'a Via<'a>,
    pub(super) caller: Caller<'a>,
    pub(super) request: &'a RequestHead<'a>,
    pub(super) time: TokenTime,
}

impl Snapshot {
    /// What the gateway makes of the request's token, and what its policies decide.
    pub(super) fn gateway_steps(
        &self,
        via: &Via<'_>,
        request: &RequestHead<'_>,
        time: TokenTime,
    ) -> (Option<TokenStep>, Option<AuthorizationStep>) {
        if via.workload.is_some() {
            return (None, None);
        }
        let Some(policies) = self.gateway_policies(via.port, request.host()) else {
            return (None, None);
        };
        let inbound = InboundRequest {
            destination: self.gateway_workload(),
            port: via.port,
            peer: &Peer::Unknown,
            head: *request,
            principal: None,
        };
        let (token, principal) = token(policies, &inbound, time);
        let inbound = InboundRequest {
            principal: principal.as_deref(),
            ..inbound
        };
        let step = AuthorizationStep::new("gateway".into(), policies, &inbound);
        (token, step)
    }

    /// The decisions of each workload that can get the request and has policies.
    pub(super) fn explain_inbound(&self, side: &InboundSide<'_>, explanation: &mut Explanation) {
        let InboundSide {
            matched,
            via,
            request,
            ..
        } = side;
        let peer = match side.caller {
            Caller::Workload(workload) if !self.is_member(workload) => Peer::Unknown,
            Caller::Workload(workload) => Peer::Workload(Arc::clone(workload)),
            Caller::Edge { listener_port } => Peer::Client {
                listener_port,
                ip: request
                    .source_ip
                    .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            },
        };
        let Some(action) = matched.rule.forward_action() else {
            return;
        };
        for (number, step) in explanation.destinations.iter_mut().enumerate() {
            let Some(destination) = action.destinations.get(number) else {
                continue;
            };
            let Ok(cluster) = destination.cluster.for_port(via.port) else {
                continue;
            };
            let Ok(forward) = matched.forward(number, via, request) else {
                continue;
            };
            let Some(mut parts) = parts(request) else {
                continue;
            };
            // The destination sees the changes of the route.
            forward.apply_request(&mut parts);
            let authority = parts.uri.authority().map(http::uri::Authority::as_str);
            let changed = RequestHead {
                method: &parts.method,
                scheme: request.scheme,
                authority: authority.unwrap_or(request.authority),
                path: parts.uri.path(),
                query: parts.uri.query(),
                headers: &parts.headers,
                source_ip: request.source_ip,
            };
            self.admit(cluster, &peer, &changed, side.time, step);
        }
    }

    /// The decisions of each workload of `cluster` that has policies.
    fn admit(
        &self,
        cluster: &Cluster,
        peer: &Peer,
        request: &RequestHead<'_>,
        time: TokenTime,
        step: &mut DestinationStep,
    ) {
        let mut seen: Vec<&Arc<Workload>> = Vec::new();
        for endpoint in cluster.endpoints() {
            let Some(workload) = &endpoint.workload else {
                continue;
            };
            if seen.iter().any(|it| Arc::ptr_eq(it, workload)) {
                continue;
            }
            seen.push(workload);
            let port = match &endpoint.target {
                Target::Pod { port, .. } => *port,
                Target::Peer { port, .. } | Target::Remote { port, .. } => *port,
                Target::AnyPort { .. } | Target::Requested => cluster.port,
            };
            let Some(policies) = self.inbound_policies(workload) else {
                continue;
            };
            let inbound = InboundRequest {
                destination: workload,
                port,
                peer,
                head: *request,
                principal: None,
            };
            let name = format!("{}/{}", workload.namespace, workload.name);
            let tls = cluster.tls.as_ref().map(|tls| tls.mode);
            let authenticated = authenticate(&name, policies, &inbound, tls, time);
            step.authentication.extend(authenticated.step);
            let inbound = InboundRequest {
                peer: &authenticated.peer,
                principal: authenticated.principal.as_deref(),
                ..inbound
            };
            let authorized = AuthorizationStep::new(name, policies, &inbound);
            step.authorization.extend(authorized);
        }
    }
}

/// The head of the request, to be changed; `None` if it is not valid.
fn parts(request: &RequestHead<'_>) -> Option<http::request::Parts> {
    let RequestHead {
        scheme,
        authority,
        path,
        ..
    } = request;
    let query = request.query.map(|query| format!("?{query}"));
    let uri = format!("{scheme}://{authority}{path}{}", query.unwrap_or_default());
    let empty = http::Request::builder()
        .method(request.method)
        .uri(uri)
        .body(());
    let (mut parts, ()) = empty.ok()?.into_parts();
    parts.headers = request.headers.clone();
    Some(parts)
}

impl Explanation {
    /// A gateway that denies the request answers before any rule.
    pub(super) fn denied_at_gateway(&mut self) {
        let Some(step) = self.authorization.as_ref().filter(|step| !step.allowed) else {
            return;
        };
        let mut reply = LocalReply::access_denied("");
        reply.details = step.details.clone().unwrap_or_default().into();
        self.reply = Some(reply_step(&reply));
        self.action = "deny".into();
    }
}

/// The name of an attribute in a policy.
pub(crate) fn attribute_name(attribute: &Attribute) -> String {
    match attribute {
        Attribute::SourcePrincipal => "source.principal".into(),
        Attribute::SourceNamespace => "source.namespace".into(),
        Attribute::SourceServiceAccount => "source.serviceAccount".into(),
        Attribute::SourceTrustDomain => "source.trustDomain".into(),
        Attribute::SourceIp => "source.ip".into(),
        Attribute::RemoteIp => "remote.ip".into(),
        Attribute::RequestPrincipal => "request.auth.principal".into(),
        Attribute::RequestAudiences => "request.auth.audiences".into(),
        Attribute::RequestPresenter => "request.auth.presenter".into(),
        Attribute::RequestHeader(name) => format!("header {name}"),
        Attribute::RequestClaim(names) => format!("claim {}", names.join(".")),
        Attribute::Host => "host".into(),
        Attribute::Method => "method".into(),
        Attribute::Path => "path".into(),
        Attribute::DestinationPort => "destination.port".into(),
        Attribute::DestinationIp => "destination.ip".into(),
        Attribute::ConnectionSni => "connection.sni".into(),
        Attribute::EnvoyFilter(key) => key.clone(),
    }
}
