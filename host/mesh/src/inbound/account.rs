//! The service account of a caller, which is its identity.

use super::Peer;
use super::spiffe_id::{SpiffeId, TRUST_DOMAIN};
use crate::workload::{GATEWAY_ACCOUNT, GATEWAY_NAMESPACE};

impl Peer {
    /// The namespace and the name of the caller's service account; `None` for a caller that
    /// does not prove who it is.
    pub fn account(&self) -> Option<(&str, &str)> {
        match self {
            // The call comes through the host's gateway, which calls on with an identity of
            // its own, as Istio's ingress gateway does.
            Self::Client { .. } => Some((GATEWAY_NAMESPACE, GATEWAY_ACCOUNT)),
            Self::Workload(it) => Some((&it.namespace, &it.service_account)),
            Self::Named(it) => Some((&it.namespace, &it.service_account)),
            Self::Unknown => None,
        }
    }

    /// The SPIFFE ID of the caller; `None` if it has no identity.
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        let (namespace, account) = self.account()?;
        SpiffeId::new(TRUST_DOMAIN, namespace, account).ok()
    }
}
