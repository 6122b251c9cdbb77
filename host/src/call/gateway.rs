//! The gateway's side of a client's call: which requests its policies admit, before any
//! route.

use galleria_mesh::LocalReply;
use galleria_mesh::inbound::{InboundRequest, Peer, authorization, jwt};
use http::request;

use super::{CallScope, Source, observe};

impl CallScope<'_> {
    /// Runs the stages of the gateway (see `galleria_mesh::inbound`), in order. A client has
    /// no identity here. Other calls do not pass through the gateway.
    pub(super) fn admit_at_gateway(&self, parts: &mut request::Parts) -> Result<(), LocalReply> {
        let Source::Edge {
            listener_port,
            through_gateway: true,
            ..
        } = self.source
        else {
            return Ok(());
        };
        let snapshot = &self.live.snapshot;
        let head = self.head(parts)?;
        let Some(policies) = snapshot.gateway_policies(*listener_port, head.host()) else {
            return Ok(());
        };
        let mut inbound = InboundRequest {
            destination: snapshot.gateway_workload(),
            port: *listener_port,
            peer: &Peer::Unknown,
            head,
            principal: None,
        };
        authorization::decide_external(policies, &inbound)?;
        let principal = jwt::decide(policies, &inbound)?;
        inbound.principal = principal.as_ref();
        observe::report(&self.mesh.metrics, policies, &inbound);
        authorization::decide(policies, &inbound)?;
        if let Some(principal) = principal {
            parts.extensions.insert(principal);
        }
        Ok(())
    }
}
