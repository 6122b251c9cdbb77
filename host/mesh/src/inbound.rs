//! The destination side of a call: identifies the caller of a workload, and decides whether
//! the call is allowed.
//!
//! The host of the workload decides this for every call that reaches one of its pods,
//! wherever the call comes from. It finds the workload's policies with
//! [`crate::Snapshot::inbound_policies`], and runs the stages in this order:
//!
//! | stage | policies |
//! | --- | --- |
//! | [`network`] | NetworkPolicy |
//! | [`crate::rate_limit`] | EnvoyFilter with local rate limits |
//! | [`peer`] | PeerAuthentication |
//! | [`external`] | AuthorizationPolicy with the action CUSTOM |
//! | [`jwt`] | RequestAuthentication |
//! | [`authorization`] | AuthorizationPolicy: AUDIT, then DENY, then ALLOW |
//!
//! Each stage is a function of the policies and an [`InboundRequest`]. A stage that does
//! not admit the request returns the reply, whose details name the policy.

mod account;
pub mod authorization;
pub mod claims;
pub mod external;
pub mod jwt;
pub mod network;
pub mod peer;
pub mod policies;
mod spiffe_id;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use crate::{RequestHead, Workload};
pub use claims::RequestPrincipal;
pub use policies::InboundPolicies;
pub use spiffe_id::{InvalidSpiffeId, SpiffeId, TRUST_DOMAIN, is_trust_domain};

/// The caller of a workload.
///
/// Its text form, by which hosts tell each other on whose behalf they call, is
/// `client PORT ADDRESS` or `workload NAMESPACE/NAME SERVICE-ACCOUNT`. Hosts call for no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A client outside the mesh.
    Client {
        /// The port of its listener, as declared.
        listener_port: u16,
        ip: IpAddr,
    },
    /// A workload that this host knows: it runs here, or the host that it runs in names
    /// it.
    Workload(Arc<Workload>),
    /// A workload that another host names and this host does not know, so that its
    /// labels are unknown.
    Named(WorkloadIdentity),
    /// A workload of which only the service account is known, from its certificate: the
    /// caller is not a host that names it, for instance a sidecar.
    Account {
        namespace: String,
        service_account: String,
    },
    /// A client outside the mesh, of which another host knows the address and does not prove
    /// that it is a gateway.
    Forwarded(IpAddr),
    /// A caller without identity: another host of the mesh that does not say for whom it
    /// calls; at the gateway, a client.
    Unknown,
}

/// What identifies a workload between hosts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkloadIdentity {
    pub namespace: String,
    pub name: String,
    pub service_account: String,
}

/// The text is not that of a [`Peer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPeer;

/// A request that has reached its destination.
#[derive(Debug, Clone, Copy)]
pub struct InboundRequest<'a> {
    pub destination: &'a Workload,
    /// The pod's own.
    pub port: u16,
    pub peer: &'a Peer,
    pub head: RequestHead<'a>,
    /// The verified token; `None` before [`jwt`], and for a request without a token.
    pub principal: Option<&'a RequestPrincipal>,
}

impl From<&Workload> for WorkloadIdentity {
    fn from(workload: &Workload) -> Self {
        Self {
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
            service_account: workload.service_account.clone(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, name, account) = match self {
            Self::Client { listener_port, ip } => return write!(f, "client {listener_port} {ip}"),
            Self::Account {
                namespace,
                service_account,
            } => return write!(f, "account {namespace}/{service_account}"),
            Self::Forwarded(ip) => return write!(f, "client at {ip}"),
            Self::Unknown => return f.write_str("unknown"),
            Self::Workload(it) => (&it.namespace, &it.name, &it.service_account),
            Self::Named(it) => (&it.namespace, &it.name, &it.service_account),
        };
        write!(f, "workload {namespace}/{name} {account}")
    }
}

impl FromStr for Peer {
    type Err = InvalidPeer;

    fn from_str(text: &str) -> Result<Self, InvalidPeer> {
        let mut words = text.split(' ');
        let mut next = || words.next().ok_or(InvalidPeer);
        let peer = match next()? {
            "client" => Self::Client {
                listener_port: next()?.parse().map_err(|_| InvalidPeer)?,
                ip: next()?.parse().map_err(|_| InvalidPeer)?,
            },
            "workload" => {
                let (namespace, name) = next()?.split_once('/').ok_or(InvalidPeer)?;
                let service_account = next()?;
                let is_name = |text: &str| !text.is_empty() && !text.contains('/');
                if ![namespace, name, service_account].into_iter().all(is_name) {
                    return Err(InvalidPeer);
                }
                Self::Named(WorkloadIdentity {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    service_account: service_account.to_owned(),
                })
            }
            "unknown" => Self::Unknown,
            _ => return Err(InvalidPeer),
        };
        match words.next() {
            None => Ok(peer),
            Some(_) => Err(InvalidPeer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> Arc<Workload> {
        let labels = [("app".to_owned(), "ui".to_owned())].into_iter().collect();
        Arc::new(Workload::new("shop", "ui-v1", "ui-account", labels))
    }

    fn client(ip: &str) -> Peer {
        Peer::Client {
            listener_port: 8080,
            ip: ip.parse().expect("an address"),
        }
    }

    #[test]
    fn text_between_hosts_names_the_same_peer() {
        for (peer, text) in [
            (client("192.0.2.7"), "client 8080 192.0.2.7"),
            (client("2001:db8::7"), "client 8080 2001:db8::7"),
            (
                Peer::Named(WorkloadIdentity::from(&*workload())),
                "workload shop/ui-v1 ui-account",
            ),
            (Peer::Unknown, "unknown"),
        ] {
            assert_eq!(peer.to_string(), text);
            assert_eq!(text.parse(), Ok(peer));
        }
        let text = Peer::Workload(workload()).to_string();
        assert_eq!(text, "workload shop/ui-v1 ui-account");
    }

    #[test]
    fn claim_is_believed_as_far_as_the_certificate_proves_it() {
        let named = Peer::Named(WorkloadIdentity::from(&*workload()));
        let gateway = Workload::gateway();
        let (edge, edge_account) = (&*gateway.namespace, &*gateway.service_account);
        let known = |namespace, account| Some(Peer::of_account(namespace, account));
        for (claim, namespace, account, expected) in [
            (named.clone(), "shop", "ui-account", Some(named.clone())),
            (named.clone(), "shop", "other", None),
            (named.clone(), "bank", "ui-account", None),
            (named.clone(), edge, edge_account, None),
            (
                Peer::Unknown,
                "shop",
                "ui-account",
                known("shop", "ui-account"),
            ),
            (client("192.0.2.7"), "shop", "ui-account", None),
            (
                client("192.0.2.7"),
                edge,
                edge_account,
                Some(client("192.0.2.7")),
            ),
            (Peer::Unknown, edge, edge_account, known(edge, edge_account)),
        ] {
            let text = format!("{claim} with {namespace}/{account}");
            assert_eq!(claim.proven_by(namespace, account), expected, "{text}");
        }
    }

    #[test]
    fn only_the_address_of_a_client_is_left_without_proof() {
        let address = "192.0.2.7".parse().expect("an address");
        for (peer, expected) in [
            (client("192.0.2.7"), Peer::Forwarded(address)),
            (Peer::Forwarded(address), Peer::Forwarded(address)),
            (Peer::Workload(workload()), Peer::Unknown),
            (Peer::of_account("shop", "ui-account"), Peer::Unknown),
            (Peer::Unknown, Peer::Unknown),
        ] {
            assert_eq!(peer.unproven(), expected, "{peer}");
            assert_eq!(peer.unproven().spiffe_id(TRUST_DOMAIN), None, "{peer}");
        }
    }

    #[test]
    fn malformed_text_is_no_peer() {
        for text in [
            "",
            "client",
            "client 8080",
            "client 80800 192.0.2.7",
            "client 8080 example.com",
            "client 8080 192.0.2.7 more",
            "workload shop/ui-v1",
            "workload ui-v1 account",
            "workload /ui-v1 account",
            "workload shop/a/b account",
            "workload shop/ui-v1 ",
            "workload shop/ui-v1 account more",
            "Workload shop/ui-v1 account",
            "unknown more",
            "account shop/ui-account",
            "client at 192.0.2.7",
        ] {
            assert_eq!(text.parse::<Peer>(), Err(InvalidPeer), "{text}");
        }
    }
}
