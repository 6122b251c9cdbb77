//! Peer authentication: which connections must be mutual TLS.

use super::{InboundPolicies, InboundRequest};
use crate::LocalReply;

/// The modes of mutual TLS, by port.
#[derive(Debug, Default)]
pub(crate) struct PeerPolicies {}

impl PeerPolicies {
    pub(crate) fn is_empty(&self) -> bool {
        true
    }
}

/// Decides whether the destination accepts the peer's kind of connection.
///
/// # Errors
/// The reply for a request that is not admitted.
pub fn decide(
    _policies: &InboundPolicies,
    _request: &InboundRequest<'_>,
) -> Result<(), LocalReply> {
    Ok(())
}
