//! The handshake: the client's first message selects the server, and its certificate; or the
//! connection is passed through.

use std::io;
use std::sync::Arc;

use http::HeaderValue;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::choose::{Offer, choose};
use super::recorded::Recorded;
use super::{PortSecurity, PortServer, PortServers, Security, certificate};
use crate::tls::Alpn;

/// A connection after its client's first message.
pub(crate) enum Accepted<S> {
    Secured(Box<Secured<S>>),
    PassedThrough(Opaque<S>),
}

/// A connection that is not decrypted.
pub(crate) struct Opaque<S> {
    /// The bytes that were read, of the client's first message.
    pub first: Vec<u8>,
    /// The connection after them.
    pub stream: S,
    /// The name that the client has requested (SNI).
    pub server_name: Option<Arc<str>>,
}

/// A connection after its handshake.
pub(crate) struct Secured<S> {
    pub stream: TlsStream<Recorded<S>>,
    /// If the client has selected a version.
    pub alpn: Option<Alpn>,
    pub session: Arc<Session>,
    /// The connection must end after its current requests.
    pub retired: CancellationToken,
}

/// What a connection has proven, for its requests.
#[derive(Clone)]
pub(crate) struct Session {
    port: Arc<PortSecurity>,
    server: Arc<PortServer>,
    server_name: Option<Arc<str>>,
    certificate: Option<HeaderValue>,
}

/// Which server of the port a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// The one of the connection.
    Here,
    /// Another one, whose certificate and restrictions do not hold for the connection.
    Elsewhere,
    /// No server of the port has the host.
    Nowhere,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Session");
        shown.field("server_name", &self.server_name);
        shown.finish_non_exhaustive()
    }
}

impl Session {
    /// The name that the client has requested (SNI).
    pub(crate) fn server_name(&self) -> Option<&Arc<str>> {
        self.server_name.as_ref()
    }

    /// The client's certificate as `x-forwarded-client-cert`.
    pub(crate) fn certificate(&self) -> Option<&HeaderValue> {
        self.certificate.as_ref()
    }

    /// The server for a request with this authority, as currently configured.
    pub(crate) fn belongs(&self, authority: &str) -> Belongs {
        match &*self.port.load() {
            Security::Plain(_) => Belongs::Elsewhere,
            Security::Tls(servers) => match servers.names.serving(authority) {
                Some(server) if server.key == self.server.key => Belongs::Here,
                Some(_) => Belongs::Elsewhere,
                None => Belongs::Nowhere,
            },
        }
    }
}

impl PortServers {
    /// Waits for the client's first message, and completes the handshake with the server that
    /// it requests, unless that server does not decrypt. As in Envoy, a name that no server has
    /// ends the connection without an answer.
    ///
    /// # Errors
    /// There is no such server, or the handshake failed.
    pub(crate) async fn accept<S>(
        &self,
        port: &Arc<PortSecurity>,
        stream: S,
    ) -> io::Result<Accepted<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = Recorded::new(stream, self.passes_through());
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let hello = start.client_hello();
        let server_name = hello.server_name().map(Arc::<str>::from);
        let server = self.names.requested(hello.server_name());
        if server.is_some_and(|server| server.passes_through) {
            let (first, stream) = start.io.into_parts();
            return Ok(Accepted::PassedThrough(Opaque {
                first,
                stream,
                server_name,
            }));
        }
        let opened = server.and_then(|server| Some((server, server.context.as_ref()?)));
        let Some((server, context)) = opened else {
            return Err(io::Error::other("no server has the requested name"));
        };
        let chosen = choose(&context.certificates, &Offer::of(&hello));
        let is_supported = match hello.alpn() {
            Some(mut offered) => offered.any(Alpn::is_supported),
            None => true,
        };
        let config = match is_supported {
            true => chosen.config.clone(),
            false => chosen.without_alpn.clone(),
        };
        start.io.forget();
        let stream = start.into_stream(config).await?;
        let (_, connection) = stream.get_ref();
        let alpn = Alpn::of(connection.alpn_protocol());
        let presented = connection.peer_certificates().and_then(<[_]>::first);
        let certificate =
            presented.and_then(|presented| certificate::forwarded(presented, &chosen.parts.uris));
        let session = Session {
            port: port.clone(),
            server: server.clone(),
            server_name,
            certificate,
        };
        Ok(Accepted::Secured(Box::new(Secured {
            alpn,
            session: Arc::new(session),
            retired: context.retired.clone(),
            stream,
        })))
    }
}
