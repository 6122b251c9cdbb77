//! Turns clients' requests into calls: removes headers that a client must not set
//! (`galleria_mesh::edge`), assigns identifiers, limits sizes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use galleria_manifest::model::GatewayTopology;
use galleria_mesh::edge::{
    Client, ClientConnection, append_client_certificate, remove_hop_by_hop,
    remove_hop_by_hop_of_request, sanitise, sanitise_trailers, settle_target,
};
use h2::Reason;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Uri, Version, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Limited};
use wasmtime_wasi_http::Error;

use crate::Response;
use crate::body::{AnyBody, AwaitsContinue, Count, RequestBody, RequestBodyError, Rest, empty};
use crate::call::{Call, Mesh, PeerRefusal, Source};
use crate::context::{HOPS, REQUEST_ID, RequestContext, request_id};
use crate::telemetry::trace::PropagatedHeaders;
use crate::tls::{Belongs, PeerSession, Session};
use galleria_mesh::inbound::{Peer, SpiffeId};
use galleria_mesh::{ConnectionReset, LocalReply, ResponseFlags};

/// Passes the requests of one listener to the mesh.
#[derive(Clone)]
pub(crate) struct Edge {
    pub mesh: Arc<Mesh>,
    /// As declared in the Gateway or Service; the pods' own if `inbound`.
    pub listener_port: u16,
    /// For other hosts of the mesh. Identifiers and context are theirs if their connection
    /// proves a workload of the mesh, or their address is trusted
    /// ([`Trust`](crate::topology::Trust)).
    pub inbound: bool,
    /// The largest request body in bytes (`--max-request-body`).
    pub request_body_max: u64,
    /// `--num-trusted-proxies`; by default, as the configuration of the mesh says.
    pub trusted_proxies: Option<u32>,
    /// `--proxy-protocol` has the port; otherwise, the configuration of the mesh decides.
    pub proxy_protocol: bool,
}

impl Edge {
    /// Serves one request of `client`.
    ///
    /// # Errors
    /// Another host called a pod that is not ready: the error says that processing has
    /// not started, so the other host can try another endpoint whatever the method. Or the
    /// workload does not accept the connection.
    pub(crate) async fn serve(
        self,
        request: http::Request<RequestBody>,
        client: SocketAddr,
    ) -> Result<Response, h2::Error> {
        let is_too_large = request.body().size_hint().lower() > self.request_body_max;
        let can_refuse = self.inbound && request.version() == Version::HTTP_2;
        let (mut parts, body) = request.into_parts();
        if parts.headers.contains_key(header::EXPECT) {
            parts.extensions.insert(AwaitsContinue);
        }
        let session = parts.extensions.remove::<Arc<Session>>();
        let peer = parts.extensions.remove::<Arc<PeerSession>>();
        let refusal = match parts.extensions.remove::<LocalReply>() {
            // By the listener, for its head.
            Some(refusal) => Some(refusal),
            None if is_too_large => Some(too_large()),
            None => settle_target(&mut parts)
                .err()
                .or_else(|| misdirected(&parts, session.as_deref()?)),
        };
        remove_hop_by_hop_of_request(&mut parts.headers);
        let (source, context) =
            self.source(&mut parts.headers, client.ip(), session, peer.as_deref());
        // The rest of a body that is refused is discarded: it is limited then.
        let limit = match is_too_large {
            true => u64::MAX,
            false => self.request_body_max,
        };
        let body = limited(body, limit, matches!(source, Source::Edge { .. }));
        let (body, received) = Count::boxed(body, Rest::of_client(&parts));
        let call = Call {
            source,
            request: http::Request::from_parts(parts, body),
            received,
            refusal,
            context: Arc::new(context),
            timeout: None,
        };
        let mut response = self.mesh.call(call).await;
        if can_refuse && is_no_healthy_upstream(&response) {
            // Otherwise the call would be reported as one whose client disconnected.
            let _ = response.into_body().collect().await;
            return Err(Reason::REFUSED_STREAM.into());
        }
        if self.inbound && response.extensions().get::<ConnectionReset>().is_some() {
            let _ = response.into_body().collect().await;
            return Err(Reason::CONNECT_ERROR.into());
        }
        remove_hop_by_hop(response.headers_mut());
        Ok(response)
    }

    /// Reports a request of `client` whose head could not be parsed.
    pub(crate) async fn report_refused(&self, reply: LocalReply, client: SocketAddr) {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        // Envoy's sign of an unknown value.
        parts.method = Method::from_bytes(b"-").unwrap_or_default();
        parts.uri = Uri::from_static("-");
        let (source, context) = self.source(&mut parts.headers, client.ip(), None, None);
        let (body, received) = Count::boxed(empty(), Rest::Nothing);
        let call = Call {
            source,
            request: http::Request::from_parts(parts, body),
            received,
            refusal: Some(reply),
            context: Arc::new(context),
            timeout: None,
        };
        drop(self.mesh.call(call).await);
    }

    /// Who calls, and the context of the call. The headers are then those of a request
    /// within the mesh.
    fn source(
        &self,
        headers: &mut HeaderMap,
        address: IpAddr,
        session: Option<Arc<Session>>,
        peer: Option<&PeerSession>,
    ) -> (Source, RequestContext) {
        let listener_port = self.listener_port;
        let proven = peer.and_then(|peer| peer.id.as_ref());
        let forwarded = peer.and_then(|peer| peer.forwarded.as_ref());
        let host = |peer| Source::Host {
            listener_port,
            address,
            peer: self.mesh.current.load().resolve(peer),
            is_proven: proven.is_some(),
        };
        if let Some((context, claim)) = self.handed_over(headers, address, proven) {
            if let Some(forwarded) = forwarded {
                append_client_certificate(headers, forwarded);
            }
            return (host(self.believed(claim, proven, address)), context);
        }
        let topology = self.topology();
        let forwarding = topology.forward_client_cert_details;
        let client = ClientConnection {
            forwarding: forwarding.unwrap_or_default(),
            address,
            is_secure: session.is_some() || peer.is_some(),
            certificate: session
                .as_deref()
                .and_then(Session::certificate)
                .or(forwarded),
            trusted_proxies: topology.num_trusted_proxies.unwrap_or_default(),
        };
        let (context, client) = enter(headers, client, &self.mesh);
        if let Some(id) = proven {
            // A workload that is not behind a host of the mesh: one with a sidecar.
            let peer = Peer::of_account(id.namespace(), id.account());
            return (host(peer), context);
        }
        let through_gateway = self.is_gateway();
        let source = Source::Edge {
            listener_port,
            client: client.address,
            connection: address,
            is_secure: client.is_secure && through_gateway,
            through_gateway,
            session,
        };
        (source, context)
    }

    /// Whether the listener is that of a Gateway or an Ingress.
    fn is_gateway(&self) -> bool {
        let live = self.mesh.current.load();
        !self.inbound && !live.snapshot.is_service_port(self.listener_port)
    }

    /// What is in front of the listener: nothing in front of the port of a workload or a
    /// Service.
    fn topology(&self) -> GatewayTopology {
        if !self.is_gateway() {
            return GatewayTopology::default();
        }
        let live = self.mesh.current.load();
        let declared = live.snapshot.gateway_topology(self.listener_port);
        GatewayTopology {
            num_trusted_proxies: self.trusted_proxies.or(declared.num_trusted_proxies),
            proxy_protocol: self.proxy_protocol || declared.proxy_protocol,
            ..*declared
        }
    }

    /// Whether a connection that begins now has a header of the PROXY protocol.
    pub(crate) fn expects_proxy_protocol(&self) -> bool {
        self.topology().proxy_protocol
    }

    /// The context and the caller that another host of the mesh passes on; None for a
    /// request of a client, even if it claims to be a host.
    fn handed_over(
        &self,
        headers: &mut HeaderMap,
        address: IpAddr,
        proven: Option<&SpiffeId>,
    ) -> Option<(RequestContext, Peer)> {
        if !self.inbound || !headers.contains_key(HOPS) {
            return None;
        }
        match proven.is_some() || self.mesh.trust.is_peer(address) {
            true => RequestContext::from_peer_headers(headers),
            false => {
                self.mesh.peer_refusals.count(PeerRefusal::Claim);
                self.mesh.trust.warn_of(address);
                None
            }
        }
    }

    /// The caller that the headers claim, as far as the connection proves it. Without proof it
    /// is only good for metrics and NetworkPolicies.
    fn believed(&self, claim: Peer, proven: Option<&SpiffeId>, address: IpAddr) -> Peer {
        let refusals = &self.mesh.peer_refusals;
        let Some(id) = proven else {
            if self.mesh.identities.is_shared() && claim.account().is_some() {
                let reason = format!("`{claim}` calls in plain text, and so without identity");
                refusals.report(PeerRefusal::Claim, address, &reason);
            }
            return claim;
        };
        let (namespace, account) = (id.namespace(), id.account());
        let reason =
            || format!("a request claims to be from `{claim}`, and its certificate is `{id}`");
        claim.proven_by(namespace, account).unwrap_or_else(|| {
            refusals.report(PeerRefusal::Claim, address, &reason());
            Peer::of_account(namespace, account)
        })
    }
}

/// `body`, limited in size. Removes trailers that a client must not send.
fn limited(body: RequestBody, limit: u64, is_client: bool) -> impl AnyBody + use<> {
    let max = usize::try_from(limit).unwrap_or(usize::MAX);
    let failed = move |error: Box<dyn std::error::Error + Send + Sync>| match error
        .downcast::<RequestBodyError>()
    {
        Ok(error) => unread(*error),
        Err(_) => Error::HttpRequestBodySize(Some(limit)),
    };
    let clean = move |mut frame: Frame<Bytes>| {
        if let Some(trailers) = frame.trailers_mut().filter(|_| is_client) {
            sanitise_trailers(trailers);
        }
        frame
    };
    Limited::new(body, max).map_err(failed).map_frame(clean)
}

/// Why a client's body is incomplete.
fn unread(error: RequestBodyError) -> Error {
    match error {
        RequestBodyError::Connection(error) => Error::from(error),
        RequestBodyError::TooSlow => Error::ConnectionReadTimeout,
    }
}

/// The reply to a request that does not belong to the server of its connection: its host has
/// another certificate, or other restrictions on clients.
fn misdirected(parts: &Parts, session: &Session) -> Option<LocalReply> {
    let host = || parts.headers.get(header::HOST)?.to_str().ok();
    let authority = parts.uri.authority().map(Authority::as_str).or_else(host);
    match session.belongs(authority.unwrap_or_default()) {
        Belongs::Here => None,
        Belongs::Elsewhere => Some(LocalReply::misdirected()),
        Belongs::Nowhere => Some(LocalReply::no_route()),
    }
}

/// Makes a client's request a request of the mesh.
fn enter(
    headers: &mut HeaderMap,
    client: ClientConnection<'_>,
    mesh: &Mesh,
) -> (RequestContext, Client) {
    let mut propagated = PropagatedHeaders::read(headers);
    mesh.metrics
        .trace_headers_ignored
        .inc_by(propagated.ignored);
    let trace = propagated.trace.take();
    let trace = trace.unwrap_or_else(|| propagated.begin(mesh.tracer.begin()));
    let client = sanitise(headers, client);
    let request_id = request_id();
    headers.insert(REQUEST_ID, request_id.clone());
    let context = RequestContext {
        trace,
        request_id,
        baggage: propagated.baggage,
        hops: 0,
        from_peer: false,
        recording: None,
    };
    (context, client)
}

/// Whether `response` is the mesh's own reply that no endpoint is ready.
fn is_no_healthy_upstream(response: &Response) -> bool {
    let flags = response.extensions().get::<ResponseFlags>();
    flags.is_some_and(|flags| flags.contains(ResponseFlags::UH))
}

fn too_large() -> LocalReply {
    LocalReply::new(
        http::StatusCode::PAYLOAD_TOO_LARGE,
        ResponseFlags::NONE,
        "the request body is too large",
        "request_payload_too_large",
    )
}
