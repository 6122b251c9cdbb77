//! The service account of a caller, which is its identity.

use super::Peer;
use super::spiffe_id::SpiffeId;
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
            Self::Account {
                namespace,
                service_account,
            } => Some((namespace, service_account)),
            Self::Forwarded(_) | Self::Unknown => None,
        }
    }

    /// The SPIFFE ID of the caller; `None` if it has no identity. All callers with an identity
    /// are of the trust domain of this mesh: connections that prove another one are refused.
    pub fn spiffe_id(&self, trust_domain: &str) -> Option<SpiffeId> {
        if let Self::Workload(it) = self
            && *it.trust_domain == *trust_domain
        {
            return it.spiffe_id.clone();
        }
        let (namespace, account) = self.account()?;
        SpiffeId::new(trust_domain, namespace, account).ok()
    }

    /// What is known of the caller if its connection does not prove its identity: at most the
    /// address of a client.
    #[must_use]
    pub fn unproven(&self) -> Self {
        match self {
            Self::Client { ip, .. } | Self::Forwarded(ip) => Self::Forwarded(*ip),
            Self::Workload(_) | Self::Named(_) | Self::Account { .. } | Self::Unknown => {
                Self::Unknown
            }
        }
    }

    /// The caller that a connection proves with the certificate of this service account.
    /// `self` is what the request claims, which adds what a certificate does not contain:
    /// the name of the workload and, from a gateway, the address of the client. None if the
    /// claim is another identity.
    pub fn proven_by(&self, namespace: &str, service_account: &str) -> Option<Self> {
        match self.account() {
            Some(claimed) => (claimed == (namespace, service_account)).then(|| self.clone()),
            None => Some(Self::of_account(namespace, service_account)),
        }
    }

    /// The caller with the certificate of this service account.
    pub fn of_account(namespace: &str, service_account: &str) -> Self {
        Self::Account {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        }
    }
}
