//! Connections to a server, with TLS as its URL demands.

use std::io;
use std::time::Duration;

use galleria_mesh::RefusedAddress;
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio_util::either::Either;

use super::Error;
use super::server::{Encryption, Server};
use crate::guest::ServerTarget;
use crate::tls::{ClientHandshake, ClientStream, TlsError};

pub(super) type Stream = Either<TcpStream, Box<ClientStream<TcpStream>>>;

/// `SSLRequest` of the protocol: its length and its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// The idle time after which a connection is probed, and the longest time for which sent data
/// may stay unacknowledged.
const KEEPALIVE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Address(#[from] RefusedAddress),
    #[error("sslmode requires TLS, but the server does not support it")]
    NoTls,
    #[error("the server did not start TLS")]
    Unexpected,
}

/// Connects to the first of the server's targets that accepts a connection.
///
/// # Errors
/// `access-denied` if the file of `sslrootcert` cannot be read, otherwise `unavailable` with
/// the error of the last target.
pub(super) async fn connect(server: &Server) -> Result<Stream, Error> {
    let tls = prepare(server).await?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no endpoints").into();
    for target in &server.targets {
        match to_target(server, tls.as_ref(), target).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(unavailable(server, last))
}

/// Reads the trusted authorities, before any connection is opened.
async fn prepare(server: &Server) -> Result<Option<ClientHandshake>, Error> {
    let (Encryption::Offered(tls) | Encryption::Required(tls)) = &server.encryption else {
        return Ok(None);
    };
    // Messages do not contain the path on the host.
    tls.prepare().await.map(Some).map_err(|error| match error {
        TlsError::Read { .. } => Error::AccessDenied(
            "the file of sslrootcert cannot be read; mount a configMap or a secret, read-only, \
             that contains it"
                .into(),
        ),
        TlsError::Pem { .. } => unavailable(
            server,
            "cannot read certificates from the file of sslrootcert",
        ),
        error => unavailable(server, format!("TLS: {error}")),
    })
}

fn unavailable(server: &Server, error: impl std::fmt::Display) -> Error {
    Error::Unavailable(format!("no connection to {}: {error}", server.place()))
}

async fn to_target(
    server: &Server,
    tls: Option<&ClientHandshake>,
    target: &ServerTarget,
) -> Result<Stream, ConnectError> {
    let found = lookup_host((target.host.as_str(), target.port)).await?;
    let usable = target.addresses.usable(found)?;
    let mut stream = TcpStream::connect(&*usable).await?;
    stream.set_nodelay(true)?;
    detect_dead_peer(&stream)?;
    let Some(tls) = tls else {
        return Ok(Either::Left(stream));
    };
    stream.write_all(&SSL_REQUEST).await?;
    match (stream.read_u8().await?, &server.encryption) {
        (b'S', _) => {
            let secure = tls.connect(stream).await?;
            Ok(Either::Right(Box::new(secure)))
        }
        (b'N', Encryption::Offered(_)) => Ok(Either::Left(stream)),
        (b'N', _) => Err(ConnectError::NoTls),
        _ => Err(ConnectError::Unexpected),
    }
}

fn detect_dead_peer(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, u32::try_from(KEEPALIVE.as_millis()).unwrap_or(0))?;
    Ok(())
}
