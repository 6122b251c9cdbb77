//! The destination side of a call: identifies the caller of a workload, and decides whether
//! the call is allowed.
//!
//! The host of the workload decides this for every call that reaches one of its pods,
//! wherever the call comes from. Every call is admitted so far; authorization, rate
//! limits and network policies belong here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use crate::{LocalReply, RequestHead, Workload};

/// The caller of a workload.
///
/// Its text form, by which hosts tell each other on whose behalf they call, is
/// `client PORT ADDRESS` or `workload NAMESPACE/NAME SERVICE-ACCOUNT`.
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
    /// Another host of the mesh calls and does not say for whom.
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

/// Decides whether `destination` accepts a request on `port`, the pod's own.
///
/// # Errors
/// The reply for a request that is not admitted.
pub fn decide(
    _destination: &Workload,
    _port: u16,
    _peer: &Peer,
    _request: &RequestHead<'_>,
) -> Result<(), LocalReply> {
    Ok(())
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
    use http::{HeaderMap, Method};

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
        ] {
            assert_eq!(text.parse::<Peer>(), Err(InvalidPeer), "{text}");
        }
    }

    #[test]
    fn every_peer_is_admitted_while_there_are_no_policies() {
        let (destination, headers) = (workload(), HeaderMap::new());
        let head = RequestHead {
            method: &Method::DELETE,
            scheme: "http",
            authority: "app.shop",
            path: "/orders",
            query: None,
            headers: &headers,
            source_ip: None,
        };
        let named = WorkloadIdentity::from(&*destination);
        for peer in [
            client("192.0.2.7"),
            Peer::Workload(destination.clone()),
            Peer::Named(named),
            Peer::Unknown,
        ] {
            assert_eq!(decide(&destination, 8080, &peer, &head), Ok(()), "{peer}");
        }
    }
}
