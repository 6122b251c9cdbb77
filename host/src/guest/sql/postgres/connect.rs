//! Sockets to a server, with TLS where its URL asks for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::Error;
use super::server::{Encryption, Server};
use crate::remote::{ClientTlsConfig, TlsError};

pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// `SSLRequest` of the protocol: its length and its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// When an idle connection is asked whether its server is still there, and how
/// long what was sent may stay without an answer from the server's system.
const KEEPALIVE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("sslmode requires TLS, but the server does not support it")]
    NoTls,
    #[error("the server did not start TLS")]
    Unexpected,
    /// Without its path on the host.
    #[error("cannot read certificates from the file of sslrootcert")]
    Authorities,
    #[error("TLS: {0}")]
    Tls(TlsError),
}

/// Connects to the first of the server's targets that answers.
///
/// # Errors
/// `unavailable`, with what the last one said.
pub(super) async fn connect(server: &Server) -> Result<Stream, Error> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no endpoints").into();
    for (host, port) in &server.targets {
        match to_target(server, host, *port).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(Error::Unavailable(format!(
        "no connection to {}: {last}",
        server.place()
    )))
}

impl From<TlsError> for ConnectError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Read { .. } | TlsError::Pem { .. } => Self::Authorities,
            error => Self::Tls(error),
        }
    }
}

async fn to_target(server: &Server, host: &str, port: u16) -> Result<Stream, ConnectError> {
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    notice_silence(&stream)?;
    let anybody;
    let trust = match &server.encryption {
        Encryption::None => return Ok(Either::Left(stream)),
        Encryption::Offered => {
            anybody = ClientTlsConfig::database(&server.address.host, None, true);
            &anybody
        }
        Encryption::Required(trust) => trust,
    };
    stream.write_all(&SSL_REQUEST).await?;
    match (stream.read_u8().await?, &server.encryption) {
        (b'S', _) => {
            let connector = TlsConnector::from(Arc::new(trust.config().await?));
            let secure = connector.connect(trust.server_name()?, stream).await?;
            Ok(Either::Right(Box::new(secure)))
        }
        (b'N', Encryption::Offered) => Ok(Either::Left(stream)),
        (b'N', _) => Err(ConnectError::NoTls),
        _ => Err(ConnectError::Unexpected),
    }
}

fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, u32::try_from(KEEPALIVE.as_millis()).unwrap_or(0))?;
    Ok(())
}
