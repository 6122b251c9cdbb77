//! The destination's side of a call: the only way into a pod of this process.
//!
//! Whoever calls (a client, a guest, another host), the destination decides first
//! whether it accepts the request (`galleria_mesh::inbound`). Probes and
//! `kubectl port-forward` do not pass through here: in a cluster they bypass the
//! sidecar too.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use galleria_mesh::inbound::external::ExtAuthzProvider;
use galleria_mesh::inbound::peer::Connection;
use galleria_mesh::inbound::{
    InboundPolicies, InboundRequest, Peer, RequestPrincipal, authorization, network, peer,
};
use galleria_mesh::rate_limit::{LimitHeaders, LimitedRequest};
use galleria_mesh::{LocalReply, RequestHead};
use http::{HeaderValue, header};
use opentelemetry::trace::SpanKind;

use super::external::{self, Allowed};
use super::key_sets::authenticate;
use super::{CallScope, PeerRefusal, Source, authority, normalise, observe, rate_limit};
use crate::active_config::ActiveConfig;
use crate::context::{DENIED, Recording, RequestContext};
use crate::guest::Failure;
use crate::telemetry::trace::{Service, Span, attributes};
use crate::workload::{InFlight, Pod};
use crate::{Request, Response, body};

/// A pod of this process that is called.
pub(super) struct Inbound<'a, 'b> {
    pub(super) scope: &'a CallScope<'b>,
    /// The snapshot that has the pod.
    pub(super) live: &'a ActiveConfig,
    pub(super) pod: &'a Arc<Pod>,
    /// The pod's own.
    pub(super) port: u16,
    /// That of the cluster.
    pub(super) connect_timeout: Duration,
    /// How the caller connects.
    pub(super) connection: Connection,
}

/// Why there is no response.
pub(super) enum InboundError {
    /// The destination does not accept the request.
    Denied(LocalReply),
    Failed(Failure),
}

impl Inbound<'_, '_> {
    /// Calls the pod's guest. Its span is put into `span`.
    ///
    /// # Errors
    /// See [`InboundError`].
    pub(super) async fn call(
        &self,
        mut request: Request,
        context: RequestContext,
        span: &mut Option<Span>,
    ) -> Result<(Response, InFlight), InboundError> {
        let destination = &self.pod.plan.identity;
        let mut allowed = None;
        let mut limits = LimitHeaders::new();
        if let Some(policies) = self.live.snapshot.inbound_policies(destination) {
            let denied = InboundError::Denied;
            self.admit_connection(policies).await.map_err(denied)?;
            if !policies.rate_limits().is_empty() {
                let limited = Box::pin(self.limit(policies, &mut request)).await;
                limits = limited.map_err(denied)?;
            }
            // Boxed, since most workloads have no policies.
            let decided = Box::pin(self.decide(policies, &mut request)).await;
            allowed = decided.map_err(denied)?;
        }
        let context = self.within_span(&request, context, span);
        context.trace.inject(request.headers_mut());
        let in_flight = self.pod.enter();
        let served = self.pod.serve(with_host(request), Arc::new(context));
        match served.await {
            Ok(mut response) => {
                if let Source::Host { .. } = self.scope.source {
                    // Only the host says this, not its guest.
                    response.headers_mut().remove(DENIED);
                }
                if let Some(allowed) = allowed {
                    let headers = response.headers_mut();
                    allowed.mutations.apply_response(headers);
                }
                for (name, value) in limits {
                    response.headers_mut().insert(name, value);
                }
                Ok((response, in_flight))
            }
            Err(failure) => Err(InboundError::Failed(failure)),
        }
    }

    /// The first stage of the destination: its NetworkPolicies.
    async fn admit_connection(&self, policies: &InboundPolicies) -> Result<(), LocalReply> {
        if !policies.network().governs_ingress() {
            return Ok(());
        }
        let (source, destination) = (self.scope.source, &self.pod.plan.identity);
        let (mut caller, address) = (source.peer(), source.address());
        if let Source::Host {
            is_proven: false, ..
        } = source
            && self.scope.mesh.identities.is_shared()
        {
            // With an authority, hosts prove who calls. One that only says so is believed no
            // more than its address.
            caller = caller.unproven();
        }
        match network::decide(policies, destination, self.port, &caller, address) {
            Ok(()) => Ok(()),
            Err(denial) => {
                let denials = &self.scope.mesh.network_denials;
                let reply = denials.deny(*denial, self.connect_timeout).boxed();
                let mut reply = reply.await;
                if let Source::Host { .. } = source
                    && let Ok(details) = HeaderValue::from_str(&reply.details)
                {
                    reply.headers.push((DENIED, details));
                }
                Err(reply)
            }
        }
    }

    /// Applies the workload's rate limits. Returns headers for the response.
    async fn limit(
        &self,
        policies: &InboundPolicies,
        request: &mut Request,
    ) -> Result<LimitHeaders, LocalReply> {
        let peer = self.scope.source.peer();
        let remote_ip = match &peer {
            Peer::Client { ip, .. } | Peer::Forwarded(ip) => Some(*ip),
            _ => self.scope.source.address(),
        };
        let limited = LimitedRequest {
            head: self.inbound(request, &peer, None)?.head,
            port: self.port,
            remote_ip,
            route: None,
        };
        let (limits, destination) = (policies.rate_limits(), &self.pod.plan.identity);
        let granted = rate_limit::take(self.scope, limits, &limited, destination);
        let granted = granted.await?;
        request.headers_mut().extend(granted.request);
        Ok(granted.response)
    }

    /// Runs the other stages of the destination (see `galleria_mesh::inbound`), in order.
    /// Returns the changes of a service of external authorization.
    async fn decide(
        &self,
        policies: &InboundPolicies,
        request: &mut Request,
    ) -> Result<Option<Box<Allowed>>, LocalReply> {
        let destination = &self.pod.plan.identity;
        // A rewrite can make a path that is not normalised, and policies must see the same
        // path as the guest.
        normalise(request.uri_mut())?;
        let caller = self.scope.source.peer();
        let connection = self.connection();
        let caller = match peer::proves_identity(policies, self.port, connection) {
            true => caller,
            false => caller.unproven(),
        };
        let inbound = self.inbound(request, &caller, None)?;
        let accepted = peer::decide(policies, &inbound, connection);
        accepted.inspect_err(|reply| self.report_plain_text(reply))?;
        let mut allowed = None;
        if let Some(provider) = external::find_provider(policies, &inbound)? {
            // Boxed, since most requests are not for a provider.
            allowed = Some(Box::pin(self.ask(provider, request, &caller)).await?);
        }
        let inbound = self.inbound(request, &caller, None)?;
        let mesh = self.scope.mesh;
        let authenticated = authenticate(mesh, destination, policies, &inbound).await?;
        authenticated.apply_headers(request.headers_mut());
        authenticated.apply_query(request.uri_mut());
        let principal = authenticated.principal;
        let inbound = self.inbound(request, &caller, principal.as_deref())?;
        observe::report(&mesh.metrics, policies, &inbound);
        authorization::decide(policies, &inbound)?;
        Ok(allowed)
    }

    /// Asks a service of external authorization, and changes the request as it says.
    async fn ask(
        &self,
        provider: &ExtAuthzProvider,
        request: &mut Request,
        caller: &Peer,
    ) -> Result<Box<Allowed>, LocalReply> {
        let mut body = std::mem::replace(request.body_mut(), body::empty());
        let (inbound, workload) = (
            self.inbound(request, caller, None)?,
            &self.pod.plan.identity,
        );
        let asked = external::authorize(self.scope, provider, &inbound, workload, &mut body);
        let allowed = asked.await?;
        *request.body_mut() = body;
        allowed.mutations.apply_headers(request.headers_mut());
        allowed.mutations.apply_query(request.uri_mut());
        Ok(Box::new(allowed))
    }

    /// How the caller connects: a workload without a sidecar has no mutual TLS.
    fn connection(&self) -> Connection {
        match self.scope.source {
            Source::Workload(caller, _) if !self.live.snapshot.is_member(caller) => {
                Connection::PlainText
            }
            _ => self.connection,
        }
    }

    /// Reports that a connection from outside of the process is not accepted. This is for a
    /// policy that became strict while it was open: others are closed before any request.
    fn report_plain_text(&self, reply: &LocalReply) {
        if let Source::Host { address, .. }
        | Source::Edge {
            through_gateway: false,
            client: address,
            ..
        } = self.scope.source
        {
            let refusals = &self.scope.mesh.peer_refusals;
            refusals.report(PeerRefusal::PlainText, address, &reply.details);
        }
    }

    fn inbound<'r>(
        &'r self,
        request: &'r Request,
        peer: &'r Peer,
        principal: Option<&'r RequestPrincipal>,
    ) -> Result<InboundRequest<'r>, LocalReply> {
        let (uri, headers) = (request.uri(), request.headers());
        Ok(InboundRequest {
            destination: &self.pod.plan.identity,
            port: self.port,
            peer,
            head: RequestHead {
                method: request.method(),
                scheme: uri.scheme_str().unwrap_or("http"),
                authority: authority(uri, headers)?,
                path: uri.path(),
                query: uri.query(),
                headers,
                source_ip: self.scope.source.address(),
            },
            principal,
        })
    }

    /// `context` within a new span of the guest.
    fn within_span(
        &self,
        request: &Request,
        context: RequestContext,
        guest: &mut Option<Span>,
    ) -> RequestContext {
        let tracer = &self.scope.mesh.tracer;
        let identity = &self.pod.plan.identity;
        let service = Service::Workload(identity.clone());
        let name = request.method().to_string();
        let span = tracer.span(&context.trace, service.clone(), SpanKind::Server, name);
        let Some(mut span) = span else {
            return context;
        };
        span.set(attributes::HTTP_METHOD, request.method().to_string());
        span.set(attributes::URL_PATH, request.uri().path().to_owned());
        span.set(attributes::POD, self.pod.name.clone());
        span.set(
            attributes::CANONICAL_SERVICE,
            identity.canonical_service.clone(),
        );
        span.set(
            attributes::CANONICAL_REVISION,
            identity.canonical_revision.clone(),
        );
        span.set(attributes::ISTIO_NAMESPACE, identity.namespace.clone());
        span.set(attributes::MESH_ID, identity.trust_domain.to_string());
        span.set(attributes::CLUSTER_ID, "Kubernetes");
        let trace = span.within(&context.trace);
        *guest = Some(span);
        let tracer = tracer.clone();
        RequestContext {
            trace,
            recording: Some(Recording { tracer, service }),
            ..context
        }
    }
}

/// A guest sees the requested host in `host`.
fn with_host(mut request: Request) -> Request {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    request
}
