//! The only entry into the mesh.
//!
//! The edge and the guests call here; services cannot be reached in any other way. A
//! call is decided, delayed or aborted by faults, admitted, and attempted until its
//! response is final. `galleria-mesh` decides; this module carries out the decisions.
//! Every call produces one access log line and one count in the metrics, when the body
//! of its response has ended.

mod attempt;
mod call_log;
mod drive;
mod external;
mod gateway;
mod inbound;
mod key_sets;
mod mirror;
mod network;
mod observe;
mod overload;
mod passthrough;
mod peer_refusals;
mod peer_transport;
mod prebuffer;
mod provider_call;
mod rate_limit;
mod respond;
mod source;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use galleria_mesh as mesh;
use galleria_mesh::edge::join_cookies;
use galleria_mesh::inbound::network::NetworkPolicies;
use galleria_mesh::{Decision, LocalReply, RequestHead, ResponseFlags};
use http::{HeaderMap, HeaderName, StatusCode, Uri, header, request};
use opentelemetry::trace::SpanKind;

use crate::active_config::{ActiveConfig, ConfigHandle};
use crate::body::ByteCount;
use crate::context::{HOPS_MAX, RequestContext};
use crate::identity::Identities;
use crate::remote::RemoteClient;
use crate::telemetry::access_log::{AccessLog, RequestFacts, is_grpc};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::{Span, Tracer};
use crate::topology::Trust;
use crate::{Request, Response};
use call_log::{CallLog, Record};
use drive::Drive;
pub(crate) use key_sets::KeySets;
pub(crate) use network::NetworkDenials;
pub(crate) use overload::Overload;
pub(crate) use passthrough::PassedThrough;
pub(crate) use peer_refusals::{NO_SHARED_AUTHORITY, PeerRefusal, PeerRefusals};
use provider_call::SentAuthority;
pub(crate) use respond::respond;
pub(crate) use source::Source;

/// What all calls share.
pub(crate) struct Mesh {
    pub current: ConfigHandle,
    pub remote: RemoteClient,
    pub overload: Arc<Overload>,
    pub metrics: Arc<Metrics>,
    /// Whether the metrics count every call.
    pub counts_calls: bool,
    pub access_log: AccessLog,
    pub tracer: Tracer,
    /// Which callers are hosts of the mesh.
    pub trust: Arc<Trust>,
    /// Certificates that prove workloads to other hosts.
    pub identities: Arc<Identities>,
    pub peer_refusals: PeerRefusals,
    pub network_denials: NetworkDenials,
    /// The keys of the issuers of tokens.
    pub key_sets: KeySets,
}

/// A request to whatever it addresses.
pub(crate) struct Call {
    pub source: Source,
    pub request: Request,
    /// Bytes of the request's body that were read.
    pub received: ByteCount,
    /// The reply, if the head alone is reason to refuse the request.
    pub refusal: Option<LocalReply>,
    pub context: Arc<RequestContext>,
    /// How long the caller waits for the response head.
    pub timeout: Option<Duration>,
}

impl Mesh {
    /// Carries out a call. There is always a response: if no service returns one, the
    /// mesh replies with Envoy's status and flag for the case.
    pub(crate) async fn call(self: &Arc<Self>, call: Call) -> Response {
        let live = self.current.load();
        let span = self.span(&call);
        let context = with_span(span.as_ref(), call.context);
        let facts = (self.access_log.is_on() || span.is_some()).then(|| RequestFacts {
            scheme: match call.source.scheme(call.request.uri()) {
                "https" => "https",
                _ => "http",
            },
            server_name: call.source.server_name().cloned(),
            ..RequestFacts::of(&call.request, call.source.address())
        });
        let workload = call.source.workload();
        let (mut parts, body) = call.request.into_parts();
        join_cookies(&mut parts.headers);
        let record = Record::new(
            &parts.method,
            workload,
            context.clone(),
            facts,
            call.received,
        );
        let mut call_log = CallLog::new(self.clone(), record, span);
        let scope = CallScope {
            mesh: self,
            live: &live,
            source: &call.source,
            context: &context,
            timeout: call.timeout,
        };
        let (method, is_grpc) = (parts.method.clone(), is_grpc(&parts.headers));
        let response = match call.refusal {
            Some(reply) => Err(reply),
            None => scope.run(parts, body, &mut call_log).await,
        };
        let response = response.unwrap_or_else(|reply| answer(reply, is_grpc, &mut call_log));
        call_log.watch(&method, response)
    }

    /// The span of a call; None for a request from another host, which has the span.
    fn span(&self, call: &Call) -> Option<Span> {
        if call.context.from_peer {
            return None;
        }
        let service = call.source.service();
        let kind = call.source.span_kind();
        let name = call.request.method().to_string();
        self.tracer.span(&call.context.trace, service, kind, name)
    }
}

/// `context` within `span`.
fn with_span(span: Option<&Span>, context: Arc<RequestContext>) -> Arc<RequestContext> {
    match span {
        None => context,
        Some(span) => Arc::new(RequestContext {
            trace: span.within(&context.trace),
            ..RequestContext::clone(&context)
        }),
    }
}

/// One call, with the snapshot that it is decided on.
struct CallScope<'a> {
    mesh: &'a Arc<Mesh>,
    live: &'a Arc<ActiveConfig>,
    source: &'a Source,
    context: &'a Arc<RequestContext>,
    timeout: Option<Duration>,
}

impl CallScope<'_> {
    async fn run(
        &self,
        mut parts: request::Parts,
        mut body: crate::Body,
        call_log: &mut CallLog,
    ) -> Result<Response, LocalReply> {
        if self.context.hops > HOPS_MAX {
            return Err(LocalReply::new(
                StatusCode::LOOP_DETECTED,
                ResponseFlags::NONE,
                "services call each other in a loop",
                "call_depth_exceeded",
            ));
        }
        self.admit_client().await?;
        normalise(&mut parts.uri)?;
        let sent_authority = parts.extensions.remove::<SentAuthority>();
        let mut admitted = self.admit_at_gateway(&mut parts, &mut body).await?;
        let decided = {
            let head = admitted.routed(self.head(&parts)?);
            self.live.snapshot.decide_authenticated(
                self.source.as_caller(),
                &head,
                admitted.principal.as_deref(),
                &mut rand::rng(),
            )
        };
        call_log.record.matched(decided.route);
        let route = match &decided.decision {
            Decision::Forward(forward) => Some(forward.route_name()),
            Decision::Reply(_) => None,
        };
        let limited = self.limit_at_gateway(&mut parts, route, &mut admitted);
        limited.await?;
        match decided.decision {
            Decision::Reply(reply) => Err(reply),
            Decision::Forward(mut forward) => {
                forward.authority = sent_authority.map(|sent| sent.0);
                let connection = self.source.connection(&forward.cluster);
                call_log.record.forwarded(
                    self.live,
                    &forward.cluster,
                    connection,
                    forward.route_name(),
                );
                let origin = parts.headers.get(header::ORIGIN).cloned();
                let is_grpc = is_grpc(&parts.headers);
                let response = match self.source {
                    Source::Edge { .. } | Source::Host { .. } => {
                        let body = prebuffer::prebuffer(&mut parts, body).await;
                        match self.mesh.overload.admit(&forward.cluster.name).await {
                            Ok(admitted) => {
                                let drive = Drive::new(self, &mut forward, parts, body);
                                let answered = drive.run(call_log).await;
                                if call_log.pods_were_full {
                                    admitted.was_refused().await;
                                }
                                answered
                            }
                            Err(reply) => Err(reply),
                        }
                    }
                    Source::Workload(..) => {
                        let drive = Drive::new(self, &mut forward, parts, body);
                        drive.run(call_log).await
                    }
                };
                // The mesh's own replies get the route's headers too: without those of
                // CORS a browser could not read a failure.
                let (mut parts, body) = response
                    .unwrap_or_else(|reply| answer(reply, is_grpc, call_log))
                    .into_parts();
                forward.apply_response(origin.as_ref(), &mut parts);
                admitted.apply_response(&mut parts.headers);
                Ok(Response::from_parts(parts, body))
            }
        }
    }

    /// The NetworkPolicies of this host's gateway decide whether it accepts the client.
    async fn admit_client(&self) -> Result<(), LocalReply> {
        let Source::Edge {
            listener_port,
            connection: client,
            through_gateway: true,
            ..
        } = self.source
        else {
            return Ok(());
        };
        let policies = self.live.snapshot.gateway_network_policies();
        match policies.client(*client, *listener_port) {
            Ok(()) => Ok(()),
            Err(denial) => {
                let denials = &self.mesh.network_denials;
                Err(denials.deny(*denial, CONNECT_TIMEOUT).boxed().await)
            }
        }
    }

    /// The NetworkPolicies that govern the connections of this call's caller.
    fn caller_policies(&self, live: &ActiveConfig) -> NetworkPolicies {
        match self.source {
            Source::Workload(workload, _) => live.snapshot.network_policies(workload),
            Source::Edge {
                through_gateway: true,
                ..
            } => live.snapshot.gateway_network_policies().clone(),
            // The caller's own host has decided.
            Source::Edge { .. } | Source::Host { .. } => NetworkPolicies::default(),
        }
    }

    /// A span within this call.
    fn span(&self, name: &'static str) -> Option<Span> {
        let service = self.source.service();
        let trace = &self.context.trace;
        self.mesh
            .tracer
            .span(trace, service, SpanKind::Internal, name)
    }

    fn head<'p>(&self, parts: &'p request::Parts) -> Result<RequestHead<'p>, LocalReply> {
        Ok(RequestHead {
            method: &parts.method,
            scheme: self.source.scheme(&parts.uri),
            authority: authority(&parts.uri, &parts.headers)?,
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: &parts.headers,
            source_ip: self.source.calling_address(),
        })
    }
}

/// The authority of a request: in its URI, or in `host`.
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, LocalReply> {
    match uri.authority() {
        Some(authority) => Ok(authority.as_str()),
        None => headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .ok_or_else(|| LocalReply::bad_request("missing_host_header")),
    }
}

/// The mesh's own reply, in the caller's protocol.
fn answer(reply: LocalReply, is_grpc: bool, call_log: &mut CallLog) -> Response {
    call_log.record.replied(&reply);
    respond(if is_grpc { reply.for_grpc() } else { reply })
}

/// Replaces the path by its normalised form, which all conditions and policies see.
fn normalise(uri: &mut Uri) -> Result<(), LocalReply> {
    let path = match mesh::normalise_path(uri.path())? {
        std::borrow::Cow::Borrowed(path) if path == uri.path() => return Ok(()),
        path => path.into_owned(),
    };
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = std::mem::take(uri).into_parts();
    let parsed = path_and_query.parse();
    parts.path_and_query =
        Some(parsed.map_err(|_| LocalReply::bad_request("path_normalization_failed"))?);
    *uri =
        Uri::from_parts(parts).map_err(|_| LocalReply::bad_request("path_normalization_failed"))?;
    Ok(())
}

/// How long a client waits for a connection that its network drops.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const UPSTREAM_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
