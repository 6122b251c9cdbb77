//! Request authentication: JSON Web Tokens in requests.

use super::{InboundPolicies, InboundRequest, RequestPrincipal};
use crate::LocalReply;

/// The RequestAuthentications that select the workload.
#[derive(Debug, Default)]
pub(crate) struct TokenRules {}

impl TokenRules {
    pub(crate) fn is_empty(&self) -> bool {
        true
    }
}

/// Verifies the tokens of the request. A request without a token has no principal.
///
/// # Errors
/// The reply for a request that is not admitted.
pub fn decide(
    _policies: &InboundPolicies,
    _request: &InboundRequest<'_>,
) -> Result<Option<RequestPrincipal>, LocalReply> {
    Ok(None)
}
