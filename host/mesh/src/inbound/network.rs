//! Network policies: which peers can connect at all.

use super::{InboundPolicies, InboundRequest};
use crate::LocalReply;

/// The NetworkPolicies that select the workload.
#[derive(Debug, Default)]
pub(crate) struct NetworkPolicies {}

impl NetworkPolicies {
    pub(crate) fn is_empty(&self) -> bool {
        true
    }
}

/// Decides whether the network lets the peer connect to the destination's port.
///
/// # Errors
/// The reply for a request that is not admitted.
pub fn decide(
    _policies: &InboundPolicies,
    _request: &InboundRequest<'_>,
) -> Result<(), LocalReply> {
    Ok(())
}
