//! Accepts connections on any kind of socket, as long as there are free slots.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Handler, Terms, Transport};
use super::descriptors::{Spare, are_exhausted};
use super::gateway_port::GatewayPort;
use super::limits::DRAIN_GRACE;
use super::room::{Places, Room};
use super::stream::ClientStream;
use super::workload_port::WorkloadPort;
use crate::settings::listen::ClientTimeouts;
use crate::telemetry::metrics::{CloseReason, PortMeters};
use crate::tls;

/// The pause after the process has run out of file descriptors. Without it, the loop would use
/// a core until others are closed.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// The minimum interval between two log lines about connections that cannot be accepted.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// How often a stopping listener checks whether its connections have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// TCP keepalive: the idle time before the first probe, the interval between probes, and the
/// number of unanswered probes after which the connection is dead.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// A listening socket.
pub(crate) trait Accept: Send + Sized + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// How the listener identifies its clients.
    type Client: Copy + Send + Sync + 'static;

    fn accept_one(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Client)>> + Send;

    /// Connections that the system has already accepted.
    fn accept_waiting(self) -> Vec<(Self::Stream, Self::Client)>;

    /// Sets the socket options: small responses are sent at once, and dead peers are detected.
    fn prepare(stream: &Self::Stream, stall_limit: Duration);

    fn address(client: Self::Client) -> Option<IpAddr>;
}

/// A listener: its limits, its settings and the handler of its requests.
pub(crate) struct Server<H> {
    /// The name in the log: `the status port`.
    name: String,
    places: Places,
    handler: H,
    terms: Terms,
    connections: TaskTracker,
}

impl<H: Handler> Server<H> {
    /// Serves with `handler` until `stop`, and then until all connections have ended.
    pub(crate) fn new(
        name: String,
        room: &Arc<Room>,
        handler: H,
        timeouts: ClientTimeouts,
        stop: CancellationToken,
    ) -> Self {
        Self {
            name,
            places: room.listener(),
            handler,
            terms: Terms {
                timeouts,
                transport: Transport::Plain,
                meters: Arc::default(),
                address: None,
                for_hosts: false,
                cut: stop.clone(),
                stop,
                retired: None,
            },
            connections: TaskTracker::new(),
        }
    }

    /// Whether the clients are other hosts of the mesh.
    pub(crate) fn for_hosts(mut self, for_hosts: bool) -> Self {
        self.terms.for_hosts = for_hosts;
        self
    }

    pub(crate) fn tls(mut self, tls: tls::Acceptor) -> Self {
        self.terms.transport = Transport::Own(tls);
        self
    }

    /// Secures connections as `port` is configured when they begin.
    pub(super) fn secured(mut self, port: Arc<GatewayPort>) -> Self {
        self.terms.transport = Transport::Port(port);
        self
    }

    /// Secures connections as the workload of `port` demands.
    pub(super) fn workload(mut self, port: Arc<WorkloadPort>) -> Self {
        self.terms.transport = Transport::Workload(port);
        self
    }

    pub(super) fn meters(mut self, meters: Arc<PortMeters>) -> Self {
        self.terms.meters = meters;
        self
    }

    /// Tracks connections in `connections`. After `stop` they continue until `cut`.
    pub(super) fn drained(mut self, connections: TaskTracker, cut: CancellationToken) -> Self {
        self.connections = connections;
        self.terms.cut = cut;
        self
    }

    /// Accepts until the listener is stopped, and for a moment longer while clients are
    /// notified.
    pub(crate) async fn accept<A: Accept<Client = H::Client>>(self, socket: A) {
        let mut spare = Spare::new();
        let mut warned: Option<Instant> = None;
        let mut stopped = std::pin::pin!(self.stopped());
        loop {
            let accepted = async {
                self.places.available().await;
                socket.accept_one().await
            };
            let accepted = tokio::select! {
                accepted = accepted => accepted,
                () = stopped.as_mut() => break,
            };
            match accepted {
                Ok((stream, client)) => {
                    self.serve::<A>(stream, client);
                    spare.refill();
                }
                Err(error) if are_exhausted(&error) => {
                    if warned.is_none_or(|last| last.elapsed() >= WARN_INTERVAL) {
                        warned = Some(Instant::now());
                        tracing::warn!(
                            %error, listener = self.name,
                            "cannot accept connections; closing idle ones and retrying"
                        );
                    }
                    self.places.shrink();
                    if !spare.release() {
                        tokio::time::sleep(EXHAUSTED).await;
                        spare.refill();
                    }
                }
                // The client has already closed the connection.
                Err(error) => tracing::debug!(%error, "cannot accept a connection"),
            }
        }
        // Closing the socket would reset the connections that wait in it: serve them first.
        for (stream, client) in socket.accept_waiting() {
            self.serve::<A>(stream, client);
        }
    }

    /// Waits for the stop, and then until no connection is left or the grace period is over.
    async fn stopped(&self) {
        self.terms.stop.cancelled().await;
        let until = Instant::now() + DRAIN_GRACE;
        while !self.places.is_empty() && Instant::now() < until {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    fn serve<A: Accept<Client = H::Client>>(&self, stream: A::Stream, client: A::Client) {
        let Some(place) = self.places.take(A::address(client)) else {
            self.terms.meters.closed(CloseReason::Share);
            return;
        };
        A::prepare(&stream, self.terms.timeouts.stall);
        let activity = place.activity.clone();
        let terms = Terms {
            address: A::address(client),
            ..self.terms.clone()
        };
        let stream = ClientStream::new(stream, terms.meters.clone(), place, terms.timeouts.stall);
        let handler = self.handler.clone();
        self.connections.spawn(connection::serve_connection(
            stream, client, handler, activity, terms,
        ));
    }
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Client = SocketAddr;

    async fn accept_one(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept().await
    }

    fn accept_waiting(self) -> Vec<(TcpStream, SocketAddr)> {
        let Ok(socket) = self.into_std() else {
            return Vec::new();
        };
        let waiting = std::iter::from_fn(|| socket.accept().ok());
        let taken = waiting.filter_map(|(stream, client)| {
            stream.set_nonblocking(true).ok()?;
            Some((TcpStream::from_std(stream).ok()?, client))
        });
        taken.collect()
    }

    fn prepare(stream: &TcpStream, stall_limit: Duration) {
        // If an option cannot be set, the connection works without it.
        let _ = stream.set_nodelay(true);
        let socket = stream.as_fd();
        // `ClientStream` has a shorter limit, which is counted.
        let milliseconds = u32::try_from(2 * stall_limit.as_millis()).unwrap_or(u32::MAX);
        let _ = sockopt::set_tcp_user_timeout(socket, milliseconds);
        let _ = sockopt::set_socket_keepalive(socket, true);
        let _ = sockopt::set_tcp_keepidle(socket, PROBE_AFTER);
        let _ = sockopt::set_tcp_keepintvl(socket, PROBE_INTERVAL);
        let _ = sockopt::set_tcp_keepcnt(socket, PROBES);
    }

    fn address(client: SocketAddr) -> Option<IpAddr> {
        Some(client.ip())
    }
}

/// File permissions determine who can connect.
impl Accept for UnixListener {
    type Stream = UnixStream;
    type Client = ();

    async fn accept_one(&self) -> io::Result<(UnixStream, ())> {
        let (stream, _) = self.accept().await?;
        Ok((stream, ()))
    }

    fn accept_waiting(self) -> Vec<(UnixStream, ())> {
        Vec::new()
    }

    fn prepare(_: &UnixStream, _: Duration) {}

    fn address((): ()) -> Option<IpAddr> {
        None
    }
}
