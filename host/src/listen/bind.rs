//! Where the sockets of listeners come from.

use std::io;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::net::TcpListener;

use super::accept::{Accept, Server};
use crate::edge::Edge;

/// Provides sockets by address.
pub(crate) trait Bind: Send + Sync + 'static {
    /// Binds a socket, which accepts no connections yet. Port 0 is any free port.
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoundSocket>>;
}

/// The TCP ports of this machine.
pub(crate) struct TcpPorts;

/// A bound socket of any kind.
pub(crate) struct BoundSocket {
    pub(super) address: SocketAddr,
    accept: Box<dyn FnOnce(Server<Edge>) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl BoundSocket {
    pub(super) fn new<A>(address: SocketAddr, socket: A) -> Self
    where
        A: Accept<Client = SocketAddr> + Sync,
    {
        Self {
            address,
            accept: Box::new(|server| Box::pin(server.accept(socket))),
        }
    }

    /// Accepts connections as [`Server::accept`] does.
    pub(super) fn accept(self, server: Server<Edge>) -> BoxFuture<'static, ()> {
        (self.accept)(server)
    }
}

impl Bind for TcpPorts {
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoundSocket>> {
        Box::pin(async move {
            let socket = TcpListener::bind(address).await?;
            Ok(BoundSocket::new(socket.local_addr()?, socket))
        })
    }
}
