//! Listeners: which ports are bound where, their connections, and graceful shutdown.

mod accept;
mod activity;
mod bind;
mod body_pace;
mod connection;
mod descriptors;
mod gateway_port;
mod limits;
mod protocol;
mod proxy_protocol;
mod rewound;
mod room;
mod stream;
mod streams;
#[cfg(test)]
pub(crate) mod testing;
mod workload_port;

pub(crate) use accept::{Accept, Server};
pub(crate) use bind::{Bind, TcpPorts};
pub(crate) use connection::Handler;
pub(crate) use descriptors::Budget;
pub(crate) use limits::Capacities;
pub(crate) use room::Room;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use galleria_manifest::model::Protocol;
use galleria_mesh as mesh;
use galleria_mesh::LocalReply;
use galleria_mesh::inbound::WorkloadIdentity;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Response;
use crate::body::RequestBody;
use crate::call::Mesh;
use crate::edge::Edge;
use crate::settings::listen::{Binding, ClientTimeouts, OffsetTooLarge, Proxies};
use crate::tls::{GatewayTls, PortSecurity, Security};
use bind::BoundSocket;
use gateway_port::GatewayPort;
use workload_port::WorkloadPort;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(
        "port {declared} of gateway {gateway} would be bound on {declared} + {offset}, which is not a valid port; choose a smaller --port-offset"
    )]
    NoPort {
        declared: u16,
        offset: u16,
        gateway: String,
    },
    #[error(
        "ports {first} and {second} would both be bound on {bound}; choose other ports with --port-offset"
    )]
    Clash { first: u16, second: u16, bound: u16 },
    #[error(
        "port {port} is used by both {first} and {second}; run them in separate hosts (--workload, --gateway)"
    )]
    Shared {
        port: u16,
        first: String,
        second: String,
    },
    #[error(
        "cannot bind {address} for port {declared} of gateway {gateway}: {source}; stop the process that uses it, or choose other ports with --port-offset"
    )]
    Bind {
        address: SocketAddr,
        declared: u16,
        gateway: String,
        source: io::Error,
    },
}

/// A bound listener.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BoundListener {
    /// `namespace/name` of the Gateway, or of the workload if the listener is inbound.
    pub gateway: String,
    /// The declared port.
    pub port: u16,
    pub address: SocketAddr,
    /// Accepts requests from other hosts of the mesh.
    pub inbound: bool,
    /// Whether its connections begin with TLS.
    pub tls: bool,
}

/// The listeners of the host.
pub(crate) struct Listeners {
    binding: Binding,
    request_body_max: u64,
    timeouts: ClientTimeouts,
    proxies: Proxies,
    room: Arc<Room>,
    ports: Arc<dyn Bind>,
    open: BTreeMap<u16, OpenListener>,
    connections: TaskTracker,
    draining: CancellationToken,
    /// Closes the connections that the grace period was too short for.
    cut: CancellationToken,
}

struct OpenListener {
    gateway: String,
    /// The workload that other hosts call here.
    inbound: Option<WorkloadIdentity>,
    /// Once the listener accepts connections for it, if hosts share an authority.
    workload: Option<Arc<WorkloadPort>>,
    address: SocketAddr,
    /// None once the listener accepts connections.
    socket: Option<BoundSocket>,
    security: Arc<PortSecurity>,
    /// Becomes the security when the change that it is part of is in force.
    next: Option<Security>,
    stop: CancellationToken,
}

impl Listeners {
    /// Without any bound port. All connections take their slots from `room`.
    pub(crate) fn new(
        binding: Binding,
        request_body_max: u64,
        timeouts: ClientTimeouts,
        room: Arc<Room>,
        ports: impl Bind,
    ) -> Self {
        Self {
            binding,
            request_body_max,
            timeouts,
            proxies: Proxies::default(),
            room,
            ports: Arc::new(ports),
            open: BTreeMap::new(),
            connections: TaskTracker::new(),
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }

    /// Behind `proxies`.
    pub(crate) fn behind(mut self, proxies: Proxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Binds the ports that `snapshot` declares and that are not bound yet, and closes those
    /// that it no longer declares. A port with TLS is bound if one of its servers is in `tls`.
    /// If a port cannot be bound, nothing is closed.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub(crate) async fn bind(
        &mut self,
        snapshot: &mesh::Snapshot,
        tls: &GatewayTls,
    ) -> Result<(), ListenError> {
        let served = |listener: &&mesh::Listener| match listener.protocol {
            Protocol::Http | Protocol::Http2 | Protocol::Grpc => true,
            Protocol::Https | Protocol::Tls => tls.port(listener.port).is_some(),
            Protocol::Tcp | Protocol::Mongo => false,
        };
        let declared: Vec<_> = snapshot.listeners().iter().filter(served).collect();
        let mut bound = BTreeMap::new();
        let mut taken: BTreeMap<u16, u16> = BTreeMap::new();
        let mut owners: BTreeMap<u16, String> = BTreeMap::new();
        for listener in &declared {
            let gateway = listener.gateways.join(", ");
            if let Some(first) = owners.insert(listener.port, gateway.clone()) {
                return Err(ListenError::Shared {
                    port: listener.port,
                    first,
                    second: gateway,
                });
            }
            let port = self.binding.ports.bound(listener.port);
            let port = port.map_err(|OffsetTooLarge { offset }| ListenError::NoPort {
                declared: listener.port,
                offset,
                gateway: gateway.clone(),
            })?;
            if port != 0
                && let Some(first) = taken.insert(port, listener.port)
            {
                return Err(ListenError::Clash {
                    first,
                    second: listener.port,
                    bound: port,
                });
            }
            if self.open.contains_key(&listener.port) {
                continue;
            }
            let address = SocketAddr::new(self.binding.address, port);
            let socket = self.ports.bind(address).await;
            let socket = socket.map_err(|source| ListenError::Bind {
                address,
                declared: listener.port,
                gateway: gateway.clone(),
                source,
            })?;
            let stop = self.draining.child_token();
            bound.insert(
                listener.port,
                OpenListener {
                    gateway,
                    inbound: listener.inbound.clone(),
                    workload: None,
                    address: socket.address,
                    socket: Some(socket),
                    stop,
                    security: Arc::new(PortSecurity::new(Security::plain())),
                    next: None,
                },
            );
        }
        self.open.retain(|port, open| {
            let kept = declared.iter().any(|listener| listener.port == *port);
            if !kept {
                open.stop.cancel();
            }
            kept
        });
        self.open.extend(bound);
        for listener in declared {
            if let Some(open) = self.open.get_mut(&listener.port) {
                open.inbound.clone_from(&listener.inbound);
                open.next = Some(match tls.port(listener.port) {
                    Some(servers) if listener.is_secure() => Security::Tls(servers.clone()),
                    _ => Security::plain(),
                });
            }
        }
        Ok(())
    }

    /// Starts to accept connections on all bound ports, and puts their security in force.
    pub(crate) fn serve(&mut self, mesh: &Arc<Mesh>) {
        for (port, open) in &mut self.open {
            if let Some(next) = open.next.take() {
                open.security.replace(next);
            }
            if let (Some(port), Some(workload)) = (&open.workload, &open.inbound) {
                port.serve_as(workload);
            }
            let Some(socket) = open.socket.take() else {
                continue;
            };
            let meters = mesh.metrics.ports.of(*port);
            let edge = Edge {
                mesh: mesh.clone(),
                listener_port: *port,
                inbound: open.inbound.is_some(),
                request_body_max: self.request_body_max,
                trusted_proxies: self.proxies.trusted,
                proxy_protocol: self.proxies.protocol_ports.contains(port),
            };
            let name = format!("port {port} of gateway {}", open.gateway);
            let server = Server::new(name, &self.room, edge, self.timeouts, open.stop.clone())
                .for_hosts(open.inbound.is_some())
                .meters(meters)
                .drained(self.connections.clone(), self.cut.clone());
            open.workload = open.workload_port(*port, mesh);
            let server = match &open.workload {
                Some(workload) => server.workload(workload.clone()),
                None => server.secured(Arc::new(GatewayPort {
                    mesh: mesh.clone(),
                    port: *port,
                    security: open.security.clone(),
                })),
            };
            // Tracked as well, because it accepts the last waiting connections when it stops.
            self.connections.spawn(socket.accept(server));
        }
    }

    pub(crate) fn addresses(&self) -> Vec<BoundListener> {
        self.open
            .iter()
            .map(|(port, open)| BoundListener {
                gateway: open.gateway.clone(),
                port: *port,
                address: open.address,
                inbound: open.inbound.is_some(),
                tls: match &open.next {
                    Some(next) => next.is_tls(),
                    None => open.security.load().is_tls(),
                },
            })
            .collect()
    }

    /// Notifies every client that its connection closes, then stops accepting, and waits up to
    /// `grace` for the requests in progress. Returns whether all of them were answered; the
    /// connections of the others are closed.
    pub(crate) async fn drain(&mut self, grace: Duration) -> bool {
        self.draining.cancel();
        self.connections.close();
        let drained = tokio::time::timeout(grace, self.connections.wait()).await;
        self.cut.cancel();
        drained.is_ok()
    }
}

impl OpenListener {
    /// The port of the listener's workload, with mutual TLS if hosts share an authority.
    fn workload_port(&self, port: u16, mesh: &Arc<Mesh>) -> Option<Arc<WorkloadPort>> {
        let workload = self.inbound.clone()?;
        if !mesh.identities.is_shared() {
            return None;
        }
        let port = Arc::new(WorkloadPort::new(mesh.clone(), port, workload));
        let (following, stop) = (port.clone().follow(), self.stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(following));
        Some(port)
    }
}

impl Handler for Edge {
    type Client = SocketAddr;
    type Body = crate::Body;
    type Error = h2::Error;

    const REPORTS_REFUSALS: bool = true;

    fn is_proxied(&self) -> bool {
        self.expects_proxy_protocol()
    }

    fn behind_proxy(_proxy: SocketAddr, client: SocketAddr) -> SocketAddr {
        client
    }

    async fn report_malformed(&self, reply: LocalReply, client: SocketAddr) {
        self.report_refused(reply, client).await;
    }

    async fn answer(
        &self,
        request: http::Request<RequestBody>,
        client: SocketAddr,
    ) -> Result<Response, h2::Error> {
        self.clone().serve(request, client).await
    }
}
