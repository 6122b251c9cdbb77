//! Accepting connections, on any socket, as long as there are places for them.

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

use super::connection::{self, Handler, Terms};
use super::descriptors::{Spare, are_exhausted};
use super::limits::DRAIN_GRACE;
use super::room::{Places, Room};
use super::stream::ClientStream;
use crate::settings::listen::ClientTimeouts;
use crate::telemetry::metrics::{CloseReason, PortMeters};
use crate::tls;

/// How long accepting waits when the process has no descriptors: others may be
/// closed meanwhile, and a loop would take a core.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// How often the log says that connections cannot be accepted.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// How often a listener that stops looks whether its connections are gone.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// When a silent peer is first asked whether it lives, how often then, and how often
/// in vain until the connection counts as dead.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// A socket that listens.
pub(crate) trait Accept: Send + Sized + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Whom clients are known by.
    type Client: Copy + Send + Sync + 'static;

    fn accept_one(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Client)>> + Send;

    /// What the system has accepted already and nobody has taken.
    fn accept_waiting(self) -> Vec<(Self::Stream, Self::Client)>;

    /// Small answers are not held back for more, and dead peers are noticed.
    fn prepare(stream: &Self::Stream, stall_limit: Duration);

    fn address(client: Self::Client) -> Option<IpAddr>;
}

/// A listener's work: whom it lets in, on which terms, and who answers.
pub(crate) struct Server<H> {
    /// For the log: `the status port`.
    name: String,
    places: Places,
    handler: H,
    terms: Terms,
    connections: TaskTracker,
}

impl<H: Handler> Server<H> {
    /// Serves with `handler`; ends when `stop` and then every connection has ended.
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
                tls: None,
                meters: Arc::default(),
                for_hosts: false,
                cut: stop.clone(),
                stop,
            },
            connections: TaskTracker::new(),
        }
    }

    /// Its clients are other hosts of the mesh.
    pub(crate) fn for_hosts(mut self, for_hosts: bool) -> Self {
        self.terms.for_hosts = for_hosts;
        self
    }

    pub(crate) fn tls(mut self, tls: tls::Acceptor) -> Self {
        self.terms.tls = Some(tls);
        self
    }

    pub(super) fn meters(mut self, meters: Arc<PortMeters>) -> Self {
        self.terms.meters = meters;
        self
    }

    /// Connections are tracked in `connections`; they outlive `stop` until `cut`.
    pub(super) fn drained(mut self, connections: TaskTracker, cut: CancellationToken) -> Self {
        self.connections = connections;
        self.terms.cut = cut;
        self
    }

    /// Accepts until it is stopped, and for a moment longer while clients are told.
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
                    if !spare.give_up() {
                        tokio::time::sleep(EXHAUSTED).await;
                        spare.refill();
                    }
                }
                // The client left already.
                Err(error) => tracing::debug!(%error, "cannot accept a connection"),
            }
        }
        // Closing the socket resets what waits in it: that is taken at last.
        for (stream, client) in socket.accept_waiting() {
            self.serve::<A>(stream, client);
        }
    }

    /// Ready when it was stopped and no connection is left, or the grace is over.
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
        let terms = self.terms.clone();
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
        // A failure costs what the option is for, and nothing else.
        let _ = stream.set_nodelay(true);
        let socket = stream.as_fd();
        // The stream's own limit comes first, and is counted.
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

/// The file system says who its clients are.
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
