//! Where a call comes from.

use std::net::IpAddr;
use std::sync::Arc;

use galleria_mesh as mesh;
use galleria_mesh::inbound::Peer;
use galleria_mesh::inbound::peer::Connection;
use http::Uri;
use opentelemetry::trace::SpanKind;

use crate::telemetry::trace::Service;
use crate::tls::Session;

/// See the module's documentation. Ports of listeners are as declared, not as bound.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A client outside the mesh, with TLS if there is a session.
    Edge {
        listener_port: u16,
        /// As trusted proxies in front of the host say, or else that of the connection.
        client: IpAddr,
        /// The address at the other end of the connection.
        connection: IpAddr,
        /// Whether the client uses TLS, to this host or to a trusted proxy.
        is_secure: bool,
        /// Whether the listener is that of a Gateway or an Ingress, or one for other hosts.
        through_gateway: bool,
        session: Option<Arc<Session>>,
    },
    /// Another host of the mesh, which calls on behalf of `peer`.
    Host {
        listener_port: u16,
        address: IpAddr,
        peer: Peer,
        /// Whether the connection proves that it is `peer`, or the other host only says so.
        is_proven: bool,
    },
    /// A workload of this host, and the address of the calling pod. The host's own calls on
    /// behalf of a workload have none.
    Workload(Arc<mesh::Workload>, Option<IpAddr>),
}

impl Source {
    /// For the decision of the route. The other host has already decided it: here it
    /// follows from the listener alone.
    pub(super) fn as_caller(&self) -> mesh::Caller<'_> {
        match self {
            Self::Edge { listener_port, .. } | Self::Host { listener_port, .. } => {
                mesh::Caller::Edge {
                    listener_port: *listener_port,
                }
            }
            Self::Workload(workload, _) => mesh::Caller::Workload(workload),
        }
    }

    /// For the decision of the destination.
    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Edge {
                listener_port,
                client,
                through_gateway: true,
                ..
            } => Peer::Client {
                listener_port: *listener_port,
                ip: *client,
            },
            // It is not the gateway that calls, so the call has no identity.
            Self::Edge { .. } => Peer::Unknown,
            Self::Host { peer, .. } => peer.clone(),
            Self::Workload(workload, _) => Peer::Workload(workload.clone()),
        }
    }

    /// How the caller connects to a pod of this process. The call of a host or a client has
    /// the security of its connection, and a call within the process that of `cluster`.
    pub(super) fn connection(&self, cluster: &mesh::Cluster) -> Connection {
        match self {
            Self::Host { is_proven, .. } => match is_proven {
                true => Connection::Automatic,
                false => Connection::PlainText,
            },
            Self::Edge {
                through_gateway: false,
                ..
            } => Connection::PlainText,
            Self::Edge { .. } | Self::Workload(..) => {
                cluster.tls.as_ref().map(|tls| tls.mode).into()
            }
        }
    }

    /// The calling workload, if this host knows it.
    pub(super) fn workload(&self) -> Option<Arc<mesh::Workload>> {
        match self {
            Self::Workload(workload, _)
            | Self::Host {
                peer: Peer::Workload(workload),
                ..
            } => Some(workload.clone()),
            Self::Edge { .. } | Self::Host { .. } => None,
        }
    }

    /// The address of the caller; of a client as trusted proxies say.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Edge { client, .. } => Some(*client),
            Self::Host { address, .. } => Some(*address),
            Self::Workload(..) => None,
        }
    }

    /// As [`Source::address`], and for a workload the address of the calling pod, which
    /// `useSourceIp` hashes.
    pub(super) fn calling_address(&self) -> Option<IpAddr> {
        match self {
            Self::Workload(_, address) => *address,
            Self::Edge { .. } | Self::Host { .. } => self.address(),
        }
    }

    /// The scheme of the request. Behind a listener that terminates TLS, the request itself
    /// continues without.
    pub(super) fn scheme<'u>(&self, uri: &'u Uri) -> &'u str {
        match self {
            Self::Edge {
                is_secure: true, ..
            } => "https",
            _ => uri.scheme_str().unwrap_or("http"),
        }
    }

    /// The name that a client has requested in its TLS handshake (SNI).
    pub(super) fn server_name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Edge { session, .. } => session.as_ref()?.server_name(),
            Self::Host { .. } | Self::Workload(..) => None,
        }
    }

    /// The service that the spans of a call belong to.
    pub(super) fn service(&self) -> Service {
        match self {
            Self::Edge { .. } | Self::Host { .. } => Service::Gateway,
            Self::Workload(workload, _) => Service::Workload(workload.clone()),
        }
    }

    pub(super) fn span_kind(&self) -> SpanKind {
        match self {
            Self::Edge { .. } | Self::Host { .. } => SpanKind::Server,
            Self::Workload(..) => SpanKind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use galleria_mesh::inbound::WorkloadIdentity;

    use super::*;

    const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    fn workload() -> Arc<mesh::Workload> {
        let labels = Default::default();
        Arc::new(mesh::Workload::new("shop", "ui-v1", "account", labels))
    }

    fn host(peer: Peer) -> Source {
        Source::Host {
            listener_port: 8080,
            address: HOST,
            peer,
            is_proven: true,
        }
    }

    #[test]
    fn destination_knows_who_calls() {
        let client = Source::Edge {
            listener_port: 80,
            client: HOST,
            connection: HOST,
            is_secure: false,
            through_gateway: true,
            session: None,
        };
        let expected = Peer::Client {
            listener_port: 80,
            ip: HOST,
        };
        assert_eq!(client.peer(), expected);
        assert_eq!(client.workload(), None);

        let at_a_pod = Source::Edge {
            listener_port: 8080,
            client: HOST,
            connection: HOST,
            is_secure: false,
            through_gateway: false,
            session: None,
        };
        assert_eq!(at_a_pod.peer(), Peer::Unknown);
        assert_eq!(at_a_pod.address(), Some(HOST));

        let caller = workload();
        let pod = IpAddr::from([10, 64, 0, 7]);
        let here = Source::Workload(caller.clone(), Some(pod));
        assert_eq!((here.address(), here.calling_address()), (None, Some(pod)));
        assert_eq!(here.peer(), Peer::Workload(caller.clone()));
        assert_eq!(host(here.peer()).peer(), here.peer());
        assert_eq!(host(Peer::Unknown).peer(), Peer::Unknown);
    }

    #[test]
    fn calling_workload_of_another_host_is_reported_if_it_is_known() {
        let caller = workload();
        let known = host(Peer::Workload(caller.clone()));
        assert_eq!(known.workload(), Some(caller.clone()));
        let named = host(Peer::Named(WorkloadIdentity::from(&*caller)));
        assert_eq!(named.workload(), None);
        assert_eq!(named.address(), Some(HOST));
    }
}
