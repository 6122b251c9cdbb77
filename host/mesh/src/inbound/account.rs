//! The service account of a caller, which is its identity.

use super::Peer;

/// The first part of every identity.
pub(super) const TRUST_DOMAIN: &str = "cluster.local";

/// A client's call comes through the host's gateway, which calls on with an identity of its
/// own, as Istio's ingress gateway does.
const GATEWAY: (&str, &str) = ("istio-system", "istio-ingressgateway-service-account");

impl Peer {
    /// The namespace and the name of the caller's service account; `None` for a caller that
    /// does not prove who it is.
    pub fn account(&self) -> Option<(&str, &str)> {
        match self {
            Self::Client { .. } => Some(GATEWAY),
            Self::Workload(it) => Some((&it.namespace, &it.service_account)),
            Self::Named(it) => Some((&it.namespace, &it.service_account)),
            Self::Unknown => None,
        }
    }
}
