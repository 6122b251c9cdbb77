//! Listeners without ports, for tests: a connection is a pair of streams in memory.
//!
//! Everything behind the socket is that of a TCP listener: slots, deadlines, the HTTP
//! library and the handler.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use super::accept::Accept;
use super::bind::{Bind, BoundSocket};
use super::descriptors::Budget;
use super::limits::Capacities;
use super::room::Room;

/// Connections that wait to be accepted.
const BACKLOG: usize = 1_024;

/// Bytes on their way in each direction, as in the buffers of a TCP socket.
const BUFFER: usize = 64 << 10;

/// The descriptors that the connections are counted against.
const DESCRIPTORS: usize = 4_096;

type Connection = (DuplexStream, SocketAddr);

/// The ports of one host.
#[derive(Clone, Default)]
pub(crate) struct MemoryPorts(Arc<Inner>);

#[derive(Default)]
struct Inner {
    bound: Mutex<HashMap<SocketAddr, mpsc::Sender<Connection>>>,
    clients: AtomicU16,
}

/// A bound port.
pub(crate) struct MemorySocket(tokio::sync::Mutex<mpsc::Receiver<Connection>>);

impl MemoryPorts {
    pub(crate) fn listen(&self, address: SocketAddr) -> MemorySocket {
        let (connections, accepted) = mpsc::channel(BACKLOG);
        self.0.bound.lock().insert(address, connections);
        MemorySocket(tokio::sync::Mutex::new(accepted))
    }

    /// The client's side of a new connection from loopback.
    ///
    /// # Errors
    /// Nothing listens on the address.
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<DuplexStream> {
        let refused = io::ErrorKind::ConnectionRefused;
        let connections = self.0.bound.lock().get(&address).cloned();
        let connections = connections.ok_or(refused)?;
        let (near, far) = duplex(BUFFER);
        let port = self.0.clients.fetch_add(1, Relaxed);
        let client = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let sent = connections.send((near, client)).await;
        sent.map_err(|_| refused)?;
        Ok(far)
    }
}

impl Bind for MemoryPorts {
    fn bind(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoundSocket>> {
        let bound = BoundSocket::new(address, self.listen(address));
        Box::pin(async move { Ok(bound) })
    }
}

impl Accept for MemorySocket {
    type Stream = DuplexStream;
    type Client = SocketAddr;

    async fn accept_one(&self) -> io::Result<Connection> {
        match self.0.lock().await.recv().await {
            Some(connection) => Ok(connection),
            None => pending().await,
        }
    }

    fn accept_waiting(self) -> Vec<Connection> {
        let mut waiting = self.0.into_inner();
        std::iter::from_fn(|| waiting.try_recv().ok()).collect()
    }

    fn prepare(_: &DuplexStream, _: Duration) {}

    fn address(client: SocketAddr) -> Option<IpAddr> {
        Some(client.ip())
    }
}

/// The connection slots of a host, without regard to the limits of this process.
pub(crate) fn room() -> Arc<Room> {
    Room::new(Capacities::of(Budget::of(DESCRIPTORS), None).traffic)
}
