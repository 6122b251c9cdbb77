//! The other end of a connection, as a policy knows it.

use std::fmt;
use std::net::IpAddr;

use crate::Workload;
use crate::inbound::{Peer, WorkloadIdentity};

/// See the module's documentation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Party<'a> {
    Workload(&'a Workload),
    /// A workload whose labels are unknown.
    Named(&'a WorkloadIdentity),
    /// A workload of which only the namespace is known.
    InNamespace(&'a str),
    /// A client outside. In a cluster its connections come from the pod of the gateway, and
    /// where the gateway keeps the client's address, from that address: both count.
    Client(IpAddr),
    /// An address outside the mesh, without a gateway in between.
    Address(IpAddr),
    /// Another host of the mesh, which does not say for whom it calls.
    Unknown,
}

impl<'a> Party<'a> {
    /// `address` is the other end of the connection, if it is known.
    pub(crate) fn of(peer: &'a Peer, address: Option<IpAddr>) -> Self {
        match peer {
            Peer::Client { ip, .. } => Self::Client(*ip),
            Peer::Workload(workload) => Self::Workload(workload),
            Peer::Named(identity) => Self::Named(identity),
            Peer::Account { namespace, .. } => Self::InNamespace(namespace),
            Peer::Forwarded(ip) => Self::Address(*ip),
            Peer::Unknown => address.map_or(Self::Unknown, Self::Address),
        }
    }
}

impl fmt::Display for Party<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(it) => write!(f, "{}/{}", it.namespace, it.name),
            Self::Named(it) => write!(f, "{}/{}", it.namespace, it.name),
            Self::InNamespace(it) => write!(f, "a workload of {it}"),
            Self::Client(ip) => write!(f, "client {ip}"),
            Self::Address(ip) => write!(f, "{ip}"),
            Self::Unknown => f.write_str("an unknown workload of another host"),
        }
    }
}
