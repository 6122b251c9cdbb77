//! One attempt at one endpoint.

use std::time::{Duration, Instant};

use futures::FutureExt;
use galleria_mesh as mesh;
use galleria_mesh::grpc::limit_timeout;
use galleria_mesh::inbound::network::{NetworkDenial, NetworkPolicies};
use galleria_mesh::{LocalReply, Outcome, PickedEndpoint, RefusedAddress, ResponseFlags, Target};
use http::{HeaderMap, HeaderValue, Uri, request};
use opentelemetry::trace::SpanKind;
use tokio::time::timeout;

use super::call_log::CallLog;
use super::inbound::{Inbound, InboundError};
use super::peer_transport::peer_transport;
use super::{ATTEMPT_COUNT, CallScope, UPSTREAM_TIME};
use crate::active_config::ActiveConfig;
use crate::causes::with_causes;
use crate::context::{DENIED, RequestContext};
use crate::guest::Failure;
use crate::remote::{RemoteError, RemoteTarget};
use crate::telemetry::access_log::millis;
use crate::telemetry::trace::{Span, attributes};
use crate::workload::InFlight;
use crate::{Body, Request, Response};

pub(super) struct Attempt<'a, 'b> {
    pub(super) scope: &'a CallScope<'b>,
    /// The snapshot that has the cluster.
    pub(super) live: &'a ActiveConfig,
    pub(super) cluster: &'a mesh::Cluster,
    /// How long this attempt can take.
    pub(super) per_try_timeout: Option<Duration>,
    /// When the call must have ended.
    pub(super) deadline: Option<Instant>,
    /// 1 for the first.
    pub(super) number: u32,
}

/// The spans of an attempt. They end with the body of its response.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// Of the guest; it ends before that of the attempt.
    guest: Option<Span>,
    attempt: Option<Span>,
}

/// How an attempt ended.
pub(super) enum AttemptResult {
    Response(Response, Option<InFlight>, Spans),
    /// The destination does not accept the request.
    Denied(LocalReply),
    /// No response. The reply is used if this is the last attempt.
    Failed(mesh::Failure, LocalReply),
}

/// What the endpoint returned.
enum EndpointResult {
    Response(Response, Option<InFlight>),
    Denied(LocalReply),
    Failed {
        failure: mesh::Failure,
        reply: LocalReply,
        /// Why the connection to another host failed.
        transport: Option<String>,
    },
}

impl EndpointResult {
    fn failed(failure: mesh::Failure) -> Self {
        Self::failed_with(failure, LocalReply::for_failure(failure))
    }

    /// A response with 1xx is only a part of one: nothing asks for an upgrade.
    fn checked(self) -> Self {
        match &self {
            Self::Response(response, _) if response.status().is_informational() => {
                let reply = LocalReply::upstream_protocol_error();
                Self::failed_with(mesh::Failure::Reset, reply)
            }
            _ => self,
        }
    }

    /// With a reply that is more precise than that of the failure.
    fn failed_with(failure: mesh::Failure, reply: LocalReply) -> Self {
        Self::Failed {
            failure,
            reply,
            transport: None,
        }
    }
}

impl Attempt<'_, '_> {
    pub(super) async fn run(
        &self,
        picked: &PickedEndpoint,
        mut parts: request::Parts,
        body: Body,
        call_log: &mut CallLog,
    ) -> AttemptResult {
        let mut spans = Spans {
            guest: None,
            attempt: self.span(picked, &parts),
        };
        parts
            .headers
            .insert(ATTEMPT_COUNT, HeaderValue::from(self.number));
        let started = Instant::now();
        let per_try = self.per_try_timeout;
        let remaining = self
            .deadline
            .map(|it| it.saturating_duration_since(started));
        if let Some(limit) = remaining.into_iter().chain(per_try).min() {
            limit_timeout(&mut parts.headers, limit);
        }
        let request = Request::from_parts(parts, body);
        let sent = self.send(picked, request, &mut spans);
        let sent = match per_try {
            None => sent.await,
            Some(limit) => timeout(limit, sent).await.unwrap_or_else(|_| {
                let reply = LocalReply::upstream_per_try_timeout();
                EndpointResult::failed_with(mesh::Failure::Timeout, reply)
            }),
        };
        let sent = sent.checked();
        spans.describe(&sent);
        match sent {
            EndpointResult::Response(mut response, in_flight) => {
                let took = started.elapsed();
                call_log.record.upstream_time = Some(took);
                call_log.pods_were_full = false;
                response
                    .headers_mut()
                    .insert(UPSTREAM_TIME, HeaderValue::from(millis(took)));
                AttemptResult::Response(response, in_flight, spans)
            }
            EndpointResult::Denied(reply) => {
                call_log.pods_were_full = false;
                AttemptResult::Denied(reply)
            }
            EndpointResult::Failed {
                failure,
                reply,
                transport,
            } => {
                call_log.record.transport_failure = transport;
                call_log.pods_were_full = reply.flags.contains(ResponseFlags::UO);
                AttemptResult::Failed(failure, reply)
            }
        }
    }

    /// The span of this attempt; None for a request from another host, which has the
    /// span.
    fn span(&self, picked: &PickedEndpoint, parts: &request::Parts) -> Option<Span> {
        let CallScope {
            mesh,
            context,
            source,
            ..
        } = self.scope;
        if context.from_peer {
            return None;
        }
        let service = source.service();
        let name = parts.method.to_string();
        let mut span = mesh
            .tracer
            .span(&context.trace, service, SpanKind::Client, name)?;
        span.set(attributes::HTTP_METHOD, parts.method.to_string());
        span.set(attributes::SERVER_ADDRESS, picked.endpoint.name.clone());
        span.set(
            attributes::URL_FULL,
            attempt_url(&picked.endpoint, &parts.uri),
        );
        span.set(attributes::UPSTREAM_CLUSTER, self.cluster.name.clone());
        if self.number > 1 {
            span.set(attributes::HTTP_RESEND_COUNT, i64::from(self.number - 1));
        }
        Some(span)
    }

    /// The context that the endpoint gets: one hop further, within the span of this
    /// attempt or a span that is not recorded.
    fn context(&self, spans: &Spans) -> RequestContext {
        let context = self.scope.context;
        RequestContext {
            trace: match &spans.attempt {
                Some(span) => span.within(&context.trace),
                None if context.from_peer => context.trace.clone(),
                None => context.trace.child(),
            },
            hops: context.hops + 1,
            from_peer: false,
            ..RequestContext::clone(context)
        }
    }

    async fn send(
        &self,
        picked: &PickedEndpoint,
        request: Request,
        spans: &mut Spans,
    ) -> EndpointResult {
        let context = self.context(spans);
        let policies = self.scope.caller_policies(self.live);
        if let (Some(workload), Some(port)) = (&picked.endpoint.workload, picked.endpoint.pod_port)
            && let Err(denial) = policies.egress(workload, port)
        {
            return self.deny(*denial).await;
        }
        match &picked.endpoint.target {
            Target::Pod { target, port } => {
                let Some(pod) = self.live.pod(*target) else {
                    return EndpointResult::failed(mesh::Failure::ConnectFailure);
                };
                let inbound = Inbound {
                    scope: self.scope,
                    live: self.live,
                    pod,
                    port: *port,
                    connect_timeout: self.cluster.connect_timeout,
                    connection: self.scope.source.connection(self.cluster),
                };
                match inbound.call(request, context, &mut spans.guest).await {
                    Ok((response, in_flight)) => {
                        EndpointResult::Response(response, Some(in_flight))
                    }
                    Err(InboundError::Denied(reply)) => EndpointResult::Denied(reply),
                    Err(InboundError::Failed(failure)) => failed(&failure),
                }
            }
            Target::Peer { host, port } => {
                let request = context.for_peer(&self.scope.source.peer(), request);
                // Boxed for the same reason as the future in `send_remote`.
                let transport = peer_transport(self, &picked.endpoint).map(Box::new);
                let Some(transport) = transport else {
                    return EndpointResult::failed(mesh::Failure::ConnectFailure);
                };
                let target = RemoteTarget::Peer {
                    host,
                    port: *port,
                    transport: &transport,
                };
                match self.send_remote(target, request, &context).await {
                    Ok(EndpointResult::Response(response, in_flight)) => {
                        denied_by_peer(response.headers())
                            .unwrap_or(EndpointResult::Response(response, in_flight))
                    }
                    Ok(result) => result,
                    Err(_) => EndpointResult::failed(mesh::Failure::ConnectFailure),
                }
            }
            Target::Remote { host, port } => {
                let endpoint = &picked.endpoint;
                let server = (host.as_str(), *port);
                self.send_outside(endpoint, server, request, &context, &policies)
                    .boxed()
                    .await
            }
            Target::AnyPort { host } => {
                let default = match request.uri().scheme_str() {
                    Some("https") => 443,
                    _ => 80,
                };
                let port = request.uri().port_u16().unwrap_or(default);
                let server = (host.as_str(), port);
                self.send_outside(&picked.endpoint, server, request, &context, &policies)
                    .boxed()
                    .await
            }
            Target::Requested => {
                let host = request.uri().host().unwrap_or_default().to_owned();
                let port = request.uri().port_u16().unwrap_or(self.cluster.port);
                let endpoint = &picked.endpoint;
                self.send_outside(endpoint, (&host, port), request, &context, &policies)
                    .boxed()
                    .await
            }
        }
    }

    /// Sends the request to a server outside the mesh, at one of the addresses that the
    /// manifests and the caller's NetworkPolicies allow.
    async fn send_outside(
        &self,
        endpoint: &mesh::Endpoint,
        (host, port): (&str, u16),
        request: Request,
        context: &RequestContext,
        policies: &NetworkPolicies,
    ) -> EndpointResult {
        let cluster = self.cluster;
        let addresses = cluster.address_rules(endpoint, host, port, policies);
        let target = RemoteTarget::Outside {
            host,
            port,
            addresses: &addresses,
        };
        match self.send_remote(target, request, context).await {
            Ok(result) => result,
            Err(RefusedAddress::NotPublic(address)) => {
                EndpointResult::Denied(LocalReply::private_address(host, address))
            }
            Err(RefusedAddress::NetworkPolicy) => match policies.egress_denial(host, port) {
                Some(denial) => self.deny(*denial).await,
                None => EndpointResult::failed(mesh::Failure::ConnectFailure),
            },
        }
    }

    async fn deny(&self, denial: NetworkDenial) -> EndpointResult {
        let denials = &self.scope.mesh.network_denials;
        let reply = denials.deny(denial, self.cluster.connect_timeout);
        let reply = reply.boxed().await;
        EndpointResult::Denied(reply)
    }

    /// Sends the request to another host.
    ///
    /// # Errors
    /// No address of the target may be used.
    async fn send_remote(
        &self,
        target: RemoteTarget<'_>,
        mut request: Request,
        context: &RequestContext,
    ) -> Result<EndpointResult, RefusedAddress> {
        context.trace.inject(request.headers_mut());
        let remote = &self.scope.mesh.remote;
        // Its future is large. Boxed, it does not enlarge those of calls within the process, which
        // are moved several times.
        let sent = Box::pin(remote.send(self.cluster, target, request)).await;
        match sent {
            Ok(response) => Ok(EndpointResult::Response(response, None)),
            Err(RemoteError::Address(refused)) => Err(refused),
            Err(error) => {
                let cluster = &self.cluster.name;
                if let RemoteTarget::Peer { .. } = target {
                    let refusals = &self.scope.mesh.peer_refusals;
                    refusals.report_tls(target, &error);
                }
                match &error {
                    RemoteError::Address(cause) => tracing::debug!(cluster, %cause, "{error}"),
                    RemoteError::Tls(cause) => tracing::warn!(cluster, %cause, "{error}"),
                    RemoteError::Connect(cause)
                    | RemoteError::Refused(cause)
                    | RemoteError::Request(cause) => {
                        tracing::debug!(cluster, endpoint = %target, cause, "{error}");
                    }
                }
                let failure = match error {
                    RemoteError::Connect(_) | RemoteError::Tls(_) | RemoteError::Address(_) => {
                        mesh::Failure::ConnectFailure
                    }
                    RemoteError::Refused(_) => mesh::Failure::Refused,
                    RemoteError::Request(_) => mesh::Failure::Termination,
                };
                Ok(EndpointResult::Failed {
                    failure,
                    reply: LocalReply::for_failure(failure),
                    transport: Some(with_causes(&error)),
                })
            }
        }
    }
}

impl Spans {
    fn describe(&mut self, sent: &EndpointResult) {
        let code = match sent {
            EndpointResult::Response(response, _) => response.status().as_u16(),
            EndpointResult::Denied(reply) => reply.status.as_u16(),
            EndpointResult::Failed { reply, .. } => {
                for span in self.both() {
                    span.fail(reply.details.clone());
                }
                return;
            }
        };
        for span in self.both() {
            span.set(attributes::HTTP_STATUS, i64::from(code));
            if code >= 500 {
                span.fail(code.to_string());
            }
        }
    }

    fn both(&mut self) -> impl Iterator<Item = &mut Span> {
        self.guest.iter_mut().chain(&mut self.attempt)
    }
}

impl AttemptResult {
    /// Makes this the response of the call. The endpoint is in use until its body ends.
    pub(super) fn finish(self, call_log: &mut CallLog) -> Result<Response, LocalReply> {
        match self {
            Self::Response(response, in_flight, spans) => {
                call_log.in_flight = in_flight;
                call_log.spans = spans;
                Ok(response)
            }
            Self::Denied(reply) | Self::Failed(_, reply) => Err(reply),
        }
    }
}

/// The denial that another host reports for its workload.
fn denied_by_peer(headers: &HeaderMap) -> Option<EndpointResult> {
    let details = headers.get(DENIED)?.to_str().ok()?.to_owned();
    let reply = LocalReply::network_policy_denied(details);
    Some(EndpointResult::Denied(reply))
}

/// For retries and outlier detection.
pub(super) fn outcome(answered: &AttemptResult) -> Outcome {
    match answered {
        AttemptResult::Failed(failure, _) => Outcome::failure(*failure),
        // A connection that is refused by policy says nothing about the endpoint, and would
        // be refused again.
        AttemptResult::Denied(reply) if reply.status.is_server_error() => Outcome::default(),
        AttemptResult::Denied(reply) => Outcome::response(reply.status),
        AttemptResult::Response(response, ..) => {
            let headers = response.headers();
            let grpc_status = headers
                .get("grpc-status")
                .and_then(|status| status.to_str().ok()?.parse().ok());
            Outcome {
                grpc_status,
                rate_limited: headers.contains_key("x-envoy-ratelimited"),
                ..Outcome::response(response.status())
            }
        }
    }
}

fn failed(failure: &Failure) -> EndpointResult {
    EndpointResult::failed(match failure {
        Failure::Overflow => mesh::Failure::Overflow,
        Failure::Start(_) => mesh::Failure::Refused,
        Failure::Deadline => mesh::Failure::Timeout,
        Failure::Stalled | Failure::Ousted => {
            // The client was too slow: as with an overflow, the endpoint is not at fault.
            return EndpointResult::failed_with(mesh::Failure::Overflow, LocalReply::stream_idle());
        }
        Failure::Trap(_)
        | Failure::OutOfMemory(_)
        | Failure::Evicted(_)
        | Failure::NoResponse(_)
        | Failure::Killed => mesh::Failure::Termination,
    })
}

/// The URL of an attempt, without its query, which may contain secrets.
fn attempt_url(endpoint: &mesh::Endpoint, uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let authority = match &endpoint.target {
        Target::Peer { host, port } | Target::Remote { host, port } => format!("{host}:{port}"),
        Target::Pod { .. } | Target::AnyPort { .. } | Target::Requested => uri
            .authority()
            .map_or(String::new(), |it| it.as_str().into()),
    };
    format!("{scheme}://{authority}{}", uri.path())
}

#[cfg(test)]
mod tests {
    use galleria_mesh::ResponseFlags;
    use http::StatusCode;

    use super::*;

    #[test]
    fn denial_is_a_response_of_the_endpoint() {
        let status = StatusCode::FORBIDDEN;
        let reply = LocalReply::new(status, ResponseFlags::NONE, "", "denied");
        assert_eq!(
            outcome(&AttemptResult::Denied(reply)),
            Outcome::response(status),
            "no failure, so it is not retried and ejects no endpoint"
        );
    }

    #[test]
    fn connection_that_policy_refuses_is_no_outcome_of_the_endpoint() {
        let denied = LocalReply::network_policy_denied("denied".to_owned());
        let private = LocalReply::blocked("private");
        for reply in [denied, private] {
            assert_eq!(outcome(&AttemptResult::Denied(reply)), Outcome::default());
        }
    }
}
