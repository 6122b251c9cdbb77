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

use galleria_manifest::Diagnostic;
use galleria_manifest::model::Protocol;
use galleria_mesh as mesh;
use galleria_mesh::ListenerPurpose;
use galleria_mesh::LocalReply;
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
        "port {declared} of {owner} would be bound on {declared} + {offset}, which is not a valid port; choose a smaller --port-offset"
    )]
    NoPort {
        declared: u16,
        offset: u16,
        owner: String,
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
        "cannot bind {address} for port {declared} of {owner}: {source}; stop the process that uses it, or choose other ports with --port-offset"
    )]
    Bind {
        address: SocketAddr,
        declared: u16,
        owner: String,
        source: io::Error,
    },
}

/// A bound listener.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BoundListener {
    /// `namespace/name` of the Gateway, or of the workload or Service of another listener.
    pub gateway: String,
    /// The declared port.
    pub port: u16,
    pub address: SocketAddr,
    /// Accepts requests from other hosts of the mesh.
    pub inbound: bool,
    /// Accepts requests of clients outside the mesh to a Service of type NodePort or
    /// LoadBalancer.
    pub service: bool,
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

/// The ports that the listeners of one snapshot have taken.
#[derive(Default)]
struct Taken {
    /// Declared ports, by the port on which they are bound.
    bound: BTreeMap<u16, u16>,
    /// The owners of declared ports.
    owners: BTreeMap<u16, String>,
}

struct OpenListener {
    /// As in [`BoundListener::gateway`].
    name: String,
    /// What messages call it.
    owner: String,
    purpose: ListenerPurpose,
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

impl Taken {
    /// The port on which a listener is bound; 0 for any free one.
    fn take(&mut self, listener: &mesh::Listener, binding: &Binding) -> Result<u16, ListenError> {
        let (declared, gateways) = (listener.port, listener.gateways.join(", "));
        if let Some(first) = self.owners.insert(declared, gateways.clone()) {
            return Err(ListenError::Shared {
                port: declared,
                first,
                second: gateways,
            });
        }
        let port = binding.ports.bound(declared);
        let port = port.map_err(|OffsetTooLarge { offset }| ListenError::NoPort {
            declared,
            offset,
            owner: owner(listener),
        })?;
        match self.bound.get(&port) {
            Some(first) if port != 0 => Err(ListenError::Clash {
                first: *first,
                second: declared,
                bound: port,
            }),
            _ => {
                self.bound.insert(port, declared);
                Ok(port)
            }
        }
    }
}

/// What messages call the objects that declare a listener.
fn owner(listener: &mesh::Listener) -> String {
    let kind = match &listener.purpose {
        ListenerPurpose::Gateway => "gateway",
        ListenerPurpose::Workload(_) => "workload",
        ListenerPurpose::Service(_) => "Service",
    };
    format!("{kind} {}", listener.gateways.join(", "))
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
    /// If a port cannot be bound, nothing is closed, unless it is that of a Service: it is
    /// among the warnings then, and is tried again with the next change.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub(crate) async fn bind(
        &mut self,
        snapshot: &mesh::Snapshot,
        tls: &GatewayTls,
    ) -> Result<Vec<Diagnostic>, ListenError> {
        let served = |listener: &&mesh::Listener| match listener.protocol {
            Protocol::Http | Protocol::Http2 | Protocol::Grpc => true,
            Protocol::Https | Protocol::Tls => tls.port(listener.port).is_some(),
            Protocol::Tcp | Protocol::Mongo => false,
        };
        let mut declared: Vec<_> = snapshot.listeners().iter().filter(served).collect();
        let mut bound = BTreeMap::new();
        let mut taken = Taken::default();
        let mut unopened = Vec::new();
        let mut refused = Vec::new();
        for listener in &declared {
            let opened = match taken.take(listener, &self.binding) {
                Ok(_) if self.open.contains_key(&listener.port) => continue,
                Ok(port) => self.bind_socket(listener, port).await,
                Err(error) => Err(error),
            };
            match (opened, &listener.purpose) {
                (Ok(opened), _) => drop(bound.insert(listener.port, opened)),
                (Err(error), ListenerPurpose::Service(port)) => {
                    unopened.push(port.warning(listener.port, &error.to_string()));
                    refused.push(listener.port);
                }
                (Err(error), _) => return Err(error),
            }
        }
        declared.retain(|listener| !refused.contains(&listener.port));
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
                open.purpose.clone_from(&listener.purpose);
                open.next = Some(match tls.port(listener.port) {
                    Some(servers) if listener.is_secure() => Security::Tls(servers.clone()),
                    _ => Security::plain(),
                });
            }
        }
        Ok(unopened)
    }

    /// Binds the socket of a listener on `port`.
    async fn bind_socket(
        &self,
        listener: &mesh::Listener,
        port: u16,
    ) -> Result<OpenListener, ListenError> {
        let owner = owner(listener);
        let address = SocketAddr::new(self.binding.address, port);
        let socket = self.ports.bind(address).await;
        let socket = socket.map_err(|source| ListenError::Bind {
            address,
            declared: listener.port,
            owner: owner.clone(),
            source,
        })?;
        Ok(OpenListener {
            name: listener.gateways.join(", "),
            owner,
            purpose: listener.purpose.clone(),
            workload: None,
            address: socket.address,
            socket: Some(socket),
            stop: self.draining.child_token(),
            security: Arc::new(PortSecurity::new(Security::plain())),
            next: None,
        })
    }

    /// Starts to accept connections on all bound ports, and puts their security in force.
    pub(crate) fn serve(&mut self, mesh: &Arc<Mesh>) {
        for (port, open) in &mut self.open {
            if let Some(next) = open.next.take() {
                open.security.replace(next);
            }
            if let (Some(port), ListenerPurpose::Workload(identity)) =
                (&open.workload, &open.purpose)
            {
                port.serve_as(identity);
            }
            let Some(socket) = open.socket.take() else {
                continue;
            };
            let meters = mesh.metrics.ports.of(*port);
            let edge = Edge {
                mesh: mesh.clone(),
                listener_port: *port,
                inbound: open.is_for_hosts(),
                request_body_max: self.request_body_max,
                trusted_proxies: self.proxies.trusted,
                proxy_protocol: self.proxies.protocol_ports.contains(port),
            };
            let name = format!("port {port} of {}", open.owner);
            let server = Server::new(name, &self.room, edge, self.timeouts, open.stop.clone())
                .for_hosts(open.is_for_hosts())
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
                gateway: open.name.clone(),
                port: *port,
                address: open.address,
                inbound: open.is_for_hosts(),
                service: matches!(open.purpose, ListenerPurpose::Service(_)),
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
    fn is_for_hosts(&self) -> bool {
        matches!(self.purpose, ListenerPurpose::Workload(_))
    }

    /// The port of the listener's workload, with mutual TLS if hosts share an authority.
    fn workload_port(&self, port: u16, mesh: &Arc<Mesh>) -> Option<Arc<WorkloadPort>> {
        let ListenerPurpose::Workload(workload) = self.purpose.clone() else {
            return None;
        };
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
