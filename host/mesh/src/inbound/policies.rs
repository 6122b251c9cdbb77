//! All policies of one workload.

use super::authorization::AuthorizationPolicies;
use super::jwt::TokenRules;
use super::network::NetworkPolicies;
use super::peer::PeerPolicies;

/// What one workload accepts: one field per stage. A workload that no policy selects has
/// none of this, see [`crate::Snapshot::inbound_policies`].
#[derive(Debug, Default)]
pub struct InboundPolicies {
    pub(crate) network: NetworkPolicies,
    pub(crate) peer: PeerPolicies,
    pub(crate) tokens: TokenRules,
    pub(crate) authorization: AuthorizationPolicies,
}

impl InboundPolicies {
    /// The NetworkPolicies.
    pub fn network(&self) -> &NetworkPolicies {
        &self.network
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.network.is_empty()
            && self.peer.is_empty()
            && self.tokens.is_empty()
            && self.authorization.is_empty()
    }
}
