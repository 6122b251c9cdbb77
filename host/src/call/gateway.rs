//! The gateway's side of a client's call: which requests its policies admit, before any
//! route.

use galleria_mesh::inbound::{
    InboundPolicies, InboundRequest, Peer, RequestPrincipal, authorization,
};
use galleria_mesh::{LocalReply, RequestHead};
use http::request;

use super::key_sets::authenticate;
use super::{CallScope, Source, observe};

impl CallScope<'_> {
    /// Runs the stages of the gateway (see `galleria_mesh::inbound`), in order. A client has
    /// no identity here. Other calls do not pass through the gateway. Returns the verified
    /// token.
    ///
    /// # Errors
    /// The reply for a request that is not admitted.
    pub(super) async fn admit_at_gateway(
        &self,
        parts: &mut request::Parts,
    ) -> Result<Option<RequestPrincipal>, LocalReply> {
        let Source::Edge {
            listener_port,
            through_gateway: true,
            ..
        } = self.source
        else {
            return Ok(None);
        };
        let head = self.head(parts)?;
        let snapshot = &self.live.snapshot;
        match snapshot.gateway_policies(*listener_port, head.host()) {
            None => Ok(None),
            // Boxed, since most gateways have no policies.
            Some(policies) => Box::pin(self.admit(policies, *listener_port, parts)).await,
        }
    }

    async fn admit(
        &self,
        policies: &InboundPolicies,
        port: u16,
        parts: &mut request::Parts,
    ) -> Result<Option<RequestPrincipal>, LocalReply> {
        let gateway = self.live.snapshot.gateway_workload();
        let inbound = self.at_gateway(port, self.head(parts)?, None);
        authorization::decide_external(policies, &inbound)?;
        let authenticated = authenticate(self.mesh, gateway, policies, &inbound).await?;
        authenticated.apply_headers(&mut parts.headers);
        authenticated.apply_query(&mut parts.uri);
        let principal = authenticated.principal;
        let inbound = self.at_gateway(port, self.head(parts)?, principal.as_ref());
        observe::report(&self.mesh.metrics, policies, &inbound);
        authorization::decide(policies, &inbound)?;
        Ok(principal)
    }

    fn at_gateway<'r>(
        &'r self,
        port: u16,
        head: RequestHead<'r>,
        principal: Option<&'r RequestPrincipal>,
    ) -> InboundRequest<'r> {
        InboundRequest {
            destination: self.live.snapshot.gateway_workload(),
            port,
            peer: &Peer::Unknown,
            head,
            principal,
        }
    }
}
