//! The gateway's side of a client's call: which requests its policies admit, before any
//! route.

use std::sync::Arc;

use galleria_mesh::inbound::{
    InboundPolicies, InboundRequest, Peer, RequestPrincipal, authorization,
};
use galleria_mesh::rate_limit::{LimitHeaders, LimitedRequest};
use galleria_mesh::{LocalReply, RequestHead};
use http::{HeaderMap, request};

use super::external::{self, Allowed};
use super::key_sets::authenticate;
use super::{CallScope, Source, observe, rate_limit};
use crate::Body;

/// What the gateway knows of a request that it admits.
#[derive(Default)]
pub(super) struct Admitted {
    /// The verified token.
    pub(super) principal: Option<Arc<RequestPrincipal>>,
    /// What a service of external authorization changes.
    allowed: Option<Box<Allowed>>,
    /// The headers by which the route is chosen, if they are not those of the request.
    routed_by: Option<Box<HeaderMap>>,
    /// What rate limits tell the client.
    limits: LimitHeaders,
}

impl Admitted {
    /// `head` as the routes see it.
    pub(super) fn routed<'r>(&'r self, head: RequestHead<'r>) -> RequestHead<'r> {
        match &self.routed_by {
            None => head,
            Some(headers) => RequestHead { headers, ..head },
        }
    }

    /// Adds the headers of services of external authorization and of rate limits.
    pub(super) fn apply_response(&self, headers: &mut HeaderMap) {
        if let Some(allowed) = &self.allowed {
            allowed.mutations.apply_response(headers);
        }
        for (name, value) in &self.limits {
            headers.insert(name, value.clone());
        }
    }
}

impl CallScope<'_> {
    /// Runs the stages of the gateway (see `galleria_mesh::inbound`), in order. A client has
    /// no identity here. Other calls do not pass through the gateway.
    ///
    /// # Errors
    /// The reply for a request that is not admitted.
    pub(super) async fn admit_at_gateway(
        &self,
        parts: &mut request::Parts,
        body: &mut Body,
    ) -> Result<Admitted, LocalReply> {
        let Source::Edge {
            listener_port,
            through_gateway: true,
            ..
        } = self.source
        else {
            return Ok(Admitted::default());
        };
        let head = self.head(parts)?;
        let snapshot = &self.live.snapshot;
        match snapshot.gateway_policies(*listener_port, head.host()) {
            None => Ok(Admitted::default()),
            // Boxed, since most gateways have no policies.
            Some(policies) => Box::pin(self.admit(policies, *listener_port, parts, body)).await,
        }
    }

    async fn admit(
        &self,
        policies: &InboundPolicies,
        port: u16,
        parts: &mut request::Parts,
        body: &mut Body,
    ) -> Result<Admitted, LocalReply> {
        let gateway = self.live.snapshot.gateway_workload();
        let client = &self.source.address().map_or(Peer::Unknown, Peer::Forwarded);
        let inbound = self.at_gateway(port, client, self.head(parts)?, None);
        let mut allowed = None;
        if let Some(provider) = external::find_provider(policies, &inbound)? {
            // Boxed, since most requests are not for a provider.
            let asked = external::authorize(self, provider, &inbound, gateway, body);
            allowed = Some(Box::new(Box::pin(asked).await?));
        }
        let mut routed_by = None;
        if let Some(allowed) = &allowed {
            if !allowed.clear_route_cache {
                routed_by = Some(Box::new(parts.headers.clone()));
            }
            allowed.mutations.apply_headers(&mut parts.headers);
            allowed.mutations.apply_query(&mut parts.uri);
        }
        let inbound = self.at_gateway(port, client, self.head(parts)?, None);
        let authenticated = authenticate(self.mesh, gateway, policies, &inbound).await?;
        authenticated.apply_headers(&mut parts.headers);
        if let Some(headers) = &mut routed_by {
            authenticated.apply_headers(headers);
        }
        authenticated.apply_query(&mut parts.uri);
        let principal = authenticated.principal;
        let inbound = self.at_gateway(port, client, self.head(parts)?, principal.as_deref());
        observe::report(&self.mesh.metrics, policies, &inbound);
        authorization::decide(policies, &inbound)?;
        Ok(Admitted {
            principal,
            allowed,
            routed_by,
            limits: LimitHeaders::new(),
        })
    }

    /// Applies the rate limits of the gateway to a client's request; `route` is the name of
    /// its route.
    ///
    /// # Errors
    /// The reply for a request over a limit.
    pub(super) async fn limit_at_gateway(
        &self,
        parts: &mut request::Parts,
        route: Option<&str>,
        admitted: &mut Admitted,
    ) -> Result<(), LocalReply> {
        let snapshot = &self.live.snapshot;
        let limits = snapshot.gateway_rate_limits();
        let Source::Edge {
            listener_port,
            client,
            through_gateway: true,
            ..
        } = self.source
        else {
            return Ok(());
        };
        if limits.is_empty() {
            return Ok(());
        }
        let request = LimitedRequest {
            head: self.head(parts)?,
            port: *listener_port,
            remote_ip: Some(*client),
            route,
        };
        let granted = rate_limit::take(self, limits, &request, snapshot.gateway_workload());
        // Boxed, since most gateways have no limits.
        let granted = Box::pin(granted).await?;
        parts.headers.extend(granted.request);
        admitted.limits = granted.response;
        Ok(())
    }

    /// `client` is the address that trusted proxies say, as a peer.
    fn at_gateway<'r>(
        &'r self,
        port: u16,
        client: &'r Peer,
        head: RequestHead<'r>,
        principal: Option<&'r RequestPrincipal>,
    ) -> InboundRequest<'r> {
        let source_ip = match self.source {
            Source::Edge { connection, .. } => Some(*connection),
            _ => head.source_ip,
        };
        InboundRequest {
            destination: self.live.snapshot.gateway_workload(),
            port,
            peer: client,
            head: RequestHead { source_ip, ..head },
            principal,
        }
    }
}
