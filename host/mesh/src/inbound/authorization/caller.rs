//! What policies know about the caller of a request.

use std::cell::OnceCell;
use std::net::IpAddr;

use super::super::{InboundRequest, Peer, SpiffeId};

/// A request, with the facts that several rules look at and that take time to find out.
pub(in crate::inbound) struct Facts<'a> {
    pub(super) request: &'a InboundRequest<'a>,
    /// Set if only the connection is known, and the request in it is not.
    pub(super) connection: Option<Connection<'a>>,
    spiffe_id: OnceCell<Option<SpiffeId>>,
}

/// A connection that is not decrypted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection<'a> {
    /// The name that the client requests (SNI).
    pub(super) server_name: Option<&'a str>,
}

impl<'a> Facts<'a> {
    pub(in crate::inbound) fn new(request: &'a InboundRequest<'a>) -> Self {
        Self {
            request,
            connection: None,
            spiffe_id: OnceCell::new(),
        }
    }

    pub(super) fn of_connection(
        request: &'a InboundRequest<'a>,
        connection: Connection<'a>,
    ) -> Self {
        Self {
            connection: Some(connection),
            ..Self::new(request)
        }
    }

    /// `spiffe://cluster.local/ns/shop/sa/ui`; `None` for a caller without an identity.
    pub(super) fn spiffe_id(&self) -> Option<&str> {
        let trust_domain = &self.request.destination.trust_domain;
        let find = || self.request.peer.spiffe_id(trust_domain);
        let identity = self.spiffe_id.get_or_init(find);
        identity.as_ref().map(SpiffeId::as_str)
    }

    /// The address at the other end of the connection. A workload of this process has none.
    /// To a pod, a client's connection is that of the gateway, which has none either.
    pub(super) fn source_ip(&self) -> Option<IpAddr> {
        let address = known(self.request.head.source_ip?)?;
        match self.request.peer {
            Peer::Client { ip, .. } if known(*ip) == Some(address) => None,
            _ => Some(address),
        }
    }

    /// The address of the client outside, if there is one.
    pub(super) fn remote_ip(&self) -> Option<IpAddr> {
        match self.request.peer {
            Peer::Client { ip, .. } | Peer::Forwarded(ip) => known(*ip),
            _ => self.source_ip(),
        }
    }
}

/// `None` for an unspecified address: an explanation does not know the client's.
fn known(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    (!address.is_unspecified()).then_some(address)
}
